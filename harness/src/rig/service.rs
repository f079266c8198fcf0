//! Parts of Swarm service specs, in few words: the Docker API's own are many
//! (<https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Service>). Pure.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    EndpointPortConfig, EndpointPortConfigProtocolEnum, EndpointPortConfigPublishModeEnum, EndpointSpec,
    EndpointSpecModeEnum, Mount, MountTmpfsOptions, MountType, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated,
    ServiceSpecUpdateConfig, ServiceSpecUpdateConfigFailureActionEnum, ServiceSpecUpdateConfigOrderEnum, TaskSpec,
    TaskSpecContainerSpec, TaskSpecContainerSpecConfigs, TaskSpecContainerSpecFile, TaskSpecContainerSpecFile1,
    TaskSpecContainerSpecSecrets, TaskSpecPlacement, TaskSpecRestartPolicy, TaskSpecRestartPolicyConditionEnum,
};

/// A read-only file system needs some place to write.
const SCRATCH_BYTES: i64 = 64 << 20;
const RESTART_DELAY: Duration = Duration::from_millis(500);
/// How long Swarm watches a new task before it calls an update good.
const MONITOR: Duration = Duration::from_secs(1);
/// The share of new tasks that may fail before Swarm takes an update back: one of six. A task may fail to start for
/// reasons of its node, and is started again; a bad release fails everywhere.
const FAILURES_MAX: f64 = 0.3;

/// A replicated service whose tasks are always started again, updated all at once, and taken back if that fails.
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) labels: HashMap<String, String>,
    pub(super) replicas: u16,
    pub(super) container: TaskSpecContainerSpec,
    pub(super) placement: TaskSpecPlacement,
    /// Whether a new task is started before or after its old one is stopped.
    pub(super) order: ServiceSpecUpdateConfigOrderEnum,
    pub(super) port: EndpointPortConfig,
}

impl Service {
    pub(super) fn spec(self) -> ServiceSpec {
        ServiceSpec {
            name: Some(self.name.to_owned()),
            labels: Some(self.labels),
            mode: Some(ServiceSpecMode {
                replicated: Some(ServiceSpecModeReplicated { replicas: Some(i64::from(self.replicas)) }),
                ..ServiceSpecMode::default()
            }),
            task_template: Some(TaskSpec {
                container_spec: Some(self.container),
                placement: Some(self.placement),
                restart_policy: Some(TaskSpecRestartPolicy {
                    condition: Some(TaskSpecRestartPolicyConditionEnum::ANY),
                    delay: Some(nanoseconds(RESTART_DELAY)),
                    ..TaskSpecRestartPolicy::default()
                }),
                ..TaskSpec::default()
            }),
            update_config: Some(ServiceSpecUpdateConfig {
                parallelism: Some(0),
                delay: Some(0),
                monitor: Some(nanoseconds(MONITOR)),
                failure_action: Some(ServiceSpecUpdateConfigFailureActionEnum::ROLLBACK),
                max_failure_ratio: Some(FAILURES_MAX),
                order: Some(self.order),
            }),
            endpoint_spec: Some(EndpointSpec { mode: Some(EndpointSpecModeEnum::DNSRR), ports: Some(vec![self.port]) }),
            ..ServiceSpec::default()
        }
    }
}

/// The secret `name` as the file `/run/secrets/FILE`, readable by `user` alone.
pub(super) fn secret(id: Option<&String>, name: String, file: &str, user: u32) -> TaskSpecContainerSpecSecrets {
    TaskSpecContainerSpecSecrets {
        secret_id: id.cloned(),
        secret_name: Some(name),
        file: Some(TaskSpecContainerSpecFile {
            name: Some(file.to_owned()),
            uid: Some(user.to_string()),
            gid: Some(user.to_string()),
            mode: Some(0o400),
        }),
    }
}

/// The config `name` as the file at `path`, readable by all.
pub(super) fn config(id: Option<&String>, name: String, path: &str) -> TaskSpecContainerSpecConfigs {
    TaskSpecContainerSpecConfigs {
        config_id: id.cloned(),
        config_name: Some(name),
        file: Some(TaskSpecContainerSpecFile1 {
            name: Some(path.to_owned()),
            uid: Some("0".to_owned()),
            gid: Some("0".to_owned()),
            mode: Some(0o444),
        }),
        ..TaskSpecContainerSpecConfigs::default()
    }
}

/// A port on the task's own node: `published`, or a free one that Swarm chooses.
pub(super) fn port(target: u16, published: Option<u16>) -> EndpointPortConfig {
    EndpointPortConfig {
        protocol: Some(EndpointPortConfigProtocolEnum::TCP),
        target_port: Some(i64::from(target)),
        published_port: published.map(i64::from),
        publish_mode: Some(EndpointPortConfigPublishModeEnum::HOST),
        ..EndpointPortConfig::default()
    }
}

/// A path of the node in the container.
pub(super) fn bind(source: &str, target: &str) -> Mount {
    Mount {
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        typ: Some(MountType::BIND),
        ..Mount::default()
    }
}

/// A folder in memory.
pub(super) fn scratch(target: &str) -> Mount {
    Mount {
        target: Some(target.to_owned()),
        typ: Some(MountType::TMPFS),
        tmpfs_options: Some(MountTmpfsOptions {
            size_bytes: Some(SCRATCH_BYTES),
            mode: Some(0o1777),
            ..MountTmpfsOptions::default()
        }),
        ..Mount::default()
    }
}

pub(super) fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
