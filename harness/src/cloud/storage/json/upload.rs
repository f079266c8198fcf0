//! Inserting objects over the JSON API: `uploadType=media`, `multipart` and `resumable`.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Answer, Call, answers, fields, multipart};
use crate::cloud::faults::StorageVerb;
use crate::cloud::storage::error::StorageError;
use crate::cloud::storage::object::{Checksums, ObjectFields};
use crate::cloud::storage::resources::object_resource;
use crate::cloud::storage::state::NewObject;
use crate::cloud::storage::uploads::{OBJECT_BYTES_MAX, Piece, Progress, UploadPlan};

impl Call {
    pub(super) fn upload(mut self, method: &Method, bucket: &str) -> Answer {
        let kind = self.parameters.text("uploadType").unwrap_or_default();
        let id = self.parameters.text("upload_id");
        match (kind.as_str(), method.as_str(), id) {
            ("media", "POST", None) => self.upload_media(bucket),
            ("multipart", "POST", None) => self.upload_multipart(bucket),
            ("resumable", "POST", None) => self.start_resumable(bucket),
            ("resumable", "PUT" | "POST", Some(id)) => self.continue_resumable(&id),
            ("resumable", "DELETE", Some(id)) => self.cancel_resumable(&id),
            ("", ..) => Err(StorageError::Required { name: "uploadType" }),
            _ => Err(StorageError::not_implemented(format!("{method} with uploadType={kind}"))),
        }
    }

    fn upload_media(mut self, bucket: &str) -> Answer {
        let content_type = self.header("content-type");
        let mut plan = self.plan(bucket, &Map::new())?;
        plan.fields.content_type = content_type;
        let data = self.body.clone();
        self.write(plan, data)
    }

    fn upload_multipart(mut self, bucket: &str) -> Answer {
        let content_type = self.header("content-type").unwrap_or_default();
        let mut parts = multipart::parse(&content_type, &self.body)?.into_iter();
        let (Some(metadata), Some(media)) = (parts.next(), parts.next()) else {
            return Err(StorageError::invalid("A multipart upload needs a part of metadata and a part of media"));
        };
        let metadata = json_object(&metadata.body)?;
        let mut plan = self.plan(bucket, &metadata)?;
        plan.fields.content_type = plan.fields.content_type.or(media.content_type);
        // Official clients that stream send the checksums behind the bytes.
        if let Some(trailer) = parts.next() {
            plan.checksums = fields::checksums(&json_object(&trailer.body)?)?.or(plan.checksums);
        }
        self.write(plan, media.body)
    }

    fn start_resumable(mut self, bucket: &str) -> Answer {
        let content_type = self.header("x-upload-content-type");
        let metadata = self.json()?;
        let mut plan = self.plan(bucket, &metadata)?;
        plan.fields.content_type = plan.fields.content_type.or(content_type);
        self.storage
            .call(StorageVerb::Insert, |state, _| state.check_put(&plan.bucket, &plan.name, plan.preconditions))?;
        let id = Uuid::now_v7().simple().to_string();
        let base = &self.storage.shared.base_url;
        let name = utf8_percent_encode(&plan.name, NON_ALPHANUMERIC);
        let location = format!("{base}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name={name}&upload_id={id}");
        self.storage.uploads(|uploads| uploads.start(id.clone(), plan));
        Ok((StatusCode::OK, [("location", location), ("x-guploader-uploadid", id)]).into_response())
    }

    fn continue_resumable(mut self, id: &str) -> Answer {
        // The session URL repeats the name; the session knows it.
        self.parameters.text("name");
        let piece = match self.header("content-range") {
            Some(range) => Piece::parse(&range)?,
            None => Piece::whole(self.body.len()),
        };
        let said = match self.header("x-goog-hash") {
            Some(hash) => fields::checksums_of_header(&hash)?,
            None => Checksums::default(),
        };
        let base = self.storage.shared.base_url.clone();
        std::mem::take(&mut self.parameters).finish()?;
        let storage = self.storage.clone();
        storage.call(StorageVerb::Insert, |state, now| {
            let progress = self.storage.uploads(|uploads| uploads.receive(id, piece, &self.body))?;
            match progress {
                Progress::Open { received } => Ok(incomplete(received)),
                Progress::Done(object) => Ok(answers::resource(object_resource(&object, &base))),
                Progress::Complete(plan, data) => {
                    let preconditions = plan.preconditions;
                    let plan = UploadPlan { checksums: said.or(plan.checksums), ..*plan };
                    let object = state.put(new_object(plan, data), preconditions, now)?;
                    let answer = answers::resource(object_resource(&object, &base));
                    self.storage.uploads(|uploads| uploads.finish(id, object));
                    Ok(answer)
                }
            }
        })
    }

    fn cancel_resumable(mut self, id: &str) -> Answer {
        self.parameters.text("name");
        self.storage.call(StorageVerb::Insert, |_, _| Ok(()))?;
        self.storage.uploads(|uploads| uploads.cancel(id))?;
        // Google's own status for a cancelled upload.
        let status = StatusCode::from_u16(499).unwrap_or(StatusCode::NO_CONTENT);
        Ok(status.into_response())
    }

    /// What parameters and metadata say about the object that is to be written.
    fn plan(&mut self, bucket: &str, metadata: &Map<String, Value>) -> Result<UploadPlan, StorageError> {
        let named = metadata.get("name").and_then(Value::as_str).map(str::to_owned);
        let name = self.parameters.text("name").or(named).ok_or(StorageError::Required { name: "name" })?;
        let mut object_fields = ObjectFields::default();
        fields::patch_object(&mut object_fields, metadata)?;
        let plan = UploadPlan {
            bucket: bucket.to_owned(),
            name,
            fields: object_fields,
            checksums: fields::checksums(metadata)?,
            preconditions: self.preconditions("")?,
        };
        std::mem::take(&mut self.parameters).finish()?;
        Ok(plan)
    }

    fn write(&self, plan: UploadPlan, data: Bytes) -> Answer {
        if data.len() > OBJECT_BYTES_MAX {
            return Err(StorageError::TooLarge { max: OBJECT_BYTES_MAX });
        }
        let preconditions = plan.preconditions;
        let new = new_object(plan, data);
        let object = self.storage.call(StorageVerb::Insert, |state, now| state.put(new, preconditions, now))?;
        Ok(answers::resource(object_resource(&object, &self.storage.shared.base_url)))
    }

    fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    }
}

fn new_object(plan: UploadPlan, data: Bytes) -> NewObject {
    let UploadPlan { bucket, name, fields, checksums, preconditions: _ } = plan;
    NewObject { bucket, name, fields, data, checksums, component_count: None }
}

fn json_object(bytes: &[u8]) -> Result<Map<String, Value>, StorageError> {
    serde_json::from_slice(bytes).map_err(|error| StorageError::invalid(format!("Parse Error: {error}")))
}

/// 308: so many bytes are kept, send the rest.
fn incomplete(received: usize) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if received > 0
        && let Ok(range) = format!("bytes=0-{}", received - 1).parse()
    {
        response.headers_mut().insert(header::RANGE, range);
    }
    response
}
