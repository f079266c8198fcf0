//! Which permission a request needs, and on what: read from method, path and gRPC's routing header.
//!
//! It covers what machines of a stack do and what an engine does in their name; a call that is not here is refused to
//! service accounts when policies are enforced, never waved through.

use http::HeaderMap;

use crate::cloud::parameters::{Parameters, path_parts};

/// A permission and where it may come from: the resource itself first, then what it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cloud) struct Need {
    pub(in crate::cloud) permission: String,
    /// Full names.
    pub(in crate::cloud) resources: Vec<String>,
}

/// What a request needs; `None`: not known. `project_of` tells the project of a bucket.
pub(in crate::cloud) fn need_of(
    method: &str,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    project_of: impl Fn(&str) -> Option<String>,
) -> Option<Need> {
    let parts = path_parts(path.trim_start_matches('/'));
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let bucket = |permission: &str, bucket: &str| {
        let project = project_of(bucket).map(|project| format!("projects/{project}"));
        let resources = std::iter::once(format!("projects/_/buckets/{bucket}")).chain(project).collect();
        Some(Need { permission: format!("storage.{permission}"), resources })
    };
    match parts.as_slice() {
        [service, rpc] if service.starts_with("google.") => grpc(service, rpc, headers, bucket),
        ["upload" | "resumable", .., "b", name, "o"] => bucket("objects.create", name),
        ["download", "storage", "v1", "b", name, "o", ..] => bucket("objects.get", name),
        ["storage", "v1", "b"] => {
            let project = Parameters::parse(query).text("project").unwrap_or_default();
            let verb = if method == "POST" { "create" } else { "list" };
            Some(Need { permission: format!("storage.buckets.{verb}"), resources: vec![format!("projects/{project}")] })
        }
        ["storage", "v1", "b", name, rest @ ..] => bucket(storage(method, rest)?, name),
        ["compute", "v1", "projects", project, rest @ ..] => compute(method, project, rest),
        ["v1" | "v3", "projects", project] => {
            let (project, verb) = project.split_once(':').unwrap_or((project, "get"));
            let permission = format!("resourcemanager.projects.{verb}");
            Some(Need { permission, resources: vec![format!("projects/{project}")] })
        }
        ["v1", "projects", project, collection, rest @ ..] => json_service(method, project, collection, rest),
        _ => None,
    }
}

fn storage(method: &str, rest: &[&str]) -> Option<&'static str> {
    Some(match (method, rest) {
        ("GET", []) => "buckets.get",
        ("PATCH" | "PUT", []) => "buckets.update",
        ("DELETE", []) => "buckets.delete",
        ("GET", ["storageLayout" | "managedFolders" | "notificationConfigs", ..]) => "buckets.get",
        (_, ["notificationConfigs", ..]) => "buckets.update",
        ("GET", ["iam"]) => "buckets.getIamPolicy",
        ("PUT", ["iam"]) => "buckets.setIamPolicy",
        ("GET", ["o"]) => "objects.list",
        ("GET", ["o", _]) => "objects.get",
        ("PATCH", ["o", _]) => "objects.update",
        ("DELETE", ["o", _]) => "objects.delete",
        ("POST", ["o", ..]) => "objects.create",
        _ => return None,
    })
}

fn compute(method: &str, project: &str, rest: &[&str]) -> Option<Need> {
    let (collection, rest) = match rest {
        [] => ("projects", &[][..]),
        ["aggregated", collection] => (*collection, &[][..]),
        ["global", collection, rest @ ..] | ["regions" | "zones", _, collection, rest @ ..] => (*collection, rest),
        [collection, rest @ ..] => (*collection, rest),
    };
    let verb = match (method, rest) {
        ("GET", []) => "list",
        ("POST", []) => "create",
        ("GET", [_]) => "get",
        ("DELETE", [_]) => "delete",
        ("PATCH" | "PUT", [_]) => "update",
        ("GET", [_, "guestAttributes"]) => "getGuestAttributes",
        ("GET", [_, "serialPort"]) => "getSerialPortOutput",
        ("POST", [_, verb]) => verb,
        _ => return None,
    };
    Some(Need { permission: format!("compute.{collection}.{verb}"), resources: vec![format!("projects/{project}")] })
}

/// Pub/Sub, Secret Manager and IAM by REST.
fn json_service(method: &str, project: &str, collection: &str, rest: &[&str]) -> Option<Need> {
    let last = rest.last().copied().unwrap_or_default();
    let (last, verb) = last.rsplit_once(':').unwrap_or((last, ""));
    let service = match collection {
        "topics" | "subscriptions" => "pubsub",
        "secrets" => "secretmanager",
        "serviceAccounts" => "iam",
        _ => return None,
    };
    let (kind, depth) = match rest {
        [_, "versions", ..] => ("versions", rest.len() - 2),
        _ => (collection, rest.len()),
    };
    let verb = match (method, depth, verb) {
        (_, _, "publish") => "publish",
        (_, _, "pull" | "acknowledge" | "modifyAckDeadline") => "consume",
        (_, _, "addVersion") => {
            return Some(named("secretmanager.versions.add", project, collection, &[rest[0].split(':').next()?]));
        }
        (_, _, verb) if !verb.is_empty() => verb,
        ("GET", 0, _) => "list",
        ("GET", ..) => "get",
        ("POST" | "PUT", ..) => "create",
        ("PATCH", ..) => "update",
        ("DELETE", ..) => "delete",
        _ => return None,
    };
    let mut name: Vec<&str> = rest[..rest.len().saturating_sub(1)].to_vec();
    name.push(last);
    // Policies are on secrets, not on their versions.
    name.truncate(1);
    Some(named(&format!("{service}.{kind}.{verb}"), project, collection, &name))
}

fn named(permission: &str, project: &str, collection: &str, rest: &[&str]) -> Need {
    let project = format!("projects/{project}");
    let own = format!("{project}/{collection}/{}", rest.join("/"));
    Need { permission: permission.to_owned(), resources: vec![own, project] }
}

/// gRPC names the resource in a header, as `subscription=projects%2Fp%2Fsubscriptions%2Fs`.
fn grpc(service: &str, rpc: &str, headers: &HeaderMap, bucket: impl Fn(&str, &str) -> Option<Need>) -> Option<Need> {
    let routing = headers.get("x-goog-request-params").and_then(|routing| routing.to_str().ok()).unwrap_or_default();
    let mut routing = Parameters::parse(Some(routing));
    let mut resource = |names: &[&str]| names.iter().find_map(|name| routing.text(name));
    let permission = match (service.rsplit('.').next()?, rpc) {
        ("Publisher", "Publish") => "topics.publish",
        ("Publisher", "GetTopic") => "topics.get",
        ("Subscriber", "StreamingPull" | "Pull" | "Acknowledge" | "ModifyAckDeadline") => "subscriptions.consume",
        ("Subscriber", "GetSubscription") => "subscriptions.get",
        ("Storage", rpc) => {
            let name = resource(&["bucket", "name", "parent", "resource"])?;
            let name = name.strip_prefix("projects/_/buckets/")?.split('/').next()?.to_owned();
            let permission = match rpc {
                "GetObject" | "ReadObject" => "objects.get",
                "ListObjects" => "objects.list",
                "DeleteObject" => "objects.delete",
                "UpdateObject" => "objects.update",
                "ComposeObject" | "RewriteObject" | "MoveObject" => "objects.create",
                "GetBucket" => "buckets.get",
                _ => return None,
            };
            return bucket(permission, &name);
        }
        _ => return None,
    };
    let own = resource(&["topic", "subscription"])?;
    let project: String = own.split('/').take(2).collect::<Vec<_>>().join("/");
    Some(Need { permission: format!("pubsub.{permission}"), resources: vec![own, project] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(method: &str, path: &str) -> String {
        match need_of(method, path, None, &HeaderMap::new(), |_| Some("p".to_owned())) {
            Some(need) => format!("{} on {}", need.permission, need.resources.join(", ")),
            None => "unknown".to_owned(),
        }
    }

    #[test]
    fn calls_of_a_machine_need_what_google_asks_for() {
        let told = [
            need("GET", "/storage/v1/b/scripts/o/a%2Fb"),
            need("POST", "/upload/storage/v1/b/scripts/o"),
            need("GET", "/v1/projects/p/secrets/token/versions/latest:access"),
            need("POST", "/v1/projects/p/secrets/token:addVersion"),
            need("POST", "/v1/projects/p/subscriptions/s:pull"),
            need("GET", "/compute/v1/projects/p/zones/z/instances/i"),
            need("POST", "/v3/projects/p:setIamPolicy"),
            need("POST", "/v1/projects/p/unheard"),
        ];
        insta::assert_snapshot!(told.join("\n"), @r"
        storage.objects.get on projects/_/buckets/scripts, projects/p
        storage.objects.create on projects/_/buckets/scripts, projects/p
        secretmanager.versions.access on projects/p/secrets/token, projects/p
        secretmanager.versions.add on projects/p/secrets/token, projects/p
        pubsub.subscriptions.consume on projects/p/subscriptions/s, projects/p
        compute.instances.get on projects/p
        resourcemanager.projects.setIamPolicy on projects/p
        unknown
        ");
    }

    #[test]
    fn grpc_is_read_from_its_routing_header() {
        let routing = "subscription=projects%2Fp%2Fsubscriptions%2Fs".parse().unwrap();
        let headers = HeaderMap::from_iter([("x-goog-request-params".parse().unwrap(), routing)]);

        let need = need_of("POST", "/google.pubsub.v1.Subscriber/StreamingPull", None, &headers, |_| None).unwrap();

        assert_eq!(need.permission, "pubsub.subscriptions.consume");
        assert_eq!(need.resources, ["projects/p/subscriptions/s", "projects/p"]);
    }
}
