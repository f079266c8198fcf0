//! The local cloud: Cloud Storage and Pub/Sub in this process, on one port, strict where Google is strict.
//!
//! The official clients and `gcloud` work against it (`gsutil` insists on TLS): Storage by JSON (uploads, downloads,
//! notification configurations) and gRPC (`google.storage.v2`), Pub/Sub by gRPC and REST. Everything is in memory and gone
//! with the process. Objects' changes become notifications as Google documents them. There is no authentication: clients
//! come anonymously.
//!
//! Not here: soft delete (objects go at once), gzip transcoding, lifecycle rules, IAM on buckets, exactly-once and push
//! subscriptions, snapshots. What is not here answers 501 or UNIMPLEMENTED. [`Faults`] makes bad weather.

mod compute;
mod faults;
#[allow(clippy::pedantic, clippy::nursery, reason = "generated code")]
mod generated;
mod iam;
mod metadata;
mod parameters;
mod pubsub;
mod secrets;
mod server;
mod service;
mod storage;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::faults::FaultPlan;

pub use self::compute::{
    Compute, ComputeError, DiskSpec, MachineSpec, Machines, NetworkSpec, OperationError, PaperMachines, Work,
};
pub use self::faults::{CallFault, FailWhen, FaultCounts, Faults, OperationFault, StorageFault, StorageVerb};
pub use self::iam::Iam;
pub use self::pubsub::{PubSub, PubSubError, SubscriptionStats};
pub use self::secrets::Secrets;
pub use self::storage::{EventType, ListedObject, NameError, Storage, StorageError, StoredObject};

/// Every project of the local cloud has this number.
const PROJECT_NUMBER: &str = "100000000000";

/// Seconds that the manager has to acknowledge a notification.
const ACK_DEADLINE_SECONDS: i32 = 60;

/// Why the local cloud does not start, or has not what it should.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// The address is taken, or not of this machine.
    #[error("listen on {address} for the local cloud")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The bucket or its notifications can't be made.
    #[error("set up the bucket `{bucket}` in the local cloud")]
    Bucket {
        /// Its name.
        bucket: String,
        /// Why not.
        #[source]
        source: StorageError,
    },
    /// The topic or the subscription can't be made.
    #[error("set up `{resource}` in the local cloud")]
    PubSub {
        /// Full name.
        resource: String,
        /// Why not.
        #[source]
        source: PubSubError,
    },
}

/// What one stack needs of the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackResources {
    /// Id of the project that owns the bucket.
    pub project: String,
    /// Name of the bucket; it is versioned.
    pub bucket: String,
    /// Full name, `projects/P/topics/T`.
    pub topic: String,
    /// Full name, `projects/P/subscriptions/S`.
    pub subscription: String,
}

/// A running local cloud. Dropping it pulls the plug.
#[derive(Debug)]
pub struct LocalCloud {
    address: SocketAddr,
    url: String,
    storage: Storage,
    pubsub: PubSub,
    compute: Compute,
    iam: Iam,
    secrets: Secrets,
    faults: Faults,
    server: JoinHandle<()>,
}

impl LocalCloud {
    /// Starts listening; port 0 takes a free one. `public_url` is what clients can reach if that is not the address itself;
    /// links and upload sessions point there.
    ///
    /// # Errors
    /// The address can't be listened on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn start(listen: SocketAddr, public_url: Option<String>) -> Result<Self, CloudError> {
        Self::start_with(listen, public_url, Arc::new(PaperMachines::default())).await
    }

    /// As [`Self::start`], with a machine room in which instances really boot.
    ///
    /// # Errors
    /// The address can't be listened on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn start_with(
        listen: SocketAddr,
        public_url: Option<String>,
        machines: Arc<dyn Machines>,
    ) -> Result<Self, CloudError> {
        let failed = |source| CloudError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let url = public_url.unwrap_or_else(|| format!("http://{}", reachable(address)));
        let url = url.trim_end_matches('/').to_owned();

        let plan = Arc::new(FaultPlan::new());
        let iam = Iam::default();
        let pubsub = PubSub::new(iam.clone(), Arc::clone(&plan));
        let storage = Storage::new(url.clone(), pubsub.clone(), iam.clone(), Arc::clone(&plan));
        let compute = Compute::new(machines, address.port(), Arc::clone(&plan));
        let faults = Faults::new(Arc::clone(&plan), pubsub.clone());
        let secrets = Secrets::new(iam.clone());
        let services = Services {
            storage: storage.clone(),
            pubsub: pubsub.clone(),
            compute: compute.clone(),
            iam: iam.clone(),
            secrets: secrets.clone(),
            plan,
        };
        let router = server::router(services);
        let server = tokio::spawn(server::serve(listener, router));
        tracing::info!(%address, url, "the local cloud is up");
        Ok(Self { address, url, storage, pubsub, compute, iam, secrets, faults, server })
    }

    /// Makes what a stack needs and is not there yet: a versioned bucket, a topic, a subscription with a lease of 60 s, and
    /// notifications about objects that are written, deleted or archived.
    ///
    /// # Errors
    /// A name is against Google's rules.
    pub fn set_up(&self, stack: &StackResources) -> Result<(), CloudError> {
        let bucket = |source| CloudError::Bucket { bucket: stack.bucket.clone(), source };
        let made = self.storage.create_bucket(&stack.project, &stack.bucket, true);
        unless(made, |error| matches!(error, StorageError::BucketExists { .. })).map_err(bucket)?;

        let exists = |error: &PubSubError| matches!(error, PubSubError::Exists { .. });
        let made = self.pubsub.create_topic(&stack.topic);
        let failed = |source| CloudError::PubSub { resource: stack.topic.clone(), source };
        unless(made, exists).map_err(failed)?;
        let made = self.pubsub.create_subscription(&stack.subscription, &stack.topic, ACK_DEADLINE_SECONDS);
        let failed = |source| CloudError::PubSub { resource: stack.subscription.clone(), source };
        unless(made, exists).map_err(failed)?;

        let events = [EventType::Finalize, EventType::Delete, EventType::Archive];
        self.storage.notify(&stack.bucket, &stack.topic, &events).map_err(bucket)
    }

    /// Where clients reach it, for example `http://127.0.0.1:4443`; no slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address it listens on, with the port it got.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The test's own hand on the buckets.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The test's own hand on topics and subscriptions.
    pub fn pubsub(&self) -> &PubSub {
        &self.pubsub
    }

    /// The test's own hand on machines and networks.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// The test's own hand on policies: whether and when they hold.
    pub fn iam(&self) -> &Iam {
        &self.iam
    }

    /// The test's own eye on secrets.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Bad weather on demand.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Ends all connections and frees the port; both are done when this returns.
    pub async fn shutdown(mut self) {
        self.server.abort();
        // It was told to end; that it did is all there is to know.
        let _ = (&mut self.server).await;
    }
}

impl Drop for LocalCloud {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// All that answers on the port.
#[derive(Debug, Clone)]
struct Services {
    storage: Storage,
    pubsub: PubSub,
    compute: Compute,
    iam: Iam,
    secrets: Secrets,
    plan: Arc<FaultPlan>,
}

/// RFC 3339 with milliseconds, for example `2026-01-31T23:59:59.125Z`.
fn time_text(time: SystemTime) -> String {
    let mut timestamp = prost_types::Timestamp::from(time);
    timestamp.nanos -= timestamp.nanos % 1_000_000;
    let text = timestamp.to_string();
    // A whole second has no fraction in the protobuf form; Google writes one always.
    if text.contains('.') { text } else { text.replace('Z', ".000Z") }
}

/// An unspecified address is no place to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => address,
    }
}

fn unless<E>(made: Result<(), E>, harmless: impl FnOnce(&E) -> bool) -> Result<(), E> {
    match made {
        Err(error) if harmless(&error) => Ok(()),
        other => other,
    }
}
