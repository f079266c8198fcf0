//! Topics, subscriptions and the notifications of a bucket.

use serde_json::{Value, json};

use super::{Answer, GoogleCloud, Method, last, number, spec};
use crate::cloud::{Live, Owner};
use crate::resource::{Notification, Spec, Subscription, Topic};

const DAY_S: u64 = 24 * 3600;

/// Whole days of a duration as Google writes it: `604800s`, `1.5s`.
fn days(seconds: &Value) -> u64 {
    let text = seconds.as_str().unwrap_or_default().trim_end_matches('s');
    text.split('.').next().and_then(|whole| whole.parse::<u64>().ok()).unwrap_or_default() / DAY_S
}

fn duration(days: u32) -> String {
    format!("{}s", u64::from(days) * DAY_S)
}

impl GoogleCloud {
    fn topic_path(&self, name: &str) -> String {
        format!("projects/{}/topics/{name}", self.project)
    }

    pub(super) fn topic_url(&self, name: &str) -> String {
        format!("{}/v1/{}", self.rest.bases.pubsub, self.topic_path(name))
    }

    pub(super) fn subscription_url(&self, name: &str) -> String {
        format!("{}/v1/projects/{}/subscriptions/{name}", self.rest.bases.pubsub, self.project)
    }

    pub(super) async fn read_topic(&self, name: &str) -> Answer<Option<Live>> {
        let Some(found) = self.rest.get(&self.topic_url(name)).await? else { return Ok(None) };
        let mut topic = json!({ "kind": "topic" });
        if found["messageRetentionDuration"].is_string() {
            topic["retention_days"] = days(&found["messageRetentionDuration"]).into();
        }
        Ok(Some(self.live(&found, spec(topic)?)))
    }

    pub(super) async fn create_topic(&self, name: &str, topic: &Topic) -> Answer<()> {
        let mut body = json!({ "labels": self.labels() });
        if let Some(days) = topic.retention_days {
            body["messageRetentionDuration"] = duration(days).into();
        }
        self.rest.call(Method::PUT, &self.topic_url(name), body).await.map(drop)
    }

    pub(super) async fn update_topic(&self, name: &str, topic: &Topic) -> Answer<()> {
        let mut fields = json!({ "name": self.topic_path(name) });
        if let Some(days) = topic.retention_days {
            fields["messageRetentionDuration"] = duration(days).into();
        }
        let body = json!({ "topic": fields, "updateMask": "messageRetentionDuration" });
        self.rest.call(Method::PATCH, &self.topic_url(name), body).await.map(drop)
    }

    pub(super) async fn read_subscription(&self, name: &str) -> Answer<Option<Live>> {
        let Some(found) = self.rest.get(&self.subscription_url(name)).await? else { return Ok(None) };
        let topic = last(&found["topic"]);
        let mut subscription = json!({
            "kind": "subscription",
            // Of a topic that was deleted only a mark is left, which is no name.
            "topic": if topic.starts_with('_') { "deleted" } else { topic },
            "ack_deadline_s": found["ackDeadlineSeconds"],
            "retention_days": days(&found["messageRetentionDuration"]),
        });
        let dead = &found["deadLetterPolicy"];
        if dead["deadLetterTopic"].as_str().is_some_and(|topic| !topic.is_empty()) {
            subscription["dead_letter"] =
                json!({ "topic": last(&dead["deadLetterTopic"]), "attempts": number(&dead["maxDeliveryAttempts"]) });
        }
        Ok(Some(self.live(&found, spec(subscription)?)))
    }

    fn subscription_fields(&self, subscription: &Subscription) -> Value {
        let mut fields = json!({
            "ackDeadlineSeconds": subscription.ack_deadline_s,
            "messageRetentionDuration": duration(subscription.retention_days),
        });
        if let Some(dead) = &subscription.dead_letter {
            let topic = self.topic_path(dead.topic.as_str());
            fields["deadLetterPolicy"] = json!({ "deadLetterTopic": topic, "maxDeliveryAttempts": dead.attempts });
        }
        fields
    }

    pub(super) async fn create_subscription(&self, name: &str, subscription: &Subscription) -> Answer<()> {
        let mut body = self.subscription_fields(subscription);
        body["topic"] = self.topic_path(subscription.topic.as_str()).into();
        body["labels"] = self.labels();
        // Without this, one that nobody pulls from for a month is deleted.
        body["expirationPolicy"] = json!({});
        self.rest.call(Method::PUT, &self.subscription_url(name), body).await.map(drop)
    }

    pub(super) async fn update_subscription(&self, name: &str, subscription: &Subscription) -> Answer<()> {
        let mut fields = self.subscription_fields(subscription);
        fields["name"] = format!("projects/{}/subscriptions/{name}", self.project).into();
        let mask = "ackDeadlineSeconds,messageRetentionDuration,deadLetterPolicy";
        let body = json!({ "subscription": fields, "updateMask": mask });
        self.rest.call(Method::PATCH, &self.subscription_url(name), body).await.map(drop)
    }

    /// The configuration of the bucket for this topic, with its number.
    async fn find_notification(&self, notification: &Notification) -> Answer<Option<Value>> {
        let url = format!("{}/notificationConfigs", self.bucket_url(notification.bucket.as_str()));
        let Some(list) = self.rest.get(&url).await? else { return Ok(None) };
        let topic = format!("/{}", self.topic_path(notification.topic.as_str()));
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let ours = |item: &Value| item["topic"].as_str().is_some_and(|found| found.ends_with(&topic));
        let same = |item: &Value| ours(item) && events(item) == wanted_events(notification);
        Ok(items.iter().find(|item| same(item)).or_else(|| items.iter().find(|item| ours(item))).cloned())
    }

    pub(super) async fn read_notification(&self, notification: &Notification) -> Answer<Option<Live>> {
        let Some(found) = self.find_notification(notification).await? else { return Ok(None) };
        // In the order of the template where it is the same: the order says nothing.
        let events = if events(&found) == wanted_events(notification) {
            serde_json::to_value(&notification.events).unwrap_or_default()
        } else {
            json!(events(&found))
        };
        let spec = spec(json!({
            "kind": "notification",
            "bucket": notification.bucket,
            "topic": notification.topic,
            "events": events,
        }))?;
        Ok(Some(Live { spec, owner: Owner::Unmarked }))
    }

    pub(super) async fn create_notification(&self, notification: &Notification) -> Answer<()> {
        // The service has no names for these and would make a second one.
        if let Some(live) = self.read_notification(notification).await?
            && live.spec == Spec::Notification(notification.clone())
        {
            return Ok(());
        }
        let url = format!("{}/notificationConfigs", self.bucket_url(notification.bucket.as_str()));
        let body = json!({
            "topic": format!("//pubsub.googleapis.com/{}", self.topic_path(notification.topic.as_str())),
            "event_types": notification.events,
            "payload_format": "JSON_API_V1",
        });
        // The right of the storage agent to publish takes a while to be known everywhere.
        self.rest.call(Method::POST, &url, body).await.map(drop).map_err(|failure| failure.passing_if(true))
    }

    pub(super) async fn delete_notification(&self, notification: &Notification) -> Answer<()> {
        let Some(found) = self.find_notification(notification).await? else { return Ok(()) };
        if events(&found) != wanted_events(notification) {
            return Ok(());
        }
        let id = found["id"].as_str().unwrap_or_default();
        let bucket = self.bucket_url(notification.bucket.as_str());
        self.rest.gone(Method::DELETE, &format!("{bucket}/notificationConfigs/{id}")).await
    }
}

/// Sorted: the order says nothing.
fn events(found: &Value) -> Vec<String> {
    let mut events: Vec<String> = serde_json::from_value(found["event_types"].clone()).unwrap_or_default();
    events.sort();
    events
}

fn wanted_events(notification: &Notification) -> Vec<String> {
    events(&json!({ "event_types": notification.events }))
}
