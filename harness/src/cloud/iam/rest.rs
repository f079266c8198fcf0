//! IAM's service accounts, Resource Manager's projects (v1 and v3) and what `gcloud` asks Service Usage, by REST.

use std::time::SystemTime;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::Iam;
use super::policies::PolicyError;
use crate::cloud::PROJECT_NUMBER;
use crate::cloud::service::{ServiceCall, ServiceError, list};

type Answer = Result<Value, ServiceError>;

/// Answers `/v1/projects/P/serviceAccounts…`.
pub(in crate::cloud) async fn accounts(iam: Iam, request: Request) -> Response {
    respond(request, |call| iam.accounts_call(call)).await
}

/// Answers `/v1/projects…` and `/v3/projects…`.
pub(in crate::cloud) async fn projects(iam: Iam, request: Request) -> Response {
    let version = if request.uri().path().starts_with("/v3") { 3 } else { 1 };
    respond(request, |call| iam.projects_call(call, version)).await
}

/// Answers `/v1/projects/P/services…`: every service is on.
pub(in crate::cloud) async fn services(request: Request) -> Response {
    respond(request, services_call).await
}

async fn respond(request: Request, answer: impl FnOnce(ServiceCall) -> Answer) -> Response {
    match ServiceCall::read(request).await.and_then(answer) {
        Ok(value) => Json(value).into_response(),
        Err(error) => error.into_response(),
    }
}

impl Iam {
    fn accounts_call(&self, mut call: ServiceCall) -> Answer {
        let (method, verb) = (call.method.clone(), std::mem::take(&mut call.verb));
        let path = call.path.clone();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match (method.as_str(), path.as_slice(), verb.as_str()) {
            ("GET", ["projects", project, "serviceAccounts"], "") => {
                let items =
                    self.with(|shared| shared.accounts.list(project).map(super::accounts::Account::told).collect());
                let page = call.page(items)?;
                call.parameters.finish()?;
                Ok(list("accounts", page))
            }
            ("POST", ["projects", project, "serviceAccounts"], "") => {
                call.parameters.finish()?;
                let id = call.body.get("accountId").and_then(Value::as_str).unwrap_or_default();
                let fields = call.body.get("serviceAccount").cloned().unwrap_or_default();
                self.with(|shared| Ok(shared.accounts.create(project, id, &fields, SystemTime::now())?.told()))
            }
            (_, ["projects", project, "serviceAccounts", key], verb) => {
                self.account_call(&call, method.as_str(), project, key, verb)
            }
            _ => Err(ServiceError::not_implemented(call.told())),
        }
    }

    fn account_call(&self, call: &ServiceCall, method: &str, project: &str, key: &str, verb: &str) -> Answer {
        let name = self.with(|shared| shared.accounts.get(project, key).map(super::accounts::Account::name))?;
        let update =
            |fields: &Map<String, Value>| self.with(|shared| Ok(shared.accounts.update(project, key, fields)?.told()));
        match (method, verb) {
            ("GET", "") => self.with(|shared| Ok(shared.accounts.get(project, key)?.told())),
            ("PATCH", "") => {
                let mask = call.body.get("updateMask").and_then(Value::as_str).unwrap_or_default().to_owned();
                let given = call.body.get("serviceAccount").and_then(Value::as_object).cloned().unwrap_or_default();
                let camel = mask.replace("display_name", "displayName");
                update(&given.into_iter().filter(|(field, _)| camel.split(',').any(|path| path == field)).collect())
            }
            ("DELETE", "") => {
                self.with(|shared| shared.accounts.delete(project, key))?;
                self.forget_policy(&name);
                Ok(json!({}))
            }
            ("POST", "disable" | "enable") => {
                update(&Map::from_iter([("disabled".to_owned(), (verb == "disable").into())]))?;
                Ok(json!({}))
            }
            ("POST", _) => self.policy_call(&name, verb, call),
            _ => Err(ServiceError::not_implemented(format!("{method} {name}:{verb}"))),
        }
    }

    /// `getIamPolicy`, `setIamPolicy` and `testIamPermissions` of a resource that is there.
    pub(in crate::cloud) fn policy_call(&self, resource: &str, verb: &str, call: &ServiceCall) -> Answer {
        match verb {
            "getIamPolicy" => Ok(self.policy(resource)),
            "setIamPolicy" => {
                let policy = call.body.get("policy").ok_or_else(|| ServiceError::invalid("The policy is missing."))?;
                self.set_policy(resource, policy).map_err(ServiceError::from)
            }
            // Who asks is the operator, who may do everything.
            "testIamPermissions" => Ok(json!({ "permissions": call.body.get("permissions") })),
            _ => Err(ServiceError::not_implemented(format!("{resource}:{verb}"))),
        }
    }

    /// Every project that somebody names is there.
    fn projects_call(&self, mut call: ServiceCall, version: u8) -> Answer {
        let path = call.path.clone();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match (call.method.as_str(), path.as_slice(), call.verb.clone().as_str()) {
            ("GET", ["projects", project], "") => {
                call.parameters.finish()?;
                Ok(project_resource(project, version))
            }
            ("GET", ["projects"], "" | "search") => {
                for known in ["filter", "query", "pageSize", "pageToken", "parent"] {
                    call.parameters.text(known);
                }
                call.parameters.finish()?;
                Ok(json!({}))
            }
            ("POST", ["projects", project], verb @ ("getIamPolicy" | "setIamPolicy" | "testIamPermissions")) => {
                self.policy_call(&format!("projects/{project}"), verb, &call)
            }
            _ => Err(ServiceError::not_implemented(call.told())),
        }
    }
}

fn project_resource(project: &str, version: u8) -> Value {
    // The number names the project as well as its id.
    if version == 1 {
        return json!({
            "projectId": project, "projectNumber": PROJECT_NUMBER, "name": project, "lifecycleState": "ACTIVE",
            "createTime": "2026-01-15T00:00:00.000Z",
        });
    }
    json!({
        "name": format!("projects/{PROJECT_NUMBER}"), "projectId": project, "displayName": project, "state": "ACTIVE",
        "createTime": "2026-01-15T00:00:00.000Z", "etag": "W/\"local\"",
    })
}

fn services_call(mut call: ServiceCall) -> Answer {
    let path = call.path.clone();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let service = |project: &str, name: &str| {
        let name_full = format!("projects/{PROJECT_NUMBER}/services/{name}");
        json!({ "name": name_full, "parent": format!("projects/{project}"), "config": { "name": name }, "state": "ENABLED" })
    };
    match (call.method.as_str(), path.as_slice(), call.verb.clone().as_str()) {
        ("GET", ["projects", project, "services", name], "") => Ok(service(project, name)),
        ("GET", ["projects", project, "services"], "") => {
            call.parameters.text("filter");
            let names = ["compute", "iam", "pubsub", "cloudresourcemanager", "secretmanager", "storage"];
            let items = names.iter().map(|name| service(project, &format!("{name}.googleapis.com"))).collect();
            Ok(list("services", call.page(items)?))
        }
        ("POST", ["projects", _, "services", _], "enable") | ("POST", ["projects", _, "services"], "batchEnable") => {
            Ok(json!({ "name": "operations/noop.DONE_OPERATION", "done": true, "response": {} }))
        }
        _ => Err(ServiceError::not_implemented(call.told())),
    }
}

impl From<PolicyError> for ServiceError {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Stale => Self::aborted(),
            PolicyError::Invalid(message) => Self::invalid(message),
        }
    }
}
