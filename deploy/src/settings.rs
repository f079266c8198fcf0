//! The `[deploy]` section of a stack file. Unknown fields are refused, with line and caret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::nodes::Node;

/// What is wrong with a stack file.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It, or a file that it names, can't be read.
    #[error("read what the stack file names")]
    Read(#[source] std::io::Error),
    /// It says something that is not understood.
    #[error("stack file `{}`:\n{err}", file.display())]
    Form {
        /// The file.
        file: PathBuf,
        /// Where, and what was expected.
        err: Box<toml::de::Error>,
    },
    /// It says nothing of deployments.
    #[error("stack file `{}` has no section `[deploy]`; it needs at least `bucket`, `subscription` and `secrets`", .0.display())]
    NoSection(PathBuf),
}

/// What is deployed, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The bucket that the manager watches.
    pub bucket: String,
    /// Its subscription, `projects/P/subscriptions/S`.
    pub subscription: String,
    /// Folder with the files `signing.key`, `signing.pub`, `api-token`, `feed-token` and `caller-token`; relative to the
    /// stack file.
    #[serde(default)]
    pub secrets: Option<PathBuf>,
    /// A local cloud in the place of Google's, as containers reach it.
    #[serde(default)]
    pub cloud: Option<String>,
    /// The Docker socket on the manager nodes, for rolling activation.
    #[serde(default = "default_socket")]
    pub docker_socket: PathBuf,
    /// How long a service may take to come up before the deployment is taken back.
    #[serde(default = "default_deadline", deserialize_with = "duration")]
    pub deadline: Duration,
    /// A script, `TENANT/SCRIPT`, that every executor must run with the input `{}` before a deployment counts as done.
    #[serde(default)]
    pub canary: Option<String>,
    /// The manager's service.
    #[serde(default)]
    pub manager: ManagerSettings,
    /// The executors' service.
    #[serde(default)]
    pub executor: ExecutorSettings,
    /// The machines, unless something else knows them.
    #[serde(default)]
    pub node: Vec<Node>,
}

/// The manager's service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ManagerSettings {
    /// Its port, in the container and on its node.
    pub port: u16,
    /// More settings, `MOONSWARM_RECONCILE = "2s"`.
    pub environment: BTreeMap<String, String>,
    /// What a task may use.
    #[serde(flatten)]
    pub common: Common,
}

/// The executors' service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutorSettings {
    /// How many.
    pub replicas: u16,
    /// How many are replaced at once; 0 is all.
    pub parallelism: u16,
    /// How long running requests may take to end; after two seconds more a task is killed.
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
    /// At most this many on a node, old and new ones together; absent = twice the even share.
    pub max_per_node: Option<u16>,
    /// Where they may run, `node.role==worker`.
    pub constraints: Vec<String>,
    /// More settings.
    pub environment: BTreeMap<String, String>,
    /// What a task may use.
    #[serde(flatten)]
    pub common: Common,
}

/// What both services have.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Common {
    /// Between two health checks by Docker; `0s` = none. With checks, an update waits until a new task is ready before it
    /// stops an old one, and each task takes at least this long to start.
    #[serde(deserialize_with = "duration")]
    pub health: Duration,
    /// How long a new task may be unready before it counts as failed.
    #[serde(deserialize_with = "duration")]
    pub start: Duration,
    /// How long Swarm watches a new task before it calls it good.
    #[serde(deserialize_with = "duration")]
    pub monitor: Duration,
    /// Processor cores, `1.5`; absent = no limit.
    pub cpus: Option<f64>,
    /// Mebibytes of memory; absent = no limit.
    pub memory_mib: Option<u32>,
}

impl Default for ManagerSettings {
    fn default() -> Self {
        Self { port: 7700, environment: BTreeMap::new(), common: Common::default() }
    }
}

impl Default for ExecutorSettings {
    fn default() -> Self {
        Self {
            replicas: 6,
            parallelism: 2,
            drain: Duration::from_secs(10),
            max_per_node: None,
            constraints: Vec::new(),
            environment: BTreeMap::new(),
            common: Common::default(),
        }
    }
}

impl Default for Common {
    fn default() -> Self {
        let [health, start, monitor] = [1, 30, 5].map(Duration::from_secs);
        Self { health, start, monitor, cpus: None, memory_mib: None }
    }
}

fn default_socket() -> PathBuf {
    "/var/run/docker.sock".into()
}

fn default_deadline() -> Duration {
    Duration::from_secs(180)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|err| serde::de::Error::custom(format!("`{text}` is no duration, for example `5s`: {err}")))
}

impl Settings {
    /// Reads the section `[deploy]` of a stack file; the others belong to others.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(file: &Path) -> Result<Self, SettingsError> {
        let text = fs_err::read_to_string(file).map_err(SettingsError::Read)?;
        let mut settings = Self::parse(&text, file)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        settings.secrets = settings.secrets.map(|secrets| folder.join(secrets));
        Ok(settings)
    }

    fn parse(text: &str, file: &Path) -> Result<Self, SettingsError> {
        #[derive(Deserialize)]
        struct Stack {
            deploy: Option<Settings>,
        }
        let stack: Stack =
            toml::from_str(text).map_err(|err| SettingsError::Form { file: file.to_owned(), err: Box::new(err) })?;
        stack.deploy.ok_or_else(|| SettingsError::NoSection(file.to_owned()))
    }
}

/// What only the product's programs may know. Never printed.
#[derive(Clone)]
pub struct Secrets {
    /// Content of the manager's key file.
    pub signing_key: Vec<u8>,
    /// Content of the executors' file of public keys.
    pub public_keys: Vec<u8>,
    /// What authors and operators show to the manager.
    pub api_token: Vec<u8>,
    /// What executors show to the manager.
    pub feed_token: Vec<u8>,
    /// What callers show to executors.
    pub caller_token: Vec<u8>,
}

impl Secrets {
    /// Reads them from the files of a folder.
    ///
    /// # Errors
    /// [`SettingsError::Read`] names the file.
    pub fn read(folder: &Path) -> Result<Self, SettingsError> {
        let read = |name: &str| fs_err::read(folder.join(name)).map_err(SettingsError::Read);
        Ok(Self {
            signing_key: read("signing.key")?,
            public_keys: read("signing.pub")?,
            api_token: read("api-token")?,
            feed_token: read("feed-token")?,
            caller_token: read("caller-token")?,
        })
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, Path::new("stack.toml")).map_err(|err| err.to_string())
    }

    const LEAST: &str = "[deploy]\nbucket = \"rules\"\nsubscription = \"projects/p/subscriptions/s\"\n";

    #[test]
    fn the_least_section_has_defaults_for_the_rest() {
        let settings = parse(LEAST).unwrap();

        assert_eq!((settings.executor.replicas, settings.executor.parallelism), (6, 2));
        assert_eq!(settings.manager.port, 7700);
        assert_eq!(settings.executor.common.health, Duration::from_secs(1));
    }

    #[test]
    fn what_is_set_is_read() {
        let text = format!(
            "{LEAST}deadline = \"2m\"\ncanary = \"acme/probe\"\n[deploy.executor]\nreplicas = 3\nhealth = \"0s\"\nmemory_mib = 512\n\
             environment = {{ MOONSWARM_STRATEGY = \"process-pool\" }}\n[[deploy.node]]\nname = \"m1\"\nrole = \"manager\"\n\
             address = \"10.0.0.2\"\ndocker = \"ssh://ops@10.0.0.2\"\n"
        );

        let settings = parse(&text).unwrap();

        assert_eq!(settings.deadline, Duration::from_secs(120));
        assert_eq!((settings.executor.replicas, settings.executor.common.memory_mib), (3, Some(512)));
        assert_eq!(settings.executor.common.health, Duration::ZERO);
        assert_eq!(settings.node[0].name, "m1");
    }

    #[test]
    fn what_is_not_understood_is_shown_where_it_stands() {
        insta::assert_snapshot!(parse(&format!("{LEAST}replica = 3\n")).unwrap_err());
        insta::assert_snapshot!(parse(&format!("{LEAST}deadline = \"soon\"\n")).unwrap_err());
        insta::assert_snapshot!(parse(&format!("{LEAST}[[deploy.node]]\nname = \"a\"\nrole = \"manager\"\naddress = \"10.0.0.2\"\ndocker = \"tcp://10.0.0.2:2375\"\n")).unwrap_err());
        assert!(parse(&format!("{LEAST}[deploy.executor]\nreplica = 3\n")).is_err(), "also in the tables inside");
        insta::assert_snapshot!(parse("[network]\n").unwrap_err(), @"stack file `stack.toml` has no section `[deploy]`; it needs at least `bucket`, `subscription` and `secrets`");
    }
}
