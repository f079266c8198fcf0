//! Answers of the JSON API: resources, bytes with their headers, and errors in Google's shape.

use std::ops::Range;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::cloud::storage::error::StorageError;
use crate::cloud::storage::object::Object;
use crate::cloud::storage::resources::object_etag;

/// 200 with a resource.
pub(super) fn resource(value: Value) -> Response {
    Json(value).into_response()
}

/// 204: done, nothing to tell.
pub(super) fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// An error in Google's words. Requests for bytes (`alt=media`) get plain text, as Google gives it; the JSON form has no
/// `error.status`, unlike other Google APIs.
pub(super) fn failure(error: &StorageError, media: bool) -> Response {
    let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if *error == StorageError::NotModified {
        return status.into_response();
    }
    let message = error.message();
    if media {
        return (status, message).into_response();
    }
    let mut detail = json!({ "domain": "global", "reason": error.reason(), "message": message });
    if *error == StorageError::PreconditionFailed {
        detail["locationType"] = "header".into();
        detail["location"] = "If-Match".into();
    }
    let body = json!({ "error": { "code": status.as_u16(), "message": message, "errors": [detail] } });
    (status, Json(body)).into_response()
}

/// The object's bytes, or the part that a `Range` header asks for.
pub(super) fn bytes(object: &Object, request: &HeaderMap) -> Result<Response, StorageError> {
    let size = object.data.len();
    let range = request.get(header::RANGE).and_then(|range| range.to_str().ok()).map(|range| byte_range(range, size));
    let (status, data) = match range.transpose()?.flatten() {
        Some(range) => (StatusCode::PARTIAL_CONTENT, object.data.slice(range)),
        None => (StatusCode::OK, object.data.clone()),
    };
    let mut response = Response::new(Body::from(data.clone()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let mut set = |name: &str, value: &str| {
        // Custom metadata may hold what no header can; Google leaves such values out, too.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    };
    if status == StatusCode::PARTIAL_CONTENT {
        let first = data.as_ptr() as usize - object.data.as_ptr() as usize;
        set("content-range", &format!("bytes {first}-{}/{size}", first + data.len() - 1));
    }
    let fields = &object.fields;
    set("content-type", fields.content_type.as_deref().unwrap_or("application/octet-stream"));
    for (name, value) in [
        ("content-disposition", &fields.content_disposition),
        ("content-language", &fields.content_language),
        ("cache-control", &fields.cache_control),
        ("content-encoding", &fields.content_encoding),
    ] {
        if let Some(value) = value {
            set(name, value);
        }
    }
    set("etag", &object_etag(object));
    set("x-goog-generation", &object.generation.to_string());
    set("x-goog-metageneration", &object.metageneration.to_string());
    set("x-goog-storage-class", fields.storage_class.as_deref().unwrap_or("STANDARD"));
    set("x-goog-stored-content-length", &size.to_string());
    set("x-goog-stored-content-encoding", fields.content_encoding.as_deref().unwrap_or("identity"));
    set("x-goog-hash", &hashes(object));
    for (name, value) in &fields.metadata {
        set(&format!("x-goog-meta-{name}"), value);
    }
    Ok(response)
}

fn hashes(object: &Object) -> String {
    let crc32c = format!("crc32c={}", BASE64.encode(&object.crc32c.to_be_bytes()));
    match object.md5 {
        Some(md5) => format!("{crc32c},md5={}", BASE64.encode(&md5)),
        None => crc32c,
    }
}

/// Reads `bytes=A-B`, `bytes=A-` and `bytes=-N`. `None`: a form that servers ignore (RFC 9110, 14.2).
fn byte_range(header: &str, size: usize) -> Result<Option<Range<usize>>, StorageError> {
    let read = || {
        let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
        if first.is_empty() {
            let suffix: usize = last.parse().ok()?;
            return Some(size.saturating_sub(suffix)..size);
        }
        let first: usize = first.parse().ok()?;
        let end = if last.is_empty() { size } else { last.parse::<usize>().ok()?.saturating_add(1).min(size) };
        Some(first..end)
    };
    match read() {
        Some(range) if range.is_empty() => Err(StorageError::Range { size }),
        range => Ok(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_object() {
        assert_eq!(byte_range("bytes=0-0", 10), Ok(Some(0..1)));
        assert_eq!(byte_range("bytes=4-", 10), Ok(Some(4..10)));
        assert_eq!(byte_range("bytes=4-99", 10), Ok(Some(4..10)));
        assert_eq!(byte_range("bytes=-3", 10), Ok(Some(7..10)));
        assert_eq!(byte_range("bytes=-99", 10), Ok(Some(0..10)));
    }

    #[test]
    fn a_range_behind_the_end_is_refused_and_another_unit_ignored() {
        assert_eq!(byte_range("bytes=10-", 10), Err(StorageError::Range { size: 10 }));
        assert_eq!(byte_range("bytes=0-", 0), Err(StorageError::Range { size: 0 }));
        assert_eq!(byte_range("lines=1-2", 10), Ok(None));
    }
}
