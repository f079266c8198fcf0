//! Puts the parts together, starts them, and takes them down in order.

use std::sync::Arc;
use std::time::Duration;

use contract::Token;
use sandbox::Limits;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::bucket::Bucket;
use crate::cloud::{self, CloudError};
use crate::context::{Context, Sight};
use crate::feed::registry::Registry;
use crate::feed::service::FeedService;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::refusals::Refusals;
use crate::releaser::{Releaser, Tools};
use crate::rolling::Rolling;
use crate::settings::Settings;
use crate::swarm::{Swarm, SwarmError};
use crate::writing::Writing;
use crate::{activation, notifications, reconcile, serve};
use telemetry::chain;

/// For changes that are under way when the manager stops.
const CHANGES_DRAIN: Duration = Duration::from_secs(5);
/// For all connections to end.
const DRAIN: Duration = Duration::from_secs(8);
/// For background tasks after that.
const SETTLE: Duration = Duration::from_secs(3);
const BOOT_BACKOFF_MIN: Duration = Duration::from_millis(100);
const BOOT_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The gate compiles on pool threads, and compilers recurse.
const THREAD_STACK_BYTES: usize = 8 << 20;

/// Why the manager did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No threads.
    #[error("start the manager's threads")]
    Runtime(#[source] std::io::Error),
    /// The sandbox has no watchdog.
    #[error("start the sandbox of the gate")]
    Gate(#[source] std::io::Error),
    /// A client could not be made.
    #[error("set up the clients of the cloud")]
    Cloud(#[from] CloudError),
    /// The Docker engine can't be spoken to.
    #[error("set up rolling activation")]
    Swarm(#[from] SwarmError),
    /// The port is taken, or not ours.
    #[error("listen on {address}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system says.
        #[source]
        err: std::io::Error,
    },
    /// Signals can't be heard.
    #[error("listen for signals")]
    Signals(#[source] std::io::Error),
}

/// Runs the manager on a runtime of its own until it is told to stop.
///
/// It is here and not in `main`, and not `async`, so that the compiler generates the code of all that it awaits once, in
/// this library: in the program it would do so a second time, which took longer than the library itself.
///
/// # Errors
/// [`RunError`], only at the start.
pub fn run(settings: Settings) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(THREAD_STACK_BYTES)
        .build()
        .map_err(RunError::Runtime)?;
    let result = runtime.block_on(serve_until_stopped(settings));
    // A compilation that still runs must not hold the program back.
    runtime.shutdown_background();
    result
}

async fn serve_until_stopped(settings: Settings) -> Result<(), RunError> {
    let stop = stop_on_signals(settings.lifeline)?;
    let metrics = Arc::new(Metrics::default());
    let bucket = Arc::new(cloud::bucket(&settings.bucket, &settings.endpoints, Arc::clone(&metrics)).await?);
    let subscriber = cloud::subscriber(&settings.endpoints).await?;
    let rolling = match &settings.docker {
        None => None,
        Some(docker) => {
            let swarm = Swarm::connect(&docker.url, docker.service.as_deref(), &settings.stack)?;
            Some(Arc::new(swarm) as Arc<dyn Rolling>)
        }
    };
    let listener =
        TcpListener::bind(settings.listen).await.map_err(|err| RunError::Listen { address: settings.listen, err })?;

    let plan = Setup {
        stack: settings.stack,
        key: settings.key,
        bucket,
        gate: Gate::start(Limits::default()).map_err(RunError::Gate)?,
        rolling,
        metrics,
        token: settings.token,
        feed_token: settings.feed_token,
        reconcile: settings.reconcile,
        prepare_deadline: settings.prepare_deadline,
        lost_after: settings.lost_after,
    };
    let manager = Manager::start(plan, listener, stop.clone()).await;
    let (context, repaired, subscription) =
        (Arc::clone(&manager.context), Arc::clone(&manager.repaired), settings.subscription);
    manager.tasks.spawn(notifications::run(context, subscriber, subscription, repaired, manager.settle.clone()));
    manager.ended().await;
    Ok(())
}

/// What a manager is made of.
pub struct Setup {
    /// The installation.
    pub stack: String,
    /// Signs releases.
    pub key: contract::release::SigningKey,
    /// The truth.
    pub bucket: Arc<dyn Bucket>,
    /// Judges sources.
    pub gate: Gate,
    /// A Swarm, if there is one.
    pub rolling: Option<Arc<dyn Rolling>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// For the API.
    pub token: Option<Token>,
    /// For the feed.
    pub feed_token: Option<Token>,
    /// Between two looks at the bucket.
    pub reconcile: Duration,
    /// For executors to prepare.
    pub prepare_deadline: Duration,
    /// For lost executors to count.
    pub lost_after: Duration,
}

/// A running manager, without its notifications.
pub struct Manager {
    /// What its parts share.
    pub context: Arc<Context>,
    /// Tell it to look at the whole bucket now.
    pub repaired: Arc<Notify>,
    /// Background tasks.
    pub tasks: TaskTracker,
    /// Cancelled when background tasks are to end.
    pub settle: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

impl Manager {
    /// Reads the pointer, or goes on trying to, and serves on `listener` until `stop`.
    pub async fn start(setup: Setup, listener: TcpListener, stop: CancellationToken) -> Self {
        let registry = Arc::new(Registry::new(setup.lost_after));
        let refusals = Arc::new(Refusals::default());
        let gate = setup.gate;
        let (releaser, lane, current) = Releaser::new(Tools {
            stack: setup.stack.clone(),
            key: setup.key,
            bucket: Arc::clone(&setup.bucket),
            registry: Arc::clone(&registry),
            refusals: Arc::clone(&refusals),
            metrics: Arc::clone(&setup.metrics),
            rolling: setup.rolling.clone(),
            prepare_deadline: setup.prepare_deadline,
            source_bytes_max: gate.source_bytes_max(),
        });
        let context = Arc::new(Context {
            stack: setup.stack,
            bucket: setup.bucket,
            gate,
            registry: Arc::clone(&registry),
            lane,
            current: current.clone(),
            refusals,
            writing: Writing::default(),
            metrics: Arc::clone(&setup.metrics),
            rolling: setup.rolling,
            bucket_health: Sight::new("the bucket was not reached yet"),
            notification_health: Sight::new("notifications are not followed yet"),
        });
        let (settle, repaired, tasks) = (CancellationToken::new(), Arc::new(Notify::new()), TaskTracker::new());
        tasks.spawn(activation::record(Arc::clone(&registry), setup.metrics, current.clone()));
        let booted = start_lane(&context, releaser, &tasks, settle.clone()).await;
        tasks.spawn(start_reconcile(
            Arc::clone(&context),
            booted,
            setup.reconcile,
            Arc::clone(&repaired),
            settle.clone(),
        ));

        let feed = FeedService::new(Arc::clone(&registry), setup.feed_token);
        let api = Api::new(Arc::clone(&context), setup.token, stop.clone());
        let routes = serve::routes(api.clone().routes(), feed);
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "listening");
        }
        let server = tokio::spawn(drain(listener, routes, api, registry, stop));
        Self { context, repaired, tasks, settle, server }
    }

    /// Waits until the manager was told to stop and has stopped.
    pub async fn ended(self) {
        if let Err(err) = self.server.await {
            tracing::error!(%err, "the server ended badly");
        }
        self.settle.cancel();
        self.tasks.close();
        drop(self.context);
        if tokio::time::timeout(SETTLE, self.tasks.wait()).await.is_err() {
            tracing::warn!("background tasks did not end in time");
        }
        tracing::info!("stopped");
    }
}

/// Serves. When it is told to stop, changes under way get their time, then the feed ends, then connections do.
async fn drain(
    listener: TcpListener,
    routes: axum::Router,
    api: Api,
    registry: Arc<Registry>,
    stop: CancellationToken,
) {
    let feed = async {
        stop.cancelled().await;
        tracing::info!("stopping");
        if tokio::time::timeout(CHANGES_DRAIN, api.idle()).await.is_err() {
            tracing::warn!("changes that wait for executors are cut");
        }
        // Executors connect to another manager, or to the next one here.
        registry.close();
    };
    tokio::join!(serve::serve(listener, routes, stop.clone(), DRAIN), feed);
}

/// Reads the pointer once before anybody is served, so that a manager that listens is ready if the bucket is there. If
/// it is not, the lane goes on trying.
async fn start_lane(
    context: &Arc<Context>,
    mut releaser: Releaser,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> watch::Receiver<bool> {
    let (booted, view) = watch::channel(false);
    let mut boot = try_boot(context, &mut releaser).await;
    let context = Arc::clone(context);
    tasks.spawn(async move {
        let mut backoff = BOOT_BACKOFF_MIN;
        while !boot {
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = stop.cancelled() => return,
            }
            backoff = (backoff * 2).min(BOOT_BACKOFF_MAX);
            boot = try_boot(&context, &mut releaser).await;
        }
        drop(context);
        booted.send_replace(true);
        releaser.run(stop).await;
    });
    view
}

async fn try_boot(context: &Context, releaser: &mut Releaser) -> bool {
    match releaser.boot().await {
        Ok(()) => {
            context.bucket_health.good("read the release pointer");
            true
        }
        Err(err) => {
            context.bucket_health.bad(chain(&err));
            if err.is_transient() {
                tracing::warn!(err = chain(&err), "not ready: the release pointer can't be read yet");
            } else {
                tracing::error!(err = chain(&err), "not ready: the release pointer can't be taken");
            }
            false
        }
    }
}

async fn start_reconcile(
    context: Arc<Context>,
    mut booted: watch::Receiver<bool>,
    period: Duration,
    wanted: Arc<Notify>,
    stop: CancellationToken,
) {
    tokio::select! {
        result = booted.wait_for(|booted| *booted) => if result.is_err() { return },
        () = stop.cancelled() => return,
    }
    reconcile::run(context, period, wanted, stop).await;
}

/// Cancelled by SIGTERM, SIGINT and, if wanted, by the end of standard input.
fn stop_on_signals(lifeline: bool) -> Result<CancellationToken, RunError> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signal = signal(kind).map_err(RunError::Signals)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signal.recv().await;
            stop.cancel();
        });
    }
    if lifeline {
        let stop = stop.clone();
        // A thread of its own: reading standard input can't be interrupted, and must not hold the program back.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            stop.cancel();
        });
    }
    Ok(stop)
}
