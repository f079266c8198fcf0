//! The product as Swarm objects: what is wanted, with which settings. Pure: nothing here talks to an engine.
//!
//! Services name secrets and configs by names made of their content; the ids that Swarm gives them are filled in when
//! they exist ([`crate::spec::resolve`]).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ring::hmac;
use serde_json::{Value, json};

use crate::image::USER;
use crate::model::{LABEL_REVISION, LABEL_ROLE, LABEL_STACK};
use crate::nodes::{Node, Role};
use crate::settings::{Common, Secrets, Settings};
use crate::spec::{self, Order, ServiceParts, bind, config, port, scratch, secret};

/// The executor's port in its container; on its node it has a free one.
const EXECUTOR_PORT: u16 = 7701;
/// After its drain a task has this long to end.
const AFTER_DRAIN: Duration = Duration::from_secs(2);
const MANAGER_STOP: Duration = Duration::from_secs(5);
const PUBLIC_KEYS_FILE: &str = "/config/signing.pub";
/// Digits of a content's digest in a name.
const DIGITS: usize = 12;

/// What a service is to Moonswarm: the value of its label.
pub const MANAGER: &str = "manager";
/// The service that runs rules.
pub const EXECUTOR: &str = "executor";

/// What is deployed: one installation.
#[derive(Debug, Clone)]
pub struct Product {
    /// The installation's name.
    pub stack: String,
    /// How.
    pub settings: Settings,
    /// Keys and tokens.
    pub secrets: Secrets,
    /// Tag of the manager's image.
    pub manager_image: String,
    /// Tag of the executor's image.
    pub executor_image: String,
    /// The commit that the images were made of.
    pub revision: String,
}

/// Whether Swarm may show a file's content again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Secret,
    Config,
}

impl Kind {
    /// Its place in the Engine API.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Config => "configs",
        }
    }
}

/// A secret or config that a service reads as a file.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) kind: Kind,
    /// Its name in Swarm, made of its content.
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
}

/// A service as it should be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) role: &'static str,
    pub(crate) name: String,
    pub(crate) spec: Value,
}

/// All that should exist, services in the order in which they need each other.
pub(crate) struct Desired {
    pub(crate) files: Vec<File>,
    pub(crate) services: Vec<Wanted>,
}

impl Product {
    pub(crate) fn desired(&self, nodes: &[Node]) -> Desired {
        Desired { files: self.files().into(), services: vec![self.manager(), self.executor(nodes)] }
    }

    /// Name of the service with this role.
    pub fn service(&self, role: &str) -> String {
        service_name(&self.stack, role)
    }

    fn files(&self) -> [File; 5] {
        let secrets = &self.secrets;
        [
            self.file(Kind::Secret, "signing-key", &secrets.signing_key),
            self.file(Kind::Secret, "api-token", &secrets.api_token),
            self.file(Kind::Secret, "feed-token", &secrets.feed_token),
            self.file(Kind::Secret, "caller-token", &secrets.caller_token),
            self.file(Kind::Config, "public-keys", &secrets.public_keys),
        ]
    }

    /// The digest is keyed with the signing key: who sees names only can't try out tokens.
    fn file(&self, kind: Kind, what: &str, content: &[u8]) -> File {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secrets.signing_key);
        let mut context = hmac::Context::with_key(&key);
        context.update(what.as_bytes());
        context.update(&[0]);
        context.update(content);
        let digits = data_encoding::HEXLOWER.encode(context.sign().as_ref());
        File { kind, name: format!("{}-{what}-{}", self.stack, &digits[..DIGITS]), content: content.to_vec() }
    }

    /// One task on a manager node, at a port that executors and authors know.
    fn manager(&self) -> Wanted {
        let settings = &self.settings;
        let [signing_key, api_token, feed_token, _, _] = self.files();
        let listen = settings.manager.port;
        let mut environment = vec![
            format!("MOONSWARM_LISTEN=0.0.0.0:{listen}"),
            format!("MOONSWARM_STACK={}", self.stack),
            format!("MOONSWARM_BUCKET={}", settings.bucket),
            format!("MOONSWARM_SUBSCRIPTION={}", settings.subscription),
        ];
        if let Some(cloud) = &settings.cloud {
            environment.push(format!("MOONSWARM_STORAGE_ENDPOINT={cloud}"));
            environment.push(format!("MOONSWARM_PUBSUB_ENDPOINT={cloud}"));
        }
        environment.extend([
            "MOONSWARM_SIGNING_KEY=/run/secrets/signing-key".to_owned(),
            "MOONSWARM_TOKEN_FILE=/run/secrets/api-token".to_owned(),
            "MOONSWARM_FEED_TOKEN_FILE=/run/secrets/feed-token".to_owned(),
            "MOONSWARM_DOCKER=unix:///var/run/docker.sock".to_owned(),
            format!("MOONSWARM_URL=http://127.0.0.1:{listen}/readyz"),
            "MOONSWARM_LOG_FORMAT=json".to_owned(),
        ]);
        extend(&mut environment, &settings.manager.environment);
        let container = json!({
            "Image": self.manager_image,
            "Env": environment,
            // The node's Docker socket belongs to root and to a group whose number differs from machine to machine.
            "User": "0:0",
            "ReadOnly": true,
            "Mounts": [bind(&settings.docker_socket, Path::new("/var/run/docker.sock")), scratch("/tmp")],
            "Secrets": [
                secret(&signing_key.name, "signing-key", 0),
                secret(&api_token.name, "api-token", 0),
                secret(&feed_token.name, "feed-token", 0),
            ],
            "StopGracePeriod": spec::nanoseconds(MANAGER_STOP),
        });
        self.wanted(MANAGER, &settings.manager.common, |labels| ServiceParts {
            labels,
            replicas: 1,
            container,
            placement: json!({ "Constraints": ["node.role==manager"] }),
            // A fixed port can't be held by two tasks of one node: with start-first the new one would wait for ever.
            order: Order::StopFirst,
            parallelism: 0,
            port: port(listen, Some(listen)),
        })
    }

    /// Spread over the nodes, each at a port of its own that Swarm chooses.
    fn executor(&self, nodes: &[Node]) -> Wanted {
        let settings = &self.settings.executor;
        let [_, _, feed_token, caller_token, public_keys] = self.files();
        // The manager's task runs on one of the manager nodes; executors follow the first that answers.
        let managers = nodes.iter().filter(|node| node.role == Role::Manager);
        let feed = managers
            .map(|node| format!("http://{}", std::net::SocketAddr::new(node.address, self.settings.manager.port)));
        let mut environment = vec![
            format!("MOONSWARM_LISTEN=0.0.0.0:{EXECUTOR_PORT}"),
            format!("MOONSWARM_STACK={}", self.stack),
            format!("MOONSWARM_FEED={}", feed.collect::<Vec<_>>().join(",")),
            format!("MOONSWARM_PUBLIC_KEYS={PUBLIC_KEYS_FILE}"),
            "MOONSWARM_TOKEN_FILE=/run/secrets/caller-token".to_owned(),
            "MOONSWARM_FEED_TOKEN_FILE=/run/secrets/feed-token".to_owned(),
            "MOONSWARM_CACHE_DIR=/cache".to_owned(),
            "MOONSWARM_NODE={{.Node.Hostname}}".to_owned(),
            format!("MOONSWARM_DRAIN={}", humantime::format_duration(settings.drain)),
            "MOONSWARM_LOG_FORMAT=json".to_owned(),
        ];
        extend(&mut environment, &settings.environment);
        let container = json!({
            "Image": self.executor_image,
            "Env": environment,
            "ReadOnly": true,
            "Mounts": [scratch("/cache"), scratch("/tmp")],
            "Secrets": [secret(&caller_token.name, "caller-token", USER), secret(&feed_token.name, "feed-token", USER)],
            "Configs": [config(&public_keys.name, PUBLIC_KEYS_FILE)],
            "StopGracePeriod": spec::nanoseconds(settings.drain + AFTER_DRAIN),
        });
        let mut placement = json!({});
        if !settings.constraints.is_empty() {
            placement["Constraints"] = json!(settings.constraints);
        }
        // With start-first the old and the new tasks are on a node at the same time, and Swarm counts both: a limit of
        // only as many as should run there would leave every new task pending for ever.
        let share =
            || (nodes.len() > 1 && settings.constraints.is_empty()).then(|| share(settings.replicas, nodes.len()) * 2);
        if let Some(most) = settings.max_per_node.map(u64::from).or_else(share) {
            placement["MaxReplicas"] = json!(most);
        }
        self.wanted(EXECUTOR, &settings.common, |labels| ServiceParts {
            labels,
            replicas: settings.replicas,
            container,
            placement,
            order: Order::StartFirst,
            parallelism: settings.parallelism,
            port: port(EXECUTOR_PORT, None),
        })
    }

    fn wanted(&self, role: &'static str, common: &Common, parts: impl FnOnce(Value) -> ServiceParts) -> Wanted {
        // The manager finds the executors' service by the first two.
        let labels = json!({ LABEL_ROLE: role, LABEL_STACK: self.stack, LABEL_REVISION: self.revision });
        let name = self.service(role);
        let spec = parts(labels).spec(&name, &format!("/bin/moonswarm-{role}"), common);
        Wanted { role, name, spec }
    }
}

/// Name of the service with this role.
pub(crate) fn service_name(stack: &str, role: &str) -> String {
    format!("{stack}-{role}")
}

/// Adds settings; one that is there already is replaced.
fn extend(environment: &mut Vec<String>, more: &BTreeMap<String, String>) {
    environment.retain(|it| it.split_once('=').is_none_or(|(name, _)| !more.contains_key(name)));
    environment.extend(more.iter().map(|(name, value)| format!("{name}={value}")));
}

fn share(replicas: u16, nodes: usize) -> u64 {
    u64::from(replicas).div_ceil(nodes.max(1) as u64)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn product() -> Product {
        let settings = "bucket = \"rules\"\nsubscription = \"projects/e2e/subscriptions/rules\"\ncloud = \"http://10.213.0.1:9000\"\n\
                        [manager.environment]\nMOONSWARM_RECONCILE = \"2s\"";
        Product {
            stack: "e2e".into(),
            settings: toml::from_str(settings).unwrap(),
            secrets: Secrets {
                signing_key: b"key".to_vec(),
                public_keys: b"pub".to_vec(),
                api_token: b"api".to_vec(),
                feed_token: b"feed".to_vec(),
                caller_token: b"caller".to_vec(),
            },
            manager_image: "localhost/moonswarm-manager:1".into(),
            executor_image: "localhost/moonswarm-executor:1".into(),
            revision: "abc".into(),
        }
    }

    pub(crate) fn nodes() -> Vec<Node> {
        let node = |n: u8, role: &str| format!("n{n}=unix:///n{n}.sock,{role},10.213.0.{}", 10 + n).parse().unwrap();
        vec![node(1, "manager"), node(2, "worker"), node(3, "worker")]
    }

    fn spec_of(role: &str) -> Value {
        let desired = product().desired(&nodes());
        desired.services.into_iter().find(|wanted| wanted.role == role).unwrap().spec
    }

    #[test]
    fn the_manager_is_this_service() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&spec_of(MANAGER)).unwrap());
    }

    #[test]
    fn the_executors_are_this_service() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&spec_of(EXECUTOR)).unwrap());
    }

    #[test]
    fn every_file_a_service_reads_exists_and_secrets_are_for_its_user_alone() {
        let files = product().desired(&nodes()).files;
        let exists = |name: &Value| files.iter().any(|file| file.name == *name);
        for (role, user) in [(MANAGER, "0"), (EXECUTOR, "65532")] {
            let spec = spec_of(role);
            let container = &spec["TaskTemplate"]["ContainerSpec"];
            for secret in container["Secrets"].as_array().unwrap() {
                assert!(exists(&secret["SecretName"]), "{secret}");
                assert_eq!((&secret["File"]["UID"], &secret["File"]["Mode"]), (&json!(user), &json!(0o400)));
            }
            for config in container["Configs"].as_array().into_iter().flatten() {
                assert!(exists(&config["ConfigName"]), "{config}");
            }
        }
    }

    #[test]
    fn a_changed_secret_has_another_name_that_does_not_tell_it() {
        let (mut one, mut two) = (product(), product());
        two.secrets.api_token = b"other".to_vec();
        let names = |product: &Product| product.files().map(|file| file.name);
        assert_ne!(names(&one)[1], names(&two)[1]);
        assert_eq!(names(&one)[2], names(&two)[2]);

        one.secrets.signing_key = b"another key".to_vec();
        assert_ne!(names(&one)[1], names(&product())[1], "the digest is keyed");
    }

    #[test]
    fn old_and_new_executors_fit_on_the_nodes_together() {
        let spec = spec_of(EXECUTOR);

        assert_eq!(
            spec["EndpointSpec"]["Ports"][0].get("PublishedPort"),
            None,
            "a fixed port would be held by the old task"
        );
        assert_eq!(spec["TaskTemplate"]["Placement"]["MaxReplicas"], 4);
    }
}
