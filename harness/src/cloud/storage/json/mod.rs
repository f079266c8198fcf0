//! The JSON API of Cloud Storage: which method and path means what. Each call is read here and done by the state.
//!
//! Paths: <https://cloud.google.com/storage/docs/json_api/v1>. What is missing answers 501 and says so.

mod answers;
mod buckets;
mod fields;
mod multipart;
mod objects;
mod upload;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Map, Value};

use self::answers::failure;
use super::Storage;
use super::error::StorageError;
use super::object::Preconditions;
use super::uploads::OBJECT_BYTES_MAX;
use crate::cloud::parameters::{ParameterError, Parameters, path_parts};

/// Room for the metadata around the largest object.
const BODY_BYTES_MAX: usize = OBJECT_BYTES_MAX + 1024 * 1024;

/// A request with everything that a call looks at.
struct Call {
    storage: Storage,
    parameters: Parameters,
    headers: HeaderMap,
    body: Bytes,
}

/// What a call comes to.
type Answer = Result<Response, StorageError>;

/// Routes of the JSON API, of uploads and of downloads.
pub(in crate::cloud) fn router(storage: Storage) -> Router {
    Router::new()
        .route("/storage/v1/{*path}", any(serve))
        .route("/download/storage/v1/{*path}", any(serve))
        .route("/upload/storage/v1/{*path}", any(serve))
        .route("/resumable/upload/storage/v1/{*path}", any(serve))
        .with_state(storage)
}

async fn serve(State(storage): State<Storage>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let parameters = Parameters::parse(parts.uri.query());
    let media = parameters.get("alt") == Some("media");
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return failure(&StorageError::TooLarge { max: OBJECT_BYTES_MAX }, media);
    };
    let call = Call { storage, parameters, headers: parts.headers, body };
    call.dispatch(&parts.method, parts.uri.path()).unwrap_or_else(|error| failure(&error, media))
}

impl Call {
    fn dispatch(self, method: &Method, path: &str) -> Answer {
        let not_implemented = || StorageError::not_implemented(format!("{method} {path}"));
        let (prefix, rest) = path.split_once("storage/v1/").ok_or_else(not_implemented)?;
        let parts = path_parts(rest);
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (prefix, method.as_str(), parts.as_slice()) {
            ("/upload/" | "/resumable/upload/", "POST" | "PUT" | "DELETE", ["b", bucket, "o"]) => {
                self.upload(method, bucket)
            }
            ("/" | "/download/", "GET", ["b", bucket, "o", object]) => self.get_object(bucket, object),
            ("/", _, parts) => self.dispatch_plain(method, parts).unwrap_or_else(|| Err(not_implemented())),
            _ => Err(not_implemented()),
        }
    }

    /// `None`: no such call.
    fn dispatch_plain(self, method: &Method, parts: &[&str]) -> Option<Answer> {
        let answer = match (method.as_str(), parts) {
            ("GET", ["b"]) => self.list_buckets(),
            ("POST", ["b"]) => self.insert_bucket(),
            ("GET", ["b", bucket]) => self.get_bucket(bucket),
            ("PATCH", ["b", bucket]) => self.patch_bucket(bucket),
            ("DELETE", ["b", bucket]) => self.delete_bucket(bucket),
            ("GET", ["projects", _, "serviceAccount"]) => Ok(answers::resource(Storage::service_agent())),
            ("GET", ["b", bucket, "iam"]) => self.get_policy(bucket),
            ("PUT", ["b", bucket, "iam"]) => self.set_policy(bucket),
            ("GET", ["b", bucket, "iam", "testPermissions"]) => self.test_permissions(bucket),
            ("GET", ["b", bucket, "storageLayout"]) => self.storage_layout(bucket),
            ("GET", ["b", bucket, "managedFolders"]) => self.list_managed_folders(bucket),
            ("GET", ["b", bucket, "notificationConfigs"]) => self.list_notifications(bucket),
            ("POST", ["b", bucket, "notificationConfigs"]) => self.insert_notification(bucket),
            ("GET", ["b", bucket, "notificationConfigs", id]) => self.get_notification(bucket, id),
            ("DELETE", ["b", bucket, "notificationConfigs", id]) => self.delete_notification(bucket, id),
            ("GET", ["b", bucket, "o"]) => self.list_objects(bucket),
            ("PATCH", ["b", bucket, "o", object]) => self.patch_object(bucket, object),
            ("DELETE", ["b", bucket, "o", object]) => self.delete_object(bucket, object),
            ("POST", ["b", bucket, "o", object, "compose"]) => self.compose(bucket, object),
            ("POST", ["b", from, "o", source, "copyTo", "b", to, "o", name]) => self.copy((from, source), (to, name)),
            ("POST", ["b", from, "o", source, "rewriteTo", "b", to, "o", name]) => {
                self.rewrite((from, source), (to, name))
            }
            ("POST", ["b", bucket, "o", source, "moveTo", "o", name]) => self.move_object(bucket, source, name),
            _ => return None,
        };
        Some(answer)
    }

    /// `ifGenerationMatch` and its siblings, or with `Source` in their names those of a copy's source.
    fn preconditions(&mut self, of: &str) -> Result<Preconditions, StorageError> {
        let mut read = |name: &str| self.parameters.value(&format!("if{of}{name}"));
        Ok(Preconditions {
            generation_match: read("GenerationMatch")?,
            generation_not_match: read("GenerationNotMatch")?,
            metageneration_match: read("MetagenerationMatch")?,
            metageneration_not_match: read("MetagenerationNotMatch")?,
        })
    }

    /// The body as a JSON object; no body is an empty one.
    fn json(&self) -> Result<Map<String, Value>, StorageError> {
        if self.body.is_empty() {
            return Ok(Map::new());
        }
        serde_json::from_slice(&self.body).map_err(|error| StorageError::invalid(format!("Parse Error: {error}")))
    }
}

impl From<ParameterError> for StorageError {
    fn from(error: ParameterError) -> Self {
        Self::invalid(error.to_string())
    }
}
