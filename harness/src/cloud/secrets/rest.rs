//! Secret Manager v1 by REST: `/v1/projects/P/secrets…`.

use std::time::SystemTime;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use data_encoding::{BASE64, BASE64URL};
use serde_json::{Value, json};

use super::Secrets;
use super::state::name;
use crate::cloud::service::{ServiceCall, ServiceError, list};

type Answer = Result<Value, ServiceError>;

pub(in crate::cloud) async fn serve(secrets: Secrets, request: Request) -> Response {
    match ServiceCall::read(request).await.and_then(|call| secrets.answer(call)) {
        Ok(value) => Json(value).into_response(),
        Err(error) => error.into_response(),
    }
}

impl Secrets {
    fn answer(&self, mut call: ServiceCall) -> Answer {
        let (path, verb, now) = (call.path.clone(), call.verb.clone(), SystemTime::now());
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let etag = call.body.get("etag").cloned();
        match (call.method.as_str(), path.as_slice(), verb.as_str()) {
            ("GET", ["projects", project, "secrets"], "") => {
                refuse_filter(&mut call)?;
                let items = self.with(|state| {
                    state.names(project).iter().map(|id| state.told(project, id)).collect::<Result<_, _>>()
                })?;
                let page = call.page(items)?;
                call.parameters.finish()?;
                Ok(list("secrets", page))
            }
            ("POST", ["projects", project, "secrets"], "") => {
                let id = call.parameters.text("secretId").unwrap_or_default();
                call.parameters.finish()?;
                self.with(|state| state.create(project, &id, call.body, now))
            }
            ("GET", ["projects", project, "secrets", id], "") => self.with(|state| state.told(project, id)),
            ("PATCH", ["projects", project, "secrets", id], "") => {
                let mask = call.parameters.text("updateMask").unwrap_or_default();
                call.parameters.finish()?;
                self.with(|state| state.update(project, id, &mask, &call.body))
            }
            ("DELETE", ["projects", project, "secrets", id], "") => {
                let etag = call.parameters.text("etag");
                call.parameters.finish()?;
                self.with(|state| state.delete(project, id, etag.as_deref()))?;
                self.iam.forget_policy(&policy_name(project, id));
                Ok(json!({}))
            }
            ("POST", ["projects", project, "secrets", id], "addVersion") => {
                let payload = payload(&call)?;
                self.with(|state| state.add_version(project, id, payload, now))
            }
            (method, ["projects", project, "secrets", id], "getIamPolicy" | "setIamPolicy" | "testIamPermissions")
                if (method == "GET") == (verb == "getIamPolicy") =>
            {
                self.with(|state| state.told(project, id))?;
                self.iam.policy_call(&policy_name(project, id), &verb, &call)
            }
            ("GET", ["projects", project, "secrets", id, "versions"], "") => {
                refuse_filter(&mut call)?;
                let items = self.with(|state| state.versions(project, id))?;
                let page = call.page(items)?;
                call.parameters.finish()?;
                Ok(list("versions", page))
            }
            ("GET", ["projects", project, "secrets", id, "versions", version], "") => {
                self.with(|state| state.told_version(project, id, version))
            }
            ("GET", ["projects", project, "secrets", id, "versions", version], "access") => {
                let (number, payload) = self.with(|state| state.access(project, id, version))?;
                let crc = crc32c::crc32c(&payload).to_string();
                Ok(json!({
                    "name": format!("{}/versions/{number}", name(id)),
                    "payload": { "data": BASE64.encode(&payload), "dataCrc32c": crc },
                }))
            }
            ("POST", ["projects", project, "secrets", id, "versions", version], "enable" | "disable" | "destroy") => {
                let to = match verb.as_str() {
                    "enable" => "ENABLED",
                    "disable" => "DISABLED",
                    _ => "DESTROYED",
                };
                self.with(|state| state.turn(project, id, version, to, etag.as_ref(), now))
            }
            _ => Err(ServiceError::not_implemented(call.told())),
        }
    }
}

fn policy_name(project: &str, id: &str) -> String {
    format!("projects/{project}/secrets/{id}")
}

fn refuse_filter(call: &mut ServiceCall) -> Result<(), ServiceError> {
    match call.parameters.text("filter").filter(|filter| !filter.is_empty()) {
        Some(_) => Err(ServiceError::not_implemented("filters on lists of secrets")),
        None => Ok(()),
    }
}

/// The payload of a new version, whose checksum, if one is given, must be right.
fn payload(call: &ServiceCall) -> Result<Vec<u8>, ServiceError> {
    let payload = call.body.get("payload").cloned().unwrap_or_default();
    let text = payload["data"].as_str().unwrap_or_default().as_bytes();
    let data = BASE64.decode(text).or_else(|_| BASE64URL.decode(text));
    let data = data.map_err(|_| ServiceError::invalid("Secret payload is no base64."))?;
    let crc = &payload["dataCrc32c"];
    let crc = crc.as_u64().or_else(|| crc.as_str().and_then(|text| text.parse().ok()));
    if crc.is_some_and(|crc| crc != u64::from(crc32c::crc32c(&data))) {
        return Err(ServiceError::invalid("The checksum of the secret payload does not match."));
    }
    Ok(data)
}
