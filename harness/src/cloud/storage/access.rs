//! Policies of buckets, by both protocols, and the service agent that publishes notifications.

use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use super::Storage;
use super::error::StorageError;
use super::names::bucket_of_resource;
use crate::cloud::faults::StorageVerb;
use crate::cloud::generated::iam as pb;
use crate::cloud::generated::services::storage_control_server::StorageControl;
use crate::cloud::iam::{PolicyError, storage_agent};

impl Storage {
    /// The policy of a bucket.
    pub(super) fn bucket_policy(&self, bucket: &str) -> Result<Value, StorageError> {
        self.call(StorageVerb::Bucket, |state, _| state.bucket(bucket).map(|_| ()))?;
        Ok(self.shared.iam.policy(&policy_name(bucket)))
    }

    /// Replaces the policy of a bucket.
    pub(super) fn set_bucket_policy(&self, bucket: &str, policy: &Value) -> Result<Value, StorageError> {
        self.call(StorageVerb::Bucket, |state, _| state.bucket(bucket).map(|_| ()))?;
        self.shared.iam.set_policy(&policy_name(bucket), policy).map_err(|error| match error {
            PolicyError::Stale => StorageError::PreconditionFailed,
            PolicyError::Invalid(message) => StorageError::invalid(message),
        })
    }

    /// `storage#serviceAccount` of a project.
    pub(super) fn service_agent() -> Value {
        json!({ "kind": "storage#serviceAccount", "email_address": storage_agent() })
    }

    /// The project that a bucket is in.
    pub(in crate::cloud) fn project_of(&self, bucket: &str) -> Option<String> {
        self.step(|state, _| state.bucket(bucket).map(|bucket| bucket.info.project.clone())).ok()
    }
}

/// The name under which the policy of a bucket is kept.
pub(super) fn policy_name(bucket: &str) -> String {
    format!("projects/_/buckets/{bucket}")
}

#[tonic::async_trait]
impl StorageControl for Storage {
    async fn get_iam_policy(&self, request: Request<pb::GetIamPolicyRequest>) -> Result<Response<pb::Policy>, Status> {
        let bucket = bucket_of_resource(&request.into_inner().resource).map_err(StorageError::from)?;
        Ok(Response::new(message(&self.bucket_policy(&bucket)?)))
    }

    async fn set_iam_policy(&self, request: Request<pb::SetIamPolicyRequest>) -> Result<Response<pb::Policy>, Status> {
        let request = request.into_inner();
        let bucket = bucket_of_resource(&request.resource).map_err(StorageError::from)?;
        let policy = request.policy.ok_or_else(|| Status::invalid_argument("the policy is missing"))?;
        Ok(Response::new(message(&self.set_bucket_policy(&bucket, &json(&policy))?)))
    }

    async fn test_iam_permissions(
        &self,
        request: Request<pb::TestIamPermissionsRequest>,
    ) -> Result<Response<pb::TestIamPermissionsResponse>, Status> {
        let pb::TestIamPermissionsRequest { resource, permissions } = request.into_inner();
        let bucket = bucket_of_resource(&resource).map_err(StorageError::from)?;
        self.bucket_policy(&bucket)?;
        Ok(Response::new(pb::TestIamPermissionsResponse { permissions }))
    }
}

/// Etags are texts in JSON and bytes in messages: the same characters here.
fn message(policy: &Value) -> pb::Policy {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let binding = |binding: &Value| pb::Binding {
        role: text(&binding["role"]),
        members: binding["members"].as_array().into_iter().flatten().map(text).collect(),
        condition: binding["condition"].as_object().map(|condition| pb::Expr {
            expression: condition.get("expression").map(text).unwrap_or_default(),
            title: condition.get("title").map(text).unwrap_or_default(),
            description: condition.get("description").map(text).unwrap_or_default(),
            location: String::new(),
        }),
    };
    pb::Policy {
        version: policy["version"].as_i64().and_then(|version| i32::try_from(version).ok()).unwrap_or(1),
        bindings: policy["bindings"].as_array().into_iter().flatten().map(binding).collect(),
        etag: text(&policy["etag"]).into_bytes(),
        ..pb::Policy::default()
    }
}

fn json(policy: &pb::Policy) -> Value {
    let binding = |binding: &pb::Binding| {
        let mut told = json!({ "role": binding.role, "members": binding.members });
        if let Some(condition) = &binding.condition {
            told["condition"] = json!({
                "expression": condition.expression, "title": condition.title, "description": condition.description,
            });
        }
        told
    };
    json!({
        "version": policy.version,
        "etag": String::from_utf8_lossy(&policy.etag),
        "bindings": policy.bindings.iter().map(binding).collect::<Vec<_>>(),
    })
}
