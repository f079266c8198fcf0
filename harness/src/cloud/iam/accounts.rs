//! Service accounts of all projects.

use std::collections::BTreeMap;
use std::time::SystemTime;

use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use crate::cloud::service::ServiceError;

/// Google's bound for a project.
const ACCOUNTS_MAX: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Accounts {
    by_email: BTreeMap<String, Account>,
    id_last: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Account {
    project: String,
    email: String,
    unique_id: String,
    display_name: String,
    description: String,
    disabled: bool,
    revision: u64,
}

impl Accounts {
    pub(super) fn create(
        &mut self,
        project: &str,
        id: &str,
        fields: &Value,
        now: SystemTime,
    ) -> Result<&Account, ServiceError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_id = (6..=30).contains(&id.len())
            && id.starts_with(|c: char| c.is_ascii_lowercase())
            && !id.ends_with('-')
            && id.chars().all(allowed);
        if !is_id {
            let rule = "Invalid service account ID: it must have 6 to 30 characters of a-z, 0-9 and `-`, first a letter, last no `-`";
            return Err(ServiceError::invalid(format!("{rule}: {id}")));
        }
        let email = format!("{id}@{project}.iam.gserviceaccount.com");
        if self.by_email.contains_key(&email) {
            let message = format!("Service account {id} already exists within project projects/{project}.");
            return Err(ServiceError::new(409, message));
        }
        if self.list(project).count() >= ACCOUNTS_MAX {
            return Err(ServiceError::new(
                429,
                "The maximum number of service accounts on the project has been reached.",
            ));
        }
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.id_last = u64::try_from(since_1970.as_micros()).unwrap_or(0).max(self.id_last + 1);
        let text = |field: &str| fields[field].as_str().unwrap_or_default().to_owned();
        let account = Account {
            project: project.to_owned(),
            email: email.clone(),
            unique_id: format!("1{:020}", self.id_last),
            display_name: text("displayName"),
            description: text("description"),
            disabled: false,
            revision: 1,
        };
        Ok(self.by_email.entry(email).or_insert(account))
    }

    /// Finds by email or unique id; the project may be `-`.
    pub(super) fn get(&self, project: &str, key: &str) -> Result<&Account, ServiceError> {
        let found = self.by_email.values().find(|found| found.email == key || found.unique_id == key);
        let found = found.filter(|found| project == "-" || found.project == project);
        found.ok_or_else(|| {
            ServiceError::not_found(format!("Unknown service account: projects/{project}/serviceAccounts/{key}"))
        })
    }

    pub(super) fn list<'a>(&'a self, project: &'a str) -> impl Iterator<Item = &'a Account> {
        self.by_email.values().filter(move |account| account.project == project)
    }

    pub(super) fn update(
        &mut self,
        project: &str,
        key: &str,
        fields: &Map<String, Value>,
    ) -> Result<&Account, ServiceError> {
        let email = self.get(project, key)?.email.clone();
        let account = self.by_email.get_mut(&email).ok_or_else(|| ServiceError::not_found(email))?;
        for (field, value) in fields {
            let text = value.as_str().unwrap_or_default().to_owned();
            match field.as_str() {
                "displayName" => account.display_name = text,
                "description" => account.description = text,
                "disabled" => account.disabled = value == true,
                _ => return Err(ServiceError::invalid(format!("The field {field} can't be changed."))),
            }
        }
        account.revision += 1;
        Ok(account)
    }

    pub(super) fn delete(&mut self, project: &str, key: &str) -> Result<(), ServiceError> {
        let email = self.get(project, key)?.email.clone();
        self.by_email.remove(&email);
        Ok(())
    }

    /// Whether an address may be bound: an account that is there, or one that Google makes itself.
    pub(super) fn may_exist(&self, email: &str) -> bool {
        let is_projects = email.split_once('@').is_some_and(|(id, domain)| {
            domain.ends_with(".iam.gserviceaccount.com")
                && !domain.starts_with("gs-project-accounts.")
                && !domain.starts_with("gcp-sa-")
                && !id.starts_with("service-")
        });
        !is_projects || self.by_email.contains_key(email)
    }
}

impl Account {
    /// Full name.
    pub(super) fn name(&self) -> String {
        format!("projects/{}/serviceAccounts/{}", self.project, self.email)
    }

    pub(super) fn told(&self) -> Value {
        let mut told = json!({
            "name": self.name(),
            "projectId": self.project,
            "uniqueId": self.unique_id,
            "email": self.email,
            "etag": BASE64.encode(&self.revision.to_be_bytes()),
            "oauth2ClientId": self.unique_id,
        });
        for (field, value) in [("displayName", &self.display_name), ("description", &self.description)] {
            if !value.is_empty() {
                told[field] = value.clone().into();
            }
        }
        if self.disabled {
            told["disabled"] = true.into();
        }
        told
    }
}
