//! The product as Swarm services: what is deployed, with which settings. Pure: nothing here talks to an engine.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::models::{
    ServiceSpec, ServiceSpecUpdateConfigOrderEnum, TaskSpecContainerSpec, TaskSpecContainerSpecSecrets as Secret,
    TaskSpecPlacement,
};

use super::image::USER;
use super::node::SOCKET_FOLDER;
use super::service::{Service, bind, config, nanoseconds, port, scratch, secret};

/// The manager's port, on its container and on its node.
pub const MANAGER_PORT: u16 = 7700;
/// The executor's port in its container; on its node it has a free one.
pub(super) const EXECUTOR_PORT: u16 = 7701;
pub(super) const MANAGER: &str = "manager";
pub(super) const EXECUTOR: &str = "executor";
/// The executor drains for 10 s by default; after 2 s more it is killed.
const EXECUTOR_STOP: Duration = Duration::from_secs(12);
const MANAGER_STOP: Duration = Duration::from_secs(5);

/// What is deployed.
#[derive(Debug, Clone)]
pub struct Product {
    /// The installation's name.
    pub stack: String,
    /// Tag of the manager's image, loaded into the nodes before.
    pub manager_image: String,
    /// Tag of the executor's image.
    pub executor_image: String,
    /// How many executors.
    pub executors: u16,
    /// On how many nodes they are spread.
    pub nodes: u16,
    /// The bucket the manager watches.
    pub bucket: String,
    /// Its subscription, `projects/P/subscriptions/S`.
    pub subscription: String,
    /// URL of the local cloud, as containers on the nodes reach it.
    pub cloud: String,
    /// Content of the manager's key file.
    pub signing_key: Vec<u8>,
    /// Content of the executors' file of public keys.
    pub public_keys: Vec<u8>,
    /// What authors and operators show to the manager.
    pub api_token: String,
    /// What executors show to the manager.
    pub feed_token: String,
    /// What callers show to executors.
    pub caller_token: String,
    /// More settings of the manager, `MOONSWARM_RECONCILE=2s`.
    pub manager_environment: Vec<String>,
    /// More settings of the executors.
    pub executor_environment: Vec<String>,
}

/// A secret or config that a service reads as a file.
pub(super) struct File<'a> {
    /// Its name in Swarm.
    pub(super) name: String,
    pub(super) content: &'a [u8],
}

/// The ids that Swarm gave to files, by name.
pub(super) type FileIds = HashMap<String, String>;

const SIGNING_KEY: &str = "signing-key";
const API_TOKEN: &str = "api-token";
const FEED_TOKEN: &str = "feed-token";
const CALLER_TOKEN: &str = "caller-token";
const PUBLIC_KEYS: &str = "public-keys";
const PUBLIC_KEYS_FILE: &str = "/config/signing.pub";

impl Product {
    /// What must exist as Swarm secrets before the services do.
    pub(super) fn secrets(&self) -> [File<'_>; 4] {
        [
            self.named(SIGNING_KEY, &self.signing_key),
            self.named(API_TOKEN, self.api_token.as_bytes()),
            self.named(FEED_TOKEN, self.feed_token.as_bytes()),
            self.named(CALLER_TOKEN, self.caller_token.as_bytes()),
        ]
    }

    /// What must exist as Swarm configs before the services do.
    pub(super) fn configs(&self) -> [File<'_>; 1] {
        [self.named(PUBLIC_KEYS, &self.public_keys)]
    }

    fn named<'a>(&self, file: &str, content: &'a [u8]) -> File<'a> {
        File { name: self.name_of(file), content }
    }

    fn name_of(&self, file: &str) -> String {
        format!("{}-{file}", self.stack)
    }

    /// The labels of everything that is deployed; the manager finds the executors' service by them.
    pub(super) fn labels(&self, role: &str) -> HashMap<String, String> {
        HashMap::from([
            ("moonswarm.role".to_owned(), role.to_owned()),
            ("moonswarm.stack".to_owned(), self.stack.clone()),
        ])
    }

    /// The manager: one task on the Swarm's manager node, at a port that executors and authors know.
    pub(super) fn manager(&self, ids: &FileIds) -> ServiceSpec {
        let mut environment = vec![
            format!("MOONSWARM_LISTEN=0.0.0.0:{MANAGER_PORT}"),
            format!("MOONSWARM_STACK={}", self.stack),
            format!("MOONSWARM_BUCKET={}", self.bucket),
            format!("MOONSWARM_SUBSCRIPTION={}", self.subscription),
            format!("MOONSWARM_STORAGE_ENDPOINT={}", self.cloud),
            format!("MOONSWARM_PUBSUB_ENDPOINT={}", self.cloud),
            format!("MOONSWARM_SIGNING_KEY={}", secret_path(SIGNING_KEY)),
            format!("MOONSWARM_TOKEN_FILE={}", secret_path(API_TOKEN)),
            format!("MOONSWARM_FEED_TOKEN_FILE={}", secret_path(FEED_TOKEN)),
            "MOONSWARM_DOCKER=unix:///var/run/docker.sock".to_owned(),
            "MOONSWARM_LOG_FORMAT=json".to_owned(),
        ];
        environment.extend(self.manager_environment.iter().cloned());
        let container = TaskSpecContainerSpec {
            image: Some(self.manager_image.clone()),
            env: Some(environment),
            // The node's Docker socket belongs to root and to a group whose number differs from machine to machine.
            user: Some("0:0".to_owned()),
            read_only: Some(true),
            mounts: Some(vec![bind(&format!("{SOCKET_FOLDER}/docker.sock"), "/var/run/docker.sock"), scratch("/tmp")]),
            secrets: Some(self.secret_files([SIGNING_KEY, API_TOKEN, FEED_TOKEN], 0, ids)),
            stop_grace_period: Some(nanoseconds(MANAGER_STOP)),
            ..TaskSpecContainerSpec::default()
        };
        let placement = TaskSpecPlacement {
            constraints: Some(vec!["node.role==manager".to_owned()]),
            ..TaskSpecPlacement::default()
        };
        Service {
            name: MANAGER,
            labels: self.labels(MANAGER),
            replicas: 1,
            container,
            placement,
            // A fixed port can't be held by two tasks of one node: with start-first the new one would wait for ever.
            order: ServiceSpecUpdateConfigOrderEnum::STOP_FIRST,
            port: port(MANAGER_PORT, Some(MANAGER_PORT)),
        }
        .spec()
    }

    /// The executors: spread over the nodes, each at a port of its own that Swarm chooses.
    ///
    /// No health check by Docker: a task with one counts as running only after the first check, which doubles the time of
    /// a rolling activation (measured: 1.2 s to 2.6 s) and would flatter the live one in comparison.
    pub(super) fn executor(&self, manager: Ipv4Addr, ids: &FileIds) -> ServiceSpec {
        let mut environment = vec![
            format!("MOONSWARM_LISTEN=0.0.0.0:{EXECUTOR_PORT}"),
            format!("MOONSWARM_STACK={}", self.stack),
            format!("MOONSWARM_FEED=http://{manager}:{MANAGER_PORT}"),
            format!("MOONSWARM_PUBLIC_KEYS={PUBLIC_KEYS_FILE}"),
            format!("MOONSWARM_TOKEN_FILE={}", secret_path(CALLER_TOKEN)),
            format!("MOONSWARM_FEED_TOKEN_FILE={}", secret_path(FEED_TOKEN)),
            "MOONSWARM_CACHE_DIR=/cache".to_owned(),
            "MOONSWARM_NODE={{.Node.Hostname}}".to_owned(),
            "MOONSWARM_LOG_FORMAT=json".to_owned(),
        ];
        environment.extend(self.executor_environment.iter().cloned());
        let keys = self.name_of(PUBLIC_KEYS);
        let container = TaskSpecContainerSpec {
            image: Some(self.executor_image.clone()),
            env: Some(environment),
            read_only: Some(true),
            mounts: Some(vec![scratch("/cache"), scratch("/tmp")]),
            secrets: Some(self.secret_files([CALLER_TOKEN, FEED_TOKEN], USER, ids)),
            configs: Some(vec![config(ids.get(&keys), keys, PUBLIC_KEYS_FILE)]),
            stop_grace_period: Some(nanoseconds(EXECUTOR_STOP)),
            ..TaskSpecContainerSpec::default()
        };
        // With start-first the old and the new tasks are on a node at the same time, and Swarm counts both: a limit of
        // only as many as should run there would leave every new task pending for ever.
        let on_a_node = i64::from(self.executors.div_ceil(self.nodes.max(1))) * 2;
        let placement = TaskSpecPlacement { max_replicas: Some(on_a_node), ..TaskSpecPlacement::default() };
        Service {
            name: EXECUTOR,
            labels: self.labels(EXECUTOR),
            replicas: self.executors,
            container,
            placement,
            order: ServiceSpecUpdateConfigOrderEnum::START_FIRST,
            port: port(EXECUTOR_PORT, None),
        }
        .spec()
    }

    /// Secrets as files of `user`.
    fn secret_files<const N: usize>(&self, files: [&str; N], user: u32, ids: &FileIds) -> Vec<Secret> {
        let file = |file: &&str| {
            let name = self.name_of(file);
            secret(ids.get(&name), name, file, user)
        };
        files.iter().map(file).collect()
    }
}

fn secret_path(file: &str) -> String {
    format!("/run/secrets/{file}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product() -> Product {
        Product {
            stack: "e2e".into(),
            manager_image: "localhost/moonswarm-manager:1".into(),
            executor_image: "localhost/moonswarm-executor:1".into(),
            executors: 6,
            nodes: 3,
            bucket: "rules".into(),
            subscription: "projects/e2e/subscriptions/rules".into(),
            cloud: "http://10.213.0.1:9000".into(),
            signing_key: b"key".to_vec(),
            public_keys: b"pub".to_vec(),
            api_token: "api".into(),
            feed_token: "feed".into(),
            caller_token: "caller".into(),
            manager_environment: vec!["MOONSWARM_RECONCILE=2s".into()],
            executor_environment: Vec::new(),
        }
    }

    fn ids() -> FileIds {
        let names =
            product().secrets().map(|file| file.name).into_iter().chain(product().configs().map(|file| file.name));
        names.map(|name| (name.clone(), format!("id-of-{name}"))).collect()
    }

    fn container(service: ServiceSpec) -> TaskSpecContainerSpec {
        service.task_template.unwrap().container_spec.unwrap()
    }

    #[test]
    fn the_manager_is_told_this() {
        let environment = container(product().manager(&ids())).env.unwrap().join("\n");

        insta::assert_snapshot!(environment, @r"
        MOONSWARM_LISTEN=0.0.0.0:7700
        MOONSWARM_STACK=e2e
        MOONSWARM_BUCKET=rules
        MOONSWARM_SUBSCRIPTION=projects/e2e/subscriptions/rules
        MOONSWARM_STORAGE_ENDPOINT=http://10.213.0.1:9000
        MOONSWARM_PUBSUB_ENDPOINT=http://10.213.0.1:9000
        MOONSWARM_SIGNING_KEY=/run/secrets/signing-key
        MOONSWARM_TOKEN_FILE=/run/secrets/api-token
        MOONSWARM_FEED_TOKEN_FILE=/run/secrets/feed-token
        MOONSWARM_DOCKER=unix:///var/run/docker.sock
        MOONSWARM_LOG_FORMAT=json
        MOONSWARM_RECONCILE=2s
        ");
    }

    #[test]
    fn an_executor_is_told_this() {
        let environment = container(product().executor(Ipv4Addr::new(10, 213, 0, 11), &ids())).env.unwrap().join("\n");

        insta::assert_snapshot!(environment, @r"
        MOONSWARM_LISTEN=0.0.0.0:7701
        MOONSWARM_STACK=e2e
        MOONSWARM_FEED=http://10.213.0.11:7700
        MOONSWARM_PUBLIC_KEYS=/config/signing.pub
        MOONSWARM_TOKEN_FILE=/run/secrets/caller-token
        MOONSWARM_FEED_TOKEN_FILE=/run/secrets/feed-token
        MOONSWARM_CACHE_DIR=/cache
        MOONSWARM_NODE={{.Node.Hostname}}
        MOONSWARM_LOG_FORMAT=json
        ");
    }

    #[test]
    fn every_file_a_service_reads_exists_and_is_for_its_user_alone() {
        let manager = container(product().manager(&ids()));
        let executor = container(product().executor(Ipv4Addr::LOCALHOST, &ids()));

        for (container, user) in [(manager, "0"), (executor, "65532")] {
            for secret in container.secrets.unwrap() {
                let (id, file) = (secret.secret_id.unwrap(), secret.file.unwrap());
                assert_eq!(id, format!("id-of-e2e-{}", file.name.unwrap()));
                assert_eq!((file.uid.as_deref(), file.mode), (Some(user), Some(0o400)));
            }
            assert!(container.configs.unwrap_or_default().iter().all(|config| config.config_id.is_some()));
        }
    }

    #[test]
    fn old_and_new_executors_fit_on_the_nodes_together() {
        let service = product().executor(Ipv4Addr::LOCALHOST, &ids());

        let port = &service.endpoint_spec.unwrap().ports.unwrap()[0];
        assert_eq!(port.published_port, None, "a fixed port would be held by the old task");
        assert_eq!(service.task_template.unwrap().placement.unwrap().max_replicas, Some(4));
    }
}
