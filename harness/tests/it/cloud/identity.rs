//! Service accounts, policies, projects and secrets under the official clients, and what holds when policies do.

use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_iam_admin_v1::client::Iam;
use google_cloud_iam_admin_v1::model::ServiceAccount;
use google_cloud_resourcemanager_v3::client::Projects;
use google_cloud_secretmanager_v1::client::SecretManagerService;
use google_cloud_secretmanager_v1::model::{Replication, Secret, SecretPayload, replication::Automatic};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{BUCKET, TOPIC, World, anonymous};

const AGENT: &str = "serviceAccount:service-100000000000@gs-project-accounts.iam.gserviceaccount.com";

/// An official client.
macro_rules! client {
    ($kind:ident, $world:expr) => {
        $kind::builder()
            .with_endpoint($world.cloud.url())
            .with_credentials(anonymous())
            .with_retry_policy(NeverRetry)
            .build()
            .await
            .unwrap()
    };
}

impl World {
    /// Asks with the token of a service account, or without one.
    async fn ask_as(
        &self,
        account: Option<&str>,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.http.request(method, self.url(path));
        if let Some(account) = account {
            request = request.bearer_auth(self.cloud.iam().token(account));
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap_or_default())
    }
}

#[tokio::test]
async fn service_accounts_are_made_once_and_found_by_address() {
    let world = World::start().await;
    let iam = client!(Iam, world);
    let create = || {
        let account = ServiceAccount::new().set_display_name("Managers");
        iam.create_service_account().set_name("projects/test").set_account_id("manager").set_service_account(account)
    };

    let made = create().send().await.unwrap();
    let again = create().send().await.unwrap_err();
    let found = iam.get_service_account().set_name(&made.name).send().await.unwrap();
    let listed = iam.list_service_accounts().set_name("projects/test").send().await.unwrap();
    iam.delete_service_account().set_name(&made.name).send().await.unwrap();
    let gone = iam.get_service_account().set_name(&made.name).send().await.unwrap_err();

    assert_eq!(made.email, "manager@test.iam.gserviceaccount.com");
    assert_eq!((found.display_name.as_str(), listed.accounts.len()), ("Managers", 1));
    assert_eq!((again.http_status_code(), gone.http_status_code()), (Some(409), Some(404)));
}

#[tokio::test]
async fn of_two_who_change_a_policy_the_second_reads_again() {
    let world = World::start().await;
    let projects = client!(Projects, world);
    let read = || projects.get_iam_policy().set_resource("projects/test").send();
    let (mine, theirs) = (read().await.unwrap(), read().await.unwrap());
    let bind = |mut policy: google_cloud_iam_v1::model::Policy, role: &str| {
        let binding = google_cloud_iam_v1::model::Binding::new().set_role(role).set_members(["user:ada@example.com"]);
        policy.bindings.push(binding);
        policy
    };
    let set = |policy| projects.set_iam_policy().set_resource("projects/test").set_policy(policy).send();

    let first = set(bind(mine, "roles/viewer")).await.unwrap();
    let second = set(bind(theirs, "roles/editor")).await.unwrap_err();
    let third = set(bind(first, "roles/editor")).await.unwrap();

    assert_eq!(second.http_status_code(), Some(409));
    assert_eq!(third.bindings.len(), 2);
}

#[tokio::test]
async fn secrets_have_versions_and_only_one_creates_them() {
    let world = World::start().await;
    let secrets = client!(SecretManagerService, world);
    let create = || {
        let secret = Secret::new().set_replication(Replication::new().set_automatic(Automatic::new()));
        secrets.create_secret().set_parent("projects/test").set_secret_id("token").set_secret(secret)
    };

    let made = create().send().await.unwrap();
    let again = create().send().await.unwrap_err();
    let payload = SecretPayload::new().set_data("SWMTKN-1");
    let version = secrets.add_secret_version().set_parent(&made.name).set_payload(payload).send().await.unwrap();
    let latest = "projects/test/secrets/token/versions/latest";
    let read = secrets.access_secret_version().set_name(latest).send().await.unwrap();
    secrets.destroy_secret_version().set_name(&version.name).send().await.unwrap();
    let gone = secrets.access_secret_version().set_name(latest).send().await.unwrap_err();

    assert_eq!(again.http_status_code(), Some(409));
    assert_eq!(version.name, "projects/100000000000/secrets/token/versions/1");
    assert_eq!(read.payload.unwrap().data, "SWMTKN-1");
    assert_eq!(gone.http_status_code(), Some(400));
}

#[tokio::test]
async fn a_bucket_has_one_policy_by_both_protocols() {
    let world = World::start().await;
    let path = format!("/storage/v1/b/{BUCKET}/iam");
    let binding = json!({ "role": "roles/storage.objectViewer", "members": ["user:ada@example.com"] });

    let (_, empty) = world.ask_as(None, Method::GET, &path, None).await;
    let wanted = json!({ "etag": empty["etag"], "bindings": [binding] });
    let (set, _) = world.ask_as(None, Method::PUT, &path, Some(wanted.clone())).await;
    let (stale, _) = world.ask_as(None, Method::PUT, &path, Some(wanted)).await;
    let policy = world.control.get_iam_policy().set_resource(super::BUCKET_RESOURCE).send().await.unwrap();
    let (_, agent) = world.ask_as(None, Method::GET, "/storage/v1/projects/test/serviceAccount", None).await;

    assert_eq!((set, stale), (StatusCode::OK, StatusCode::PRECONDITION_FAILED));
    assert_eq!(policy.bindings[0].role, "roles/storage.objectViewer");
    assert_eq!(format!("serviceAccount:{}", agent["email_address"].as_str().unwrap()), AGENT);
}

#[tokio::test]
async fn notifications_need_the_service_agents_permission_when_policies_are_enforced() {
    let world = World::start().await;
    world.cloud.iam().enforce(true);
    let path = format!("/storage/v1/b/{BUCKET}/notificationConfigs");
    let config = json!({ "topic": format!("//pubsub.googleapis.com/{TOPIC}") });

    let (refused, error) = world.ask_as(None, Method::POST, &path, Some(config.clone())).await;
    let binding = json!({ "role": "roles/pubsub.publisher", "members": [AGENT] });
    let policy = json!({ "policy": { "bindings": [binding] } });
    world.ask_as(None, Method::POST, &format!("/v1/{TOPIC}:setIamPolicy"), Some(policy)).await;
    let (made, _) = world.ask_as(None, Method::POST, &path, Some(config)).await;

    assert_eq!((refused, made), (StatusCode::FORBIDDEN, StatusCode::OK));
    let told = error["error"]["message"].as_str().unwrap();
    assert!(told.contains("does not have permission to publish messages"), "{told}");
}

#[tokio::test]
async fn a_service_account_does_what_its_roles_grant_and_no_more() {
    let world = World::start().await;
    world.put("a", "1");
    let create = json!({ "accountId": "worker", "serviceAccount": {} });
    world.ask_as(None, Method::POST, "/v1/projects/test/serviceAccounts", Some(create)).await;
    let (email, object) = ("worker@test.iam.gserviceaccount.com", format!("/storage/v1/b/{BUCKET}/o/a"));
    let before = world.ask_as(Some(email), Method::GET, &object, None).await.0;

    world.cloud.iam().enforce(true);
    let without = world.ask_as(Some(email), Method::GET, &object, None).await.0;
    let members = json!([format!("serviceAccount:{email}")]);
    let policy = json!({ "bindings": [{ "role": "roles/storage.objectViewer", "members": members }] });
    world.ask_as(None, Method::PUT, &format!("/storage/v1/b/{BUCKET}/iam"), Some(policy)).await;
    let reads = world.ask_as(Some(email), Method::GET, &object, None).await.0;
    let deletes = world.ask_as(Some(email), Method::DELETE, &object, None).await.0;

    assert_eq!((before, without), (StatusCode::OK, StatusCode::FORBIDDEN));
    assert_eq!((reads, deletes), (StatusCode::OK, StatusCode::FORBIDDEN));
}

#[tokio::test]
async fn the_control_api_makes_bad_weather() {
    let world = World::start().await;
    let command = json!({ "calls": { "status": 503, "path": "/serviceAccounts", "times": 1 } });
    let path = "/v1/projects/test/serviceAccounts";

    let (taken, _) = world.ask_as(None, Method::POST, "/control/faults", Some(command)).await;
    let (first, error) = world.ask_as(None, Method::GET, path, None).await;
    let (second, _) = world.ask_as(None, Method::GET, path, None).await;
    let (unknown, _) = world.ask_as(None, Method::POST, "/control/faults", Some(json!({ "hail": 1 }))).await;

    assert_eq!((taken, first, second), (StatusCode::NO_CONTENT, StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK));
    assert_eq!(error["error"]["status"], "UNAVAILABLE");
    assert_eq!(unknown, StatusCode::BAD_REQUEST);
}
