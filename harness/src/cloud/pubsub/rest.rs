//! The REST form of Pub/Sub: what the official admin clients speak, and `curl`.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::PubSub;
use super::error::PubSubError;
use super::json::{Enums, MessageBody, ReceivedBody, SubscriptionBody, TopicBody, mask_paths};
use super::pull::{check_extension, leases};
use crate::cloud::generated::pubsub as pb;
use crate::cloud::parameters::{ParameterError, Parameters, path_parts};

/// Google's bound on a publish request, with room for base64.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

type Answer = Result<Value, PubSubError>;

/// Answers what is below `/v1/projects/` and no other service's.
pub(in crate::cloud) async fn serve(pubsub: PubSub, request: Request) -> Response {
    match answer(pubsub, request).await {
        Ok(value) => Json(value).into_response(),
        Err(error) => {
            let (code, status) = error.http();
            let body = json!({ "error": { "code": code, "message": error.to_string(), "status": status } });
            (StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(body)).into_response()
        }
    }
}

async fn answer(pubsub: PubSub, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let mut parameters = Parameters::parse(parts.uri.query());
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
    let body = body.map_err(|_| PubSubError::invalid(format!("The request has more than {BODY_BYTES_MAX} bytes.")))?;
    let numbers = parameters.get("$alt").is_some_and(|alt| alt.contains("enum-encoding=int"));
    let enums = if numbers { Enums::Numbers } else { Enums::Names };
    // Everything fits on the first page, so there is no other to ask for.
    parameters.text("pageSize");
    if parameters.text("pageToken").is_some_and(|token| !token.is_empty()) {
        return Err(PubSubError::invalid("Invalid page token: this server never gave one."));
    }
    parameters.text("options.requestedPolicyVersion");
    parameters.finish()?;
    let call = Call { pubsub, enums, body: &body };

    let path = path_parts(parts.uri.path().trim_start_matches("/v1/"));
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let (path, verb) = match path.split_last() {
        Some((last, before)) => {
            let (id, verb) = last.split_once(':').unwrap_or((last, ""));
            ([before, &[id]].concat(), verb)
        }
        None => (path, ""),
    };
    let name = path.join("/");
    let done = match path.as_slice() {
        ["projects", project, "topics"] if verb.is_empty() && parts.method == Method::GET => {
            Some(call.list_topics(&format!("projects/{project}")))
        }
        ["projects", project, "subscriptions"] if verb.is_empty() && parts.method == Method::GET => {
            Some(call.list_subscriptions(&format!("projects/{project}")))
        }
        ["projects", project, "topics", topic, "subscriptions"] if parts.method == Method::GET => {
            Some(call.list_topic_subscriptions(&format!("projects/{project}/topics/{topic}")))
        }
        ["projects", _, "topics", _] => call.topic(&parts.method, &name, verb),
        ["projects", _, "subscriptions", _] if (parts.method.as_str(), verb) == ("POST", "pull") => {
            Some(call.pull(&name).await)
        }
        ["projects", _, "subscriptions", _] => call.subscription(&parts.method, &name, verb),
        _ => None,
    };
    done.unwrap_or_else(|| Err(PubSubError::not_implemented(format!("{} {}", parts.method, parts.uri.path()))))
}

/// A request with everything that a call looks at.
struct Call<'a> {
    pubsub: PubSub,
    enums: Enums,
    body: &'a [u8],
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct UpdateTopicBody {
    topic: TopicBody,
    update_mask: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct UpdateSubscriptionBody {
    subscription: SubscriptionBody,
    update_mask: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct PublishBody {
    messages: Vec<MessageBody>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct PullBody {
    max_messages: i32,
    return_immediately: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct AckBody {
    ack_ids: Vec<String>,
    ack_deadline_seconds: Option<i32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SetPolicyBody {
    policy: Value,
}

impl Call<'_> {
    /// `None`: no such call.
    fn topic(&self, method: &Method, name: &str, verb: &str) -> Option<Answer> {
        Some(match (method.as_str(), verb) {
            ("PUT", "") => self.create_topic(name),
            ("GET", "") => self.get_topic(name),
            ("PATCH", "") => self.update_topic(name),
            ("DELETE", "") => self.pubsub.remove_topic(name).map(|()| json!({})),
            ("POST", "publish") => self.publish(name),
            _ => return self.policy(method, name, verb),
        })
    }

    /// `None`: no such call.
    fn subscription(&self, method: &Method, name: &str, verb: &str) -> Option<Answer> {
        Some(match (method.as_str(), verb) {
            ("PUT", "") => self.create_subscription(name),
            ("GET", "") => self.get_subscription(name),
            ("PATCH", "") => self.update_subscription(name),
            ("DELETE", "") => self.pubsub.remove_subscription(name).map(|()| json!({})),
            ("POST", "acknowledge") => self.acknowledge(name),
            ("POST", "modifyAckDeadline") => self.modify_ack_deadline(name),
            _ => return self.policy(method, name, verb),
        })
    }

    /// The official clients read policies by GET; Google takes POST for some services, not for this one.
    fn policy(&self, method: &Method, name: &str, verb: &str) -> Option<Answer> {
        match (method.as_str(), verb) {
            ("GET", "getIamPolicy") => Some(self.pubsub.policy(name)),
            ("POST", "setIamPolicy") => {
                Some(self.read::<SetPolicyBody>().and_then(|body| self.pubsub.set_policy(name, &body.policy)))
            }
            _ => None,
        }
    }

    fn create_topic(&self, name: &str) -> Answer {
        let topic = self.read::<TopicBody>()?.read(name.to_owned());
        self.tell_topic(self.pubsub.call(|state, _| state.create_topic(topic))?)
    }

    fn get_topic(&self, name: &str) -> Answer {
        self.tell_topic(self.pubsub.call(|state, _| state.topic(name).cloned())?)
    }

    fn update_topic(&self, name: &str) -> Answer {
        let body = self.read::<UpdateTopicBody>()?;
        let (topic, paths) = (body.topic.read(name.to_owned()), mask_paths(&body.update_mask));
        self.tell_topic(self.pubsub.call(|state, _| state.update_topic(&topic, &paths))?)
    }

    fn list_topics(&self, project: &str) -> Answer {
        let topics = self.pubsub.call(|state, _| Ok(state.topics(project)))?;
        let topics: Vec<TopicBody> = topics.into_iter().map(|topic| TopicBody::tell(topic, self.enums)).collect();
        Ok(json!({ "topics": topics }))
    }

    fn list_topic_subscriptions(&self, topic: &str) -> Answer {
        let found = self.pubsub.call(|state, _| {
            state.topic(topic)?;
            Ok(state.subscriptions(topic))
        })?;
        let names: Vec<String> = found.into_iter().map(|subscription| subscription.name).collect();
        Ok(json!({ "subscriptions": names }))
    }

    fn publish(&self, name: &str) -> Answer {
        let messages = self.read::<PublishBody>()?.messages.into_iter().map(MessageBody::read);
        let messages: Vec<pb::PubsubMessage> = messages.collect::<Result<_, _>>()?;
        let ids = self.pubsub.call(|state, now| state.publish(name, messages, now))?;
        Ok(json!({ "messageIds": ids }))
    }

    fn create_subscription(&self, name: &str) -> Answer {
        let config = self.read::<SubscriptionBody>()?.read(name.to_owned())?;
        self.tell_subscription(self.pubsub.call(|state, _| state.create_subscription(config))?)
    }

    fn get_subscription(&self, name: &str) -> Answer {
        self.tell_subscription(self.pubsub.call(|state, _| state.subscription(name).cloned())?)
    }

    fn update_subscription(&self, name: &str) -> Answer {
        let body = self.read::<UpdateSubscriptionBody>()?;
        let (config, paths) = (body.subscription.read(name.to_owned())?, mask_paths(&body.update_mask));
        self.tell_subscription(self.pubsub.call(|state, _| state.update_subscription(&config, &paths))?)
    }

    fn list_subscriptions(&self, project: &str) -> Answer {
        let found = self.pubsub.call(|state, _| Ok(state.subscriptions(project)))?;
        let told: Vec<_> = found.into_iter().map(|config| SubscriptionBody::tell(config, self.enums)).collect();
        Ok(json!({ "subscriptions": told }))
    }

    async fn pull(&self, name: &str) -> Answer {
        let body = self.read::<PullBody>()?;
        let received = self.pubsub.pull(name, body.max_messages, body.return_immediately).await?;
        let received: Vec<ReceivedBody> = received.into_iter().map(ReceivedBody::from).collect();
        Ok(if received.is_empty() { json!({}) } else { json!({ "receivedMessages": received }) })
    }

    fn acknowledge(&self, name: &str) -> Answer {
        let body = self.read::<AckBody>()?;
        self.pubsub.call(|state, now| state.acknowledge(name, &leases(state, &body.ack_ids)?, now))?;
        Ok(json!({}))
    }

    fn modify_ack_deadline(&self, name: &str) -> Answer {
        let body = self.read::<AckBody>()?;
        let missing = || PubSubError::invalid("ackDeadlineSeconds is missing.");
        let extension = check_extension(body.ack_deadline_seconds.ok_or_else(missing)?)?;
        self.pubsub.call(|state, now| state.modify(name, &leases(state, &body.ack_ids)?, extension, now))?;
        Ok(json!({}))
    }

    /// The body; none at all reads as `{}`.
    fn read<T: DeserializeOwned>(&self) -> Result<T, PubSubError> {
        let body = if self.body.is_empty() { b"{}" } else { self.body };
        let invalid = |error| PubSubError::invalid(format!("Invalid JSON payload received. {error}"));
        serde_json::from_slice(body).map_err(invalid)
    }

    fn tell_topic(&self, topic: pb::Topic) -> Answer {
        Ok(json!(TopicBody::tell(topic, self.enums)))
    }

    fn tell_subscription(&self, config: pb::Subscription) -> Answer {
        Ok(json!(SubscriptionBody::tell(config, self.enums)))
    }
}

impl From<ParameterError> for PubSubError {
    fn from(error: ParameterError) -> Self {
        Self::invalid(error.to_string())
    }
}
