//! Secrets and versions: a pure state machine. <https://cloud.google.com/secret-manager/docs/reference/rest>

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::cloud::service::ServiceError;
use crate::cloud::{PROJECT_NUMBER, time_text};

/// Google's bound on a payload.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Fields of a secret that are kept.
const FIELDS: [&str; 5] = ["annotations", "etag", "labels", "name", "replication"];

#[derive(Debug, Default)]
pub(super) struct State {
    /// By project and name.
    secrets: BTreeMap<(String, String), Secret>,
    revision_last: u64,
}

#[derive(Debug)]
struct Secret {
    body: Map<String, Value>,
    created: SystemTime,
    revision: u64,
    /// The first one is version 1.
    versions: Vec<Version>,
}

#[derive(Debug)]
struct Version {
    payload: Option<Vec<u8>>,
    state: &'static str,
    created: SystemTime,
    destroyed: Option<SystemTime>,
    revision: u64,
}

impl State {
    pub(super) fn create(
        &mut self,
        project: &str,
        id: &str,
        body: Map<String, Value>,
        now: SystemTime,
    ) -> Result<Value, ServiceError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if !(1..=255).contains(&id.len()) || !id.chars().all(allowed) {
            return Err(ServiceError::invalid(format!(
                "The provided Secret ID [{id}] does not match the expected format [[a-zA-Z_0-9]+]."
            )));
        }
        check_fields(&body)?;
        let replication = body.get("replication").cloned().unwrap_or_default();
        if replication.get("automatic").is_none() && replication.get("userManaged").is_none() {
            return Err(ServiceError::invalid("Secret.replication must be automatic or userManaged."));
        }
        let key = (project.to_owned(), id.to_owned());
        if self.secrets.contains_key(&key) {
            return Err(ServiceError::new(409, format!("Secret [{}] already exists.", name(id))));
        }
        let revision = self.next_revision();
        self.secrets.insert(key, Secret { body, created: now, revision, versions: Vec::new() });
        self.told(project, id)
    }

    pub(super) fn told(&self, project: &str, id: &str) -> Result<Value, ServiceError> {
        let secret = self.secret(project, id)?;
        let mut told = Value::Object(secret.body.clone());
        told["name"] = name(id).into();
        told["createTime"] = time_text(secret.created).into();
        told["etag"] = etag(secret.revision).into();
        Ok(told)
    }

    pub(super) fn names(&self, project: &str) -> Vec<String> {
        self.secrets
            .keys()
            .filter(|(owner, _)| owner == project || project == PROJECT_NUMBER)
            .map(|(_, id)| id.clone())
            .collect()
    }

    /// Changes the fields that a mask names.
    pub(super) fn update(
        &mut self,
        project: &str,
        id: &str,
        mask: &str,
        given: &Map<String, Value>,
    ) -> Result<Value, ServiceError> {
        check_fields(given)?;
        let revision = self.next_revision();
        let secret = self.secret_mut(project, id)?;
        check_etag(given.get("etag"), secret.revision)?;
        for path in mask.split(',').map(str::trim) {
            match (path, given.get(path)) {
                ("labels" | "annotations", Some(value)) => drop(secret.body.insert(path.to_owned(), value.clone())),
                ("labels" | "annotations", None) => drop(secret.body.remove(path)),
                _ => return Err(ServiceError::not_implemented(format!("updates of the secret field `{path}`"))),
            }
        }
        secret.revision = revision;
        self.told(project, id)
    }

    pub(super) fn delete(&mut self, project: &str, id: &str, given_etag: Option<&str>) -> Result<(), ServiceError> {
        let key = self.key(project, id)?;
        let given = given_etag.map(Value::from);
        check_etag(given.as_ref(), self.secret(project, id)?.revision)?;
        self.secrets.remove(&key);
        Ok(())
    }

    pub(super) fn add_version(
        &mut self,
        project: &str,
        id: &str,
        payload: Vec<u8>,
        now: SystemTime,
    ) -> Result<Value, ServiceError> {
        if payload.is_empty() || payload.len() > PAYLOAD_BYTES_MAX {
            return Err(ServiceError::invalid(format!("Secret payload must have 1 to {PAYLOAD_BYTES_MAX} bytes.")));
        }
        let revision = self.next_revision();
        let secret = self.secret_mut(project, id)?;
        secret.versions.push(Version {
            payload: Some(payload),
            state: "ENABLED",
            created: now,
            destroyed: None,
            revision,
        });
        let number = secret.versions.len().to_string();
        self.told_version(project, id, &number)
    }

    pub(super) fn told_version(&self, project: &str, id: &str, version: &str) -> Result<Value, ServiceError> {
        let (number, version) = self.version(project, id, version)?;
        let mut told = json!({
            "name": format!("{}/versions/{number}", name(id)),
            "createTime": time_text(version.created),
            "state": version.state,
            "replicationStatus": { "automatic": {} },
            "etag": etag(version.revision),
            "clientSpecifiedPayloadChecksum": true,
        });
        if let Some(destroyed) = version.destroyed {
            told["destroyTime"] = time_text(destroyed).into();
        }
        Ok(told)
    }

    /// All versions, newest first.
    pub(super) fn versions(&self, project: &str, id: &str) -> Result<Vec<Value>, ServiceError> {
        let count = self.secret(project, id)?.versions.len();
        (1..=count).rev().map(|number| self.told_version(project, id, &number.to_string())).collect()
    }

    /// The number and the payload of a version that is enabled.
    pub(super) fn access(&self, project: &str, id: &str, version: &str) -> Result<(usize, Vec<u8>), ServiceError> {
        let (number, version) = self.version(project, id, version)?;
        match &version.payload {
            Some(payload) if version.state == "ENABLED" => Ok((number, payload.clone())),
            _ => {
                let full = format!("{}/versions/{number}", name(id));
                Err(ServiceError::invalid(format!("Secret Version [{full}] is in {} state.", version.state)))
            }
        }
    }

    /// Enables, disables or destroys a version.
    pub(super) fn turn(
        &mut self,
        project: &str,
        id: &str,
        version: &str,
        to: &'static str,
        given_etag: Option<&Value>,
        now: SystemTime,
    ) -> Result<Value, ServiceError> {
        let revision = self.next_revision();
        let (number, found) = self.version(project, id, version)?;
        check_etag(given_etag, found.revision)?;
        if found.state == "DESTROYED" && to != "DESTROYED" {
            let full = format!("{}/versions/{number}", name(id));
            return Err(ServiceError::invalid(format!("Secret Version [{full}] is in DESTROYED state.")));
        }
        let turned = &mut self.secret_mut(project, id)?.versions[number - 1];
        turned.state = to;
        turned.revision = revision;
        if to == "DESTROYED" {
            turned.payload = None;
            turned.destroyed.get_or_insert(now);
        }
        self.told_version(project, id, &number.to_string())
    }

    /// A version by number or `latest`, which is the newest whatever its state.
    fn version(&self, project: &str, id: &str, version: &str) -> Result<(usize, &Version), ServiceError> {
        let versions = &self.secret(project, id)?.versions;
        let number = if version == "latest" { versions.len() } else { version.parse().unwrap_or(0) };
        let found = number.checked_sub(1).and_then(|index| versions.get(index));
        let missing =
            || ServiceError::not_found(format!("Secret Version [{}/versions/{version}] not found.", name(id)));
        found.map(|found| (number, found)).ok_or_else(missing)
    }

    /// The project may be named by its number; then any project's secret of that name is meant.
    fn key(&self, project: &str, id: &str) -> Result<(String, String), ServiceError> {
        let found =
            self.secrets.keys().find(|(owner, name)| name == id && (owner == project || project == PROJECT_NUMBER));
        found
            .cloned()
            .ok_or_else(|| ServiceError::not_found(format!("Secret [{}] not found or has no versions.", name(id))))
    }

    fn secret(&self, project: &str, id: &str) -> Result<&Secret, ServiceError> {
        Ok(&self.secrets[&self.key(project, id)?])
    }

    fn secret_mut(&mut self, project: &str, id: &str) -> Result<&mut Secret, ServiceError> {
        let key = self.key(project, id)?;
        self.secrets.get_mut(&key).ok_or_else(|| ServiceError::not_found(id.to_owned()))
    }

    fn next_revision(&mut self) -> u64 {
        self.revision_last += 1;
        self.revision_last
    }
}

/// Google tells names with the project's number, whatever the caller wrote.
pub(super) fn name(id: &str) -> String {
    format!("projects/{PROJECT_NUMBER}/secrets/{id}")
}

fn etag(revision: u64) -> String {
    format!("\"{revision:014x}\"")
}

fn check_etag(given: Option<&Value>, revision: u64) -> Result<(), ServiceError> {
    let given = given.and_then(Value::as_str).filter(|given| !given.is_empty());
    if given.is_none_or(|given| given == etag(revision)) {
        return Ok(());
    }
    Err(ServiceError::new(412, "The etag does not match the current one: read the resource again."))
}

fn check_fields(body: &Map<String, Value>) -> Result<(), ServiceError> {
    let told = ["createTime"];
    let unknown = body.iter().find(|(field, value)| {
        let says_nothing = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        !FIELDS.contains(&field.as_str()) && !told.contains(&field.as_str()) && !says_nothing
    });
    unknown.map_or(Ok(()), |(field, _)| Err(ServiceError::not_implemented(format!("the secret field `{field}`"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_secret() -> State {
        let mut state = State::default();
        let body = json!({ "replication": { "automatic": {} } });
        state.create("p", "token", body.as_object().cloned().unwrap(), SystemTime::UNIX_EPOCH).unwrap();
        state
    }

    #[test]
    fn only_one_creates_a_secret() {
        let mut state = with_secret();
        let body = json!({ "replication": { "automatic": {} } });

        let second = state.create("p", "token", body.as_object().cloned().unwrap(), SystemTime::UNIX_EPOCH);

        assert_eq!(second.unwrap_err().status, 409);
    }

    #[test]
    fn latest_is_the_newest_version_whatever_its_state() {
        let (mut state, now) = (with_secret(), SystemTime::UNIX_EPOCH);
        assert_eq!(state.access("p", "token", "latest").unwrap_err().status, 404);
        state.add_version("p", "token", b"one".to_vec(), now).unwrap();
        state.add_version("p", "token", b"two".to_vec(), now).unwrap();

        assert_eq!(state.access("p", "token", "latest").unwrap(), (2, b"two".to_vec()));
        state.turn("p", "token", "2", "DISABLED", None, now).unwrap();
        assert_eq!(state.access("p", "token", "latest").unwrap_err().status, 400);
        assert_eq!(state.access(PROJECT_NUMBER, "token", "1").unwrap().1, b"one");
    }

    #[test]
    fn a_destroyed_version_never_comes_back() {
        let (mut state, now) = (with_secret(), SystemTime::UNIX_EPOCH);
        state.add_version("p", "token", b"one".to_vec(), now).unwrap();
        state.turn("p", "token", "1", "DESTROYED", None, now).unwrap();

        let error = state.turn("p", "token", "1", "ENABLED", None, now).unwrap_err();

        insta::assert_snapshot!(error, @"Secret Version [projects/100000000000/secrets/token/versions/1] is in DESTROYED state.");
    }

    #[test]
    fn an_old_etag_changes_nothing() {
        let mut state = with_secret();
        let labels = json!({ "labels": { "stack": "dev" }, "etag": "\"old\"" });

        let refused = state.update("p", "token", "labels", labels.as_object().unwrap());

        assert_eq!(refused.unwrap_err().status, 412);
        assert_eq!(state.told("p", "token").unwrap().get("labels"), None);
    }
}
