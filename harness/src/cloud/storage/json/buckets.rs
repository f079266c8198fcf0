//! Calls on buckets and their notification configurations over the JSON API.

use serde_json::{Value, json};

use super::{Answer, Call, answers, fields};
use crate::cloud::faults::StorageVerb;
use crate::cloud::iam::storage_agent;
use crate::cloud::storage::access::policy_name;
use crate::cloud::storage::bucket::{BucketFields, BucketPreconditions};
use crate::cloud::storage::error::StorageError;
use crate::cloud::storage::resources::{bucket_resource, location_type, notification_resource};

impl Call {
    /// One page holds all: a laptop has no thousand buckets.
    pub(super) fn list_buckets(mut self) -> Answer {
        let project = self.parameters.text("project").ok_or(StorageError::Required { name: "project" })?;
        let prefix = self.parameters.text("prefix").unwrap_or_default();
        self.parameters.text("maxResults");
        self.parameters.finish()?;
        let base = &self.storage.shared.base_url;
        let items: Vec<Value> = self.storage.call(StorageVerb::Bucket, |state, _| {
            Ok(state.buckets(&project, &prefix).map(|bucket| bucket_resource(bucket, base)).collect())
        })?;
        let mut list = json!({ "kind": "storage#buckets" });
        if !items.is_empty() {
            list["items"] = items.into();
        }
        Ok(answers::resource(list))
    }

    pub(super) fn insert_bucket(mut self) -> Answer {
        let project = self.parameters.text("project").ok_or(StorageError::Required { name: "project" })?;
        let body = self.json()?;
        if self.parameters.flag("enableObjectRetention")? {
            return Err(StorageError::not_implemented("buckets with object retention"));
        }
        self.parameters.finish()?;
        let name = body.get("name").and_then(Value::as_str).ok_or(StorageError::Required { name: "name" })?;
        let mut bucket = BucketFields::default();
        fields::patch_bucket(&mut bucket, &body)?;
        let made =
            self.storage.call(StorageVerb::Bucket, |state, now| state.create_bucket(name, &project, bucket, now))?;
        Ok(answers::resource(bucket_resource(&made, &self.storage.shared.base_url)))
    }

    pub(super) fn get_bucket(mut self, bucket: &str) -> Answer {
        let preconditions = self.bucket_preconditions()?;
        self.parameters.finish()?;
        let info = self.storage.call(StorageVerb::Bucket, |state, _| {
            let info = state.bucket(bucket)?.info.clone();
            preconditions.check(&info)?;
            Ok(info)
        })?;
        Ok(answers::resource(bucket_resource(&info, &self.storage.shared.base_url)))
    }

    /// What `gcloud` asks before it copies or removes: flat names, no folders.
    pub(super) fn storage_layout(mut self, bucket: &str) -> Answer {
        self.parameters.text("prefix");
        self.parameters.finish()?;
        let location = self
            .storage
            .call(StorageVerb::Bucket, |state, _| Ok(state.bucket(bucket)?.info.fields.location.clone()))?;
        Ok(answers::resource(json!({
            "kind": "storage#storageLayout",
            "bucket": bucket,
            "location": location,
            "locationType": location_type(&location),
        })))
    }

    /// What `gcloud` asks before it removes a bucket. None can be made, so there are none.
    pub(super) fn list_managed_folders(mut self, bucket: &str) -> Answer {
        for known in ["prefix", "pageSize", "pageToken"] {
            self.parameters.text(known);
        }
        self.parameters.finish()?;
        self.storage.call(StorageVerb::Bucket, |state, _| state.bucket(bucket).map(|_| ()))?;
        Ok(answers::resource(json!({ "kind": "storage#managedFolders" })))
    }

    pub(super) fn patch_bucket(mut self, bucket: &str) -> Answer {
        let preconditions = self.bucket_preconditions()?;
        let body = self.json()?;
        self.parameters.finish()?;
        let info = self.storage.call(StorageVerb::Bucket, |state, now| {
            state.update_bucket(bucket, preconditions, |bucket| fields::patch_bucket(bucket, &body), now)
        })?;
        Ok(answers::resource(bucket_resource(&info, &self.storage.shared.base_url)))
    }

    pub(super) fn delete_bucket(mut self, bucket: &str) -> Answer {
        let preconditions = self.bucket_preconditions()?;
        self.parameters.finish()?;
        self.storage.call(StorageVerb::Bucket, |state, _| state.delete_bucket(bucket, preconditions, false))?;
        self.storage.shared.iam.forget_policy(&policy_name(bucket));
        Ok(answers::nothing())
    }

    pub(super) fn list_notifications(self, bucket: &str) -> Answer {
        self.parameters.finish()?;
        let base = &self.storage.shared.base_url;
        let items: Vec<Value> = self.storage.call(StorageVerb::Notification, |state, _| {
            let configs = state.bucket(bucket)?.notifications.values();
            Ok(configs.map(|config| notification_resource(bucket, config, base)).collect())
        })?;
        let mut list = json!({ "kind": "storage#notifications" });
        if !items.is_empty() {
            list["items"] = items.into();
        }
        Ok(answers::resource(list))
    }

    /// The topic must exist, as at Google, where the bucket's service agent must be able to publish to it.
    pub(super) fn insert_notification(self, bucket: &str) -> Answer {
        let config = fields::notification(&self.json()?)?;
        self.parameters.finish()?;
        let known = self.storage.shared.pubsub.has_topic(&config.topic);
        let allowed = self.storage.shared.iam.storage_may_publish(&config.topic);
        let made = self.storage.call(StorageVerb::Notification, |state, _| {
            if !allowed {
                let (agent, topic) = (storage_agent(), config.topic.clone());
                return Err(StorageError::AgentMayNotPublish { agent, topic });
            }
            if !known {
                return Err(StorageError::invalid(format!("Invalid Google Cloud Pub/Sub topic: {}", config.topic)));
            }
            state.add_notification(bucket, config)
        })?;
        Ok(answers::resource(notification_resource(bucket, &made, &self.storage.shared.base_url)))
    }

    pub(super) fn get_notification(self, bucket: &str, id: &str) -> Answer {
        self.parameters.finish()?;
        let config =
            self.storage.call(StorageVerb::Notification, |state, _| state.notification(bucket, id).cloned())?;
        Ok(answers::resource(notification_resource(bucket, &config, &self.storage.shared.base_url)))
    }

    pub(super) fn delete_notification(self, bucket: &str, id: &str) -> Answer {
        self.parameters.finish()?;
        self.storage.call(StorageVerb::Notification, |state, _| state.delete_notification(bucket, id))?;
        Ok(answers::nothing())
    }

    pub(super) fn get_policy(mut self, bucket: &str) -> Answer {
        self.parameters.text("optionsRequestedPolicyVersion");
        self.parameters.finish()?;
        Ok(answers::resource(policy_resource(bucket, self.storage.bucket_policy(bucket)?)))
    }

    pub(super) fn set_policy(self, bucket: &str) -> Answer {
        let policy = Value::Object(self.json()?);
        self.parameters.finish()?;
        Ok(answers::resource(policy_resource(bucket, self.storage.set_bucket_policy(bucket, &policy)?)))
    }

    /// Who asks is the operator, who may do everything.
    pub(super) fn test_permissions(mut self, bucket: &str) -> Answer {
        let permissions = self.parameters.text("permissions");
        self.parameters.finish()?;
        self.storage.bucket_policy(bucket)?;
        Ok(answers::resource(json!({
            "kind": "storage#testIamPermissionsResponse",
            "permissions": permissions.into_iter().collect::<Vec<_>>(),
        })))
    }

    fn bucket_preconditions(&mut self) -> Result<BucketPreconditions, StorageError> {
        Ok(BucketPreconditions {
            metageneration_match: self.parameters.value("ifMetagenerationMatch")?,
            metageneration_not_match: self.parameters.value("ifMetagenerationNotMatch")?,
        })
    }
}

/// `storage#policy`.
fn policy_resource(bucket: &str, mut policy: Value) -> Value {
    policy["kind"] = "storage#policy".into();
    policy["resourceId"] = policy_name(bucket).into();
    policy
}
