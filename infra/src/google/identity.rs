//! Service accounts and secrets.

use serde_json::{Value, json};

use super::{Answer, GoogleCloud, Method, spec};
use crate::cloud::Live;
use crate::resource::ServiceAccount;

impl GoogleCloud {
    /// How the rest of Google knows an account of this project.
    pub(super) fn email(&self, name: &str) -> String {
        format!("{name}@{}.iam.gserviceaccount.com", self.project)
    }

    fn accounts_url(&self) -> String {
        format!("{}/v1/projects/{}/serviceAccounts", self.rest.bases.iam, self.project)
    }

    pub(super) fn account_url(&self, name: &str) -> String {
        format!("{}/{}", self.accounts_url(), self.email(name))
    }

    pub(super) async fn read_account(&self, name: &str) -> Answer<Option<Live>> {
        let Some(found) = self.rest.get(&self.account_url(name)).await? else { return Ok(None) };
        let display_name = found["displayName"].as_str().unwrap_or_default();
        let spec = spec(json!({ "kind": "service_account", "display_name": display_name }))?;
        Ok(Some(self.live(&found, spec)))
    }

    pub(super) async fn create_account(&self, name: &str, account: &ServiceAccount) -> Answer<()> {
        let account = json!({ "displayName": account.display_name, "description": self.mark() });
        let body = json!({ "accountId": name, "serviceAccount": account });
        self.rest.call(Method::POST, &self.accounts_url(), body).await.map(drop)
    }

    pub(super) async fn update_account(&self, name: &str, account: &ServiceAccount) -> Answer<()> {
        let body = json!({ "serviceAccount": { "displayName": account.display_name }, "updateMask": "displayName" });
        self.rest.call(Method::PATCH, &self.account_url(name), body).await.map(drop)
    }

    fn secrets_url(&self) -> String {
        format!("{}/v1/projects/{}/secrets", self.rest.bases.secret_manager, self.project)
    }

    pub(super) fn secret_url(&self, name: &str) -> String {
        format!("{}/{name}", self.secrets_url())
    }

    pub(super) async fn read_secret(&self, name: &str) -> Answer<Option<Live>> {
        let Some(found) = self.rest.get(&self.secret_url(name)).await? else { return Ok(None) };
        Ok(Some(self.live(&found, spec(json!({ "kind": "secret" }))?)))
    }

    pub(super) async fn create_secret(&self, name: &str) -> Answer<()> {
        let url = format!("{}?secretId={name}", self.secrets_url());
        let body = json!({ "replication": { "automatic": {} }, "labels": self.labels() });
        self.rest.call(Method::POST, &url, body).await.map(drop)
    }

    /// Google's own accounts that act for this project.
    pub(super) async fn storage_agent(&self) -> Answer<String> {
        let url = format!("{}/storage/v1/projects/{}/serviceAccount", self.rest.bases.storage, self.project);
        let found = self.rest.call(Method::GET, &url, Value::Null).await?;
        Ok(found["email_address"].as_str().unwrap_or_default().to_owned())
    }

    pub(super) async fn pubsub_agent(&self) -> Answer<String> {
        let url = format!("{}/v3/projects/{}", self.rest.bases.resource_manager, self.project);
        let found = self.rest.call(Method::GET, &url, Value::Null).await?;
        Ok(format!("service-{}@gcp-sa-pubsub.iam.gserviceaccount.com", super::last(&found["name"])))
    }
}
