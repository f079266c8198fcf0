//! The REST API of Compute Engine v1: which method and path means what.
//!
//! <https://cloud.google.com/compute/docs/reference/rest/v1>. What is missing answers 501 and says so.

use axum::extract::{Request, State as AxumState};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::collections::Collection;
use super::error::ComputeError;
use super::path::scope_link;
use super::query::ListQuery;
use super::state::{Change, State};
use super::{Compute, Path, RequestKey, Scope, catalog, fingerprint};
use crate::cloud::parameters::{ParameterError, Parameters, path_parts};

/// Above Google's bound on a request.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

type Answer = Result<Value, ComputeError>;

/// Routes below `/compute/v1/`.
pub(in crate::cloud) fn router(compute: Compute) -> Router {
    Router::new().route("/compute/v1/projects/{*path}", any(serve)).with_state(compute)
}

async fn serve(AxumState(compute): AxumState<Compute>, request: Request) -> Response {
    match answer(compute, request).await {
        Ok(value) => Json(value).into_response(),
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, Json(error.body())).into_response()
        }
    }
}

async fn answer(compute: Compute, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let mut parameters = Parameters::parse(parts.uri.query());
    let too_large = |_| ComputeError::Precondition { message: format!("The body has over {BODY_BYTES_MAX} bytes.") };
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(too_large)?;
    let path = path_parts(parts.uri.path().trim_start_matches("/compute/v1/projects/"));
    let request_id = parameters.text("requestId");
    let key = request_id.map(|id| {
        let content = format!("{} {} {}", parts.method, parts.uri.path(), String::from_utf8_lossy(&body));
        check_request_id(&id).map(|()| RequestKey { id, content })
    });
    let body = if body.is_empty() {
        Map::new()
    } else {
        serde_json::from_slice(&body).map_err(|error| ComputeError::Precondition {
            message: format!("Invalid JSON payload received. {error}"),
        })?
    };
    let text = format!("{} {}", parts.method, parts.uri.path());
    let call = Call { compute, parameters, body, key: key.transpose()? };
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    call.dispatch(&parts.method, &path).await.unwrap_or_else(|| Err(ComputeError::not_implemented(text)))
}

fn check_request_id(id: &str) -> Result<(), ComputeError> {
    if uuid::Uuid::try_parse(id).is_ok_and(|uuid| !uuid.is_nil()) {
        return Ok(());
    }
    let rule = "The request id must be a valid UUID, and not the zero one.".to_owned();
    Err(ComputeError::Invalid { field: "requestId".into(), value: id.to_owned(), rule })
}

/// A request with everything that a call looks at.
struct Call {
    compute: Compute,
    parameters: Parameters,
    body: Map<String, Value>,
    key: Option<RequestKey>,
}

impl Call {
    /// `None`: no such call.
    async fn dispatch(self, method: &Method, path: &[&str]) -> Option<Answer> {
        let (project, rest) = path.split_first()?;
        let (scope, rest) = match rest {
            [] if method == Method::GET => return Some(self.project(project)),
            ["setCommonInstanceMetadata"] if method == Method::POST => {
                let body = self.body.clone();
                return Some(self.change(project, |state| state.set_project_metadata(project, &body)));
            }
            ["aggregated", collection] if method == Method::GET => return Some(self.aggregated(project, collection)),
            [collection @ ("regions" | "zones")] => (Scope::Global, vec![*collection]),
            [collection @ ("regions" | "zones"), name] => (Scope::Global, vec![*collection, *name]),
            ["global", rest @ ..] => (Scope::Global, rest.to_vec()),
            ["regions", region, rest @ ..] => (Scope::Region((*region).to_owned()), rest.to_vec()),
            ["zones", zone, rest @ ..] => (Scope::Zone((*zone).to_owned()), rest.to_vec()),
            _ => return None,
        };
        if !catalog::has_scope(&scope) {
            let resource = format!("projects/{project}/{}", scope.text());
            return Some(Err(ComputeError::NotFound { resource }));
        }
        match (method.as_str(), rest.as_slice()) {
            ("GET", ["images", "family", family]) => {
                let path = Path::new(project, &scope, "images", &format!("family/{family}"));
                Some(self.get_from_catalog(&path))
            }
            (_, ["operations", rest @ ..]) => self.operations(method, project, &scope, rest).await,
            (_, [collection, rest @ ..]) => match Collection::find(collection) {
                Some(found) => self.resources(method, project, &scope, found, rest).await,
                None => self.catalogue(method, project, &scope, collection, rest),
            },
            _ => None,
        }
    }

    async fn resources(
        mut self,
        method: &Method,
        project: &str,
        scope: &Scope,
        collection: &'static Collection,
        rest: &[&str],
    ) -> Option<Answer> {
        let path = |name: &str| Path::new(project, scope, collection.plural, name);
        Some(match (method.as_str(), rest) {
            ("GET", []) => self.list(project, scope, collection.plural),
            ("POST", []) => {
                let body = self.body.clone();
                self.change(project, |state| state.insert(project, scope, collection, body))
            }
            ("GET", [name]) => self.get(&path(name)),
            ("DELETE", [name]) => self.change(project, |state| state.delete(&path(name))),
            ("PATCH" | "PUT", [name]) => {
                let (body, put) = (self.body.clone(), method == Method::PUT);
                self.parameters.text("updateMask");
                self.change(project, |state| state.patch(&path(name), body, put))
            }
            ("GET", [name, "guestAttributes"]) if collection.plural == "instances" => {
                self.guest_attributes(&path(name))
            }
            ("GET", [name, "serialPort"]) if collection.plural == "instances" => self.serial_port(&path(name)).await,
            ("POST", [name, "setDeletionProtection"]) if collection.plural == "instances" => {
                let on = self.parameters.text("deletionProtection").is_none_or(|on| on == "true");
                self.change(project, |state| state.set_deletion_protection(&path(name), on))
            }
            ("POST", [name, "setDiskAutoDelete"]) if collection.plural == "instances" => {
                let on = self.parameters.flag("autoDelete").unwrap_or(false);
                let device = self.parameters.text("deviceName").unwrap_or_default();
                self.change(project, |state| state.set_disk_auto_delete(&path(name), &device, on))
            }
            ("POST", [name, verb]) => {
                let body = self.body.clone();
                let known = self.compute.look(|state| state.verb(&path(name), verb, &body).is_some());
                if !known {
                    return None;
                }
                self.change(project, |state| {
                    let checked = state.verb(&path(name), verb, &body);
                    checked.unwrap_or_else(|| Err(ComputeError::missing(&path(name))))
                })
            }
            _ => return None,
        })
    }

    fn catalogue(
        mut self,
        method: &Method,
        project: &str,
        scope: &Scope,
        collection: &str,
        rest: &[&str],
    ) -> Option<Answer> {
        let items = catalog::list(project, scope, collection)?;
        match (method.as_str(), rest) {
            ("GET", []) => {
                let kind = format!("compute#{}List", collection.trim_end_matches('s'));
                Some(self.tell_list(&kind, project, scope, collection, items))
            }
            ("GET", [name]) => Some(self.get_from_catalog(&Path::new(project, scope, collection, name))),
            _ => None,
        }
    }

    fn get_from_catalog(self, path: &Path) -> Answer {
        self.parameters.finish()?;
        let mut found = catalog::get(path).ok_or_else(|| ComputeError::NotFound {
            resource: if path.collection == "regions" || path.collection == "zones" {
                format!("projects/{}/{}/{}", path.project, path.collection, path.name)
            } else {
                path.to_string()
            },
        })?;
        if path.collection == "regions" {
            let scope = Scope::Region(path.name.clone());
            found["quotas"] = self.compute.look(|state| state.told_quotas(&path.project, &scope));
        }
        Ok(found)
    }

    async fn operations(mut self, method: &Method, project: &str, scope: &Scope, rest: &[&str]) -> Option<Answer> {
        let path = |name: &str| Path::new(project, scope, "operations", name);
        Some(match (method.as_str(), rest) {
            ("GET", []) => {
                let items = self.compute.look(|state| {
                    let mine = state.operations.values();
                    let mine = mine.filter(|found| found.path.project == project && found.path.scope == *scope);
                    mine.map(super::Operation::told).collect()
                });
                self.tell_list("compute#operationList", project, scope, "operations", items)
            }
            ("GET", [name]) => {
                let found = self.compute.look(|state| state.operations.get(&path(name)).map(super::Operation::told));
                found.ok_or_else(|| ComputeError::missing(&path(name)))
            }
            ("POST", [name, "wait"]) => self.compute.wait(&path(name)).await.map(|operation| operation.told()),
            ("DELETE", [name]) => self.compute.step(|state, _| {
                let done =
                    state.operations.get(&path(name)).ok_or_else(|| ComputeError::missing(&path(name)))?.is_done();
                if !done {
                    return Err(ComputeError::NotReady { resource: path(name).to_string() });
                }
                state.operations.remove(&path(name));
                Ok(json!({}))
            }),
            _ => return None,
        })
    }

    fn get(self, path: &Path) -> Answer {
        self.parameters.finish()?;
        self.compute.look(|state| state.get(path).map(|resource| state.told(resource)))
    }

    fn list(mut self, project: &str, scope: &Scope, collection: &str) -> Answer {
        let items = self
            .compute
            .look(|state| state.list(project, Some(scope), collection).map(|resource| state.told(resource)).collect());
        let kind = Collection::find(collection).map_or("", |collection| collection.singular);
        self.tell_list(&format!("compute#{kind}List"), project, scope, collection, items)
    }

    fn tell_list(&mut self, kind: &str, project: &str, scope: &Scope, collection: &str, items: Vec<Value>) -> Answer {
        let (items, next) = self.page(items)?;
        let link = match scope {
            Scope::Global => format!("{}/global/{collection}", scope_link(project, scope)),
            other => format!("{}/{collection}", scope_link(project, other)),
        };
        let mut list =
            json!({ "kind": kind, "id": link.split_once("/v1/").map_or("", |(_, id)| id), "selfLink": link });
        if !items.is_empty() {
            list["items"] = items.into();
        }
        if let Some(next) = next {
            list["nextPageToken"] = next.into();
        }
        Ok(list)
    }

    fn page(&mut self, items: Vec<Value>) -> Result<(Vec<Value>, Option<String>), ComputeError> {
        let query = ListQuery::read(&mut self.parameters)?;
        for known in ["returnPartialSuccess", "includeAllScopes", "serviceProjectNumber"] {
            self.parameters.text(known);
        }
        std::mem::take(&mut self.parameters).finish()?;
        Ok(query.page(items))
    }

    /// Lists over all scopes, with the items of each under its name.
    fn aggregated(mut self, project: &str, collection: &str) -> Answer {
        let zonal = ["machineTypes", "diskTypes"].contains(&collection);
        let known = Collection::find(collection).is_some() || zonal || collection == "operations";
        if !known {
            return Err(ComputeError::not_implemented(format!("the aggregated list of {collection}")));
        }
        let items = self.compute.look(|state| aggregate(state, project, collection));
        let (items, next) = self.page(items)?;
        let mut scopes = Map::new();
        for item in items {
            let home = item["zone"].as_str().or(item["region"].as_str()).map_or("global", scope_of);
            let entry = scopes.entry(home).or_insert_with(|| json!({ collection: [] }));
            if let Some(list) = entry[collection].as_array_mut() {
                list.push(item);
            }
        }
        let singular = Collection::find(collection).map_or(collection.trim_end_matches('s'), |found| found.singular);
        let mut list = json!({
            "kind": format!("compute#{singular}AggregatedList"),
            "id": format!("projects/{project}/aggregated/{collection}"),
            "items": scopes,
            "selfLink": format!("{}/aggregated/{collection}", scope_link(project, &Scope::Global)),
        });
        if let Some(next) = next {
            list["nextPageToken"] = next.into();
        }
        Ok(list)
    }

    fn guest_attributes(mut self, path: &Path) -> Answer {
        let query_path = self.parameters.text("queryPath").unwrap_or_default();
        let variable = self.parameters.text("variableKey");
        self.parameters.finish()?;
        let told = self
            .compute
            .look(|state| state.get(path).map(|_| state.guest.told(path, &query_path, variable.as_deref())))?;
        let asked = variable.unwrap_or(query_path);
        told.ok_or_else(|| ComputeError::NotFound { resource: format!("{path}/guestAttributes/{asked}") })
    }

    async fn serial_port(mut self, path: &Path) -> Answer {
        let start: usize = self.parameters.value("start")?.unwrap_or(0);
        if self.parameters.value::<u8>("port")?.is_some_and(|port| port != 1) {
            return Err(ComputeError::not_implemented("serial ports other than 1"));
        }
        self.parameters.finish()?;
        self.compute.look(|state| state.get(path).map(|_| ()))?;
        let output = self.compute.shared.machines.serial(&path.to_string()).await;
        let output = output.map_err(|message| ComputeError::Precondition { message })?;
        let contents = output.get(start..).unwrap_or_default();
        Ok(json!({
            "kind": "compute#serialPortOutput", "contents": contents, "start": start.to_string(),
            "next": output.len().to_string(), "selfLink": format!("{}/serialPort", path.link()),
        }))
    }

    fn project(self, project: &str) -> Answer {
        self.parameters.finish()?;
        self.compute.look(|state| {
            let mut metadata = state.metadata.get(project).cloned().unwrap_or_else(|| json!({}));
            metadata["fingerprint"] = fingerprint::of(&state.metadata.get(project).cloned().unwrap_or(json!({}))).into();
            metadata["kind"] = "compute#metadata".into();
            Ok(json!({
                "kind": "compute#project", "id": crate::cloud::PROJECT_NUMBER, "name": project,
                "commonInstanceMetadata": metadata, "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
                "defaultServiceAccount": format!("{}-compute@developer.gserviceaccount.com", crate::cloud::PROJECT_NUMBER),
                "quotas": state.told_quotas(project, &Scope::Global), "selfLink": scope_link(project, &Scope::Global),
            }))
        })
    }

    fn change(self, project: &str, check: impl FnOnce(&State) -> Result<Change, ComputeError>) -> Answer {
        self.parameters.finish()?;
        self.compute.begin(project, self.key, check).map(|operation| operation.told())
    }
}

/// Everything of one collection in a project, whatever the scope.
fn aggregate(state: &State, project: &str, collection: &str) -> Vec<Value> {
    if collection == "operations" {
        let mine = state.operations.values().filter(|operation| operation.path.project == project);
        return mine.map(super::Operation::told).collect();
    }
    if Collection::find(collection).is_some() {
        return state.list(project, None, collection).map(|resource| state.told(resource)).collect();
    }
    let zones = catalog::list(project, &Scope::Global, "zones").unwrap_or_default();
    let zones = zones.iter().filter_map(|zone| zone["name"].as_str()).map(|zone| Scope::Zone(zone.to_owned()));
    zones
        .flat_map(|zone| {
            let link = scope_link(project, &zone);
            let items = catalog::list(project, &zone, collection).unwrap_or_default();
            items.into_iter().map(move |mut item| {
                item["zone"] = link.clone().into();
                item
            })
        })
        .collect()
}

/// `…/projects/P/zones/Z` → `zones/Z`.
fn scope_of(link: &str) -> &str {
    link.match_indices('/').rev().nth(1).map_or(link, |(at, _)| &link[at + 1..])
}

impl From<ParameterError> for ComputeError {
    fn from(error: ParameterError) -> Self {
        match error {
            ParameterError::Value { name, value } => {
                Self::Invalid { field: name, value, rule: "The value can't be read.".into() }
            }
            unknown => Self::Precondition { message: unknown.to_string() },
        }
    }
}
