//! `google.pubsub.v1.Publisher` and `Subscriber`. Methods that are not here answer UNIMPLEMENTED.

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::PubSub;
use super::error::PubSubError;
use super::pull::{check_extension, leases};
use crate::cloud::generated::pubsub as pb;
use crate::cloud::generated::services::{publisher_server, subscriber_server};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl publisher_server::Publisher for PubSub {
    async fn create_topic(&self, request: Request<pb::Topic>) -> Answer<pb::Topic> {
        let topic = request.into_inner();
        Ok(Response::new(self.call(|state, _| state.create_topic(topic))?))
    }

    async fn update_topic(&self, request: Request<pb::UpdateTopicRequest>) -> Answer<pb::Topic> {
        let request = request.into_inner();
        let topic = request.topic.unwrap_or_default();
        let paths = request.update_mask.unwrap_or_default().paths;
        Ok(Response::new(self.call(|state, _| state.update_topic(&topic, &paths))?))
    }

    async fn publish(&self, request: Request<pb::PublishRequest>) -> Answer<pb::PublishResponse> {
        let pb::PublishRequest { topic, messages } = request.into_inner();
        let message_ids = self.call(|state, now| state.publish(&topic, messages, now))?;
        Ok(Response::new(pb::PublishResponse { message_ids }))
    }

    async fn get_topic(&self, request: Request<pb::GetTopicRequest>) -> Answer<pb::Topic> {
        let request = request.into_inner();
        Ok(Response::new(self.call(|state, _| state.topic(&request.topic).cloned())?))
    }

    async fn list_topics(&self, request: Request<pb::ListTopicsRequest>) -> Answer<pb::ListTopicsResponse> {
        let request = request.into_inner();
        let topics = self.call(|state, _| Ok(state.topics(&request.project)))?;
        Ok(Response::new(pb::ListTopicsResponse { topics, next_page_token: String::new() }))
    }

    async fn list_topic_subscriptions(
        &self,
        request: Request<pb::ListTopicSubscriptionsRequest>,
    ) -> Answer<pb::ListTopicSubscriptionsResponse> {
        let request = request.into_inner();
        let subscriptions = self.call(|state, _| {
            state.topic(&request.topic)?;
            Ok(state.subscriptions(&request.topic).into_iter().map(|subscription| subscription.name).collect())
        })?;
        let next_page_token = String::new();
        Ok(Response::new(pb::ListTopicSubscriptionsResponse { subscriptions, next_page_token }))
    }

    async fn delete_topic(&self, request: Request<pb::DeleteTopicRequest>) -> Answer<()> {
        let request = request.into_inner();
        Ok(Response::new(self.remove_topic(&request.topic)?))
    }
}

#[tonic::async_trait]
impl subscriber_server::Subscriber for PubSub {
    type StreamingPullStream = Pin<Box<dyn Stream<Item = Result<pb::StreamingPullResponse, Status>> + Send>>;

    async fn create_subscription(&self, request: Request<pb::Subscription>) -> Answer<pb::Subscription> {
        let config = request.into_inner();
        Ok(Response::new(self.call(|state, _| state.create_subscription(config))?))
    }

    async fn get_subscription(&self, request: Request<pb::GetSubscriptionRequest>) -> Answer<pb::Subscription> {
        let request = request.into_inner();
        Ok(Response::new(self.call(|state, _| state.subscription(&request.subscription).cloned())?))
    }

    async fn update_subscription(&self, request: Request<pb::UpdateSubscriptionRequest>) -> Answer<pb::Subscription> {
        let request = request.into_inner();
        let new = request.subscription.unwrap_or_default();
        let paths = request.update_mask.unwrap_or_default().paths;
        Ok(Response::new(self.call(|state, _| state.update_subscription(&new, &paths))?))
    }

    async fn list_subscriptions(
        &self,
        request: Request<pb::ListSubscriptionsRequest>,
    ) -> Answer<pb::ListSubscriptionsResponse> {
        let request = request.into_inner();
        let subscriptions = self.call(|state, _| Ok(state.subscriptions(&request.project)))?;
        Ok(Response::new(pb::ListSubscriptionsResponse { subscriptions, next_page_token: String::new() }))
    }

    async fn delete_subscription(&self, request: Request<pb::DeleteSubscriptionRequest>) -> Answer<()> {
        let request = request.into_inner();
        Ok(Response::new(self.remove_subscription(&request.subscription)?))
    }

    async fn modify_ack_deadline(&self, request: Request<pb::ModifyAckDeadlineRequest>) -> Answer<()> {
        let request = request.into_inner();
        let extension = check_extension(request.ack_deadline_seconds)?;
        self.call(|state, now| {
            let leases = leases(state, &request.ack_ids)?;
            state.modify(&request.subscription, &leases, extension, now)
        })?;
        Ok(Response::new(()))
    }

    async fn acknowledge(&self, request: Request<pb::AcknowledgeRequest>) -> Answer<()> {
        let request = request.into_inner();
        self.call(|state, now| {
            let leases = leases(state, &request.ack_ids)?;
            state.acknowledge(&request.subscription, &leases, now)
        })?;
        Ok(Response::new(()))
    }

    async fn pull(&self, request: Request<pb::PullRequest>) -> Answer<pb::PullResponse> {
        let request = request.into_inner();
        // Google deprecates the field and obeys it; so does this.
        #[expect(deprecated, reason = "clients may still send it")]
        let at_once = request.return_immediately;
        let received_messages = Self::pull(self, &request.subscription, request.max_messages, at_once).await?;
        Ok(Response::new(pb::PullResponse { received_messages }))
    }

    async fn streaming_pull(
        &self,
        request: Request<Streaming<pb::StreamingPullRequest>>,
    ) -> Answer<Self::StreamingPullStream> {
        if self.shared.faults.refuses_pubsub() {
            return Err(PubSubError::Unavailable.into());
        }
        let stream = self.pull_stream(request.into_inner()).await?;
        Ok(Response::new(Box::pin(stream)))
    }
}
