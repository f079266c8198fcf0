//! Puts the parts together: boot, workers, feed; and takes them apart in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use contract::policy::Effective;
use sandbox::{Engine, Limits};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::boot::boot;
use crate::cache::Writer;
use crate::feed::{self, Link};
use crate::life_cycle;
use crate::listen::{self, ListenError, Socket};
use crate::messages;
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::release::{Serving, Trust, Workshop};
use crate::settings::Settings;
use crate::strategy::{self, Annex, Common, Lives, Services, Strategy, Warden};
use crate::worker;

/// What the threads may take above the drain deadline: a script that runs at the deadline ends within its wall limit.
const GRACE: Duration = Duration::from_secs(3);

/// How long listening is held back for the release on disk: about 2,000 scripts of ordinary size.
const BOOT_WAIT: Duration = Duration::from_secs(2);

/// Why an executor does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The operating system gives no thread.
    #[error("start a thread")]
    Thread(#[source] std::io::Error),
    /// Scripts have nowhere to run.
    #[error("start the workers for scripts")]
    Workers(#[from] strategy::process::StartError),
    /// The cache directory can't be used.
    #[error("prepare the cache directory")]
    Cache(#[source] std::io::Error),
}

/// A running executor. Dropping it without [`Executor::drain`] leaves its threads running.
pub struct Executor {
    address: SocketAddr,
    serving: Arc<Serving>,
    drain: Duration,
    strategy: Arc<dyn Strategy>,
    /// Where messages are run, and who tells that no more are.
    messages: Option<(Arc<Annex>, Receiver<()>)>,
    /// Ends the life cycle of scripts that keep nothing, and who tells that it has ended.
    end_of_life: CancellationToken,
    life_done: Receiver<()>,
    /// Workers that may have to end that of others.
    lives: Arc<Lives>,
    sockets: Vec<Arc<Socket>>,
    failing: CancellationToken,
    stop: CancellationToken,
    workers_done: Receiver<()>,
    goodbye: CancellationToken,
    control_done: Receiver<()>,
}

impl Executor {
    /// Loads what is on this machine, listens, and follows the feed. Returns when requests are answered.
    ///
    /// # Errors
    /// [`StartError`]. A missing release is none: it makes `/readyz` say so.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let limits = Limits::default();
        let engine = Engine::start().map_err(StartError::Thread)?;
        let workshop = Workshop { engine: Arc::clone(&engine), limits: limits.clone() };
        let trust = Trust { stack: settings.stack, keys: settings.public_keys, workshop };
        let cache = settings.cache_dir.as_deref().map(Writer::start).transpose().map_err(StartError::Cache)?;
        let serving = Arc::new(Serving::new(Arc::new(Metrics::default()), cache));
        let listeners = listen::bind_all(settings.listen, settings.threads)?;
        let address = listeners[0].local_addr().map_err(StartError::Thread)?;

        let (stop, goodbye) = (CancellationToken::new(), CancellationToken::new());
        let (control_alive, control_done) = mpsc::channel();
        let (booted, boot_done) = mpsc::channel::<()>();
        let link = Link {
            addresses: settings.feed,
            token: settings.feed_token,
            executor: Uuid::now_v7().to_string(),
            node: settings.node,
        };
        let (cache_dir, config) = (settings.cache_dir, settings.release_config);
        let control = {
            let (serving, goodbye) = (Arc::clone(&serving), goodbye.clone());
            move || {
                if let Some(boot) = boot(cache_dir.as_deref(), &config, &trust) {
                    serving.activate(Arc::new(boot.release), boot.source);
                }
                drop(booted);
                feed::follow(link, serving, Arc::new(trust), goodbye);
                drop(control_alive);
            }
        };
        thread::Builder::new()
            .name("control".into())
            .stack_size(crate::STACK_BYTES)
            .spawn(control)
            .map_err(StartError::Thread)?;
        // What is on disk should answer from the first request on; a large release may be late, `/readyz` says so then.
        wait("boot", &boot_done, BOOT_WAIT);

        let warden = Warden::start(Arc::clone(serving.metrics())).map_err(StartError::Thread)?;
        let failing = warden.hopeless();
        let outbound = Outbound::new(settings.outbound, serving.metrics().outbound.clone());
        let services = Services::Own(Arc::new(outbound));
        let lives = Arc::<Lives>::default();
        // A tenant's own limit is for the sandbox to say.
        let input_bytes_max = Effective::caps().input.value.bytes();
        let common =
            Common { serving: Arc::clone(&serving), engine, limits, warden, services, lives: Arc::clone(&lives) };
        let strategy = strategy::start(&settings.strategy, &common)?;
        let messages = match settings.pubsub {
            Some(pubsub) => {
                let annex = Annex::start("messages", settings.threads, Arc::clone(&strategy), common.clone());
                let annex = Arc::new(annex.map_err(StartError::Thread)?);
                let counts = serving.metrics().pubsub.clone();
                let (serving, door) = (Arc::clone(&serving), Arc::clone(&annex));
                let done =
                    messages::follow(pubsub, counts, serving, door, input_bytes_max, settings.drain, stop.clone());
                Some((annex, done.map_err(StartError::Thread)?))
            }
            None => None,
        };
        let end_of_life = CancellationToken::new();
        let life_done =
            life_cycle::follow(Arc::clone(&strategy), common.clone(), settings.threads + 1, end_of_life.clone())
                .map_err(StartError::Thread)?;
        let (done, workers_done) = mpsc::channel();
        let parts = worker::Parts {
            common,
            strategy: Arc::clone(&strategy),
            executions: Arc::default(),
            token: settings.token,
            drills: settings.drills,
            stop: stop.clone(),
            drain: settings.drain,
            done,
        };
        let sockets: Vec<_> = listeners.into_iter().map(|listener| Arc::new(Socket::new(listener))).collect();
        for (index, socket) in sockets.iter().enumerate() {
            worker::spawn(index, Arc::clone(socket), parts.clone()).map_err(StartError::Thread)?;
        }
        tracing::info!(%address, workers = settings.threads, strategy = settings.strategy.as_str(), "listening");
        let drain = settings.drain;
        Ok(Self {
            address,
            serving,
            drain,
            strategy,
            messages,
            end_of_life,
            life_done,
            lives,
            sockets,
            failing,
            stop,
            workers_done,
            goodbye,
            control_done,
        })
    }

    /// Cancelled when the process should be replaced: too many of its threads do not come back from scripts.
    pub fn failing(&self) -> CancellationToken {
        self.failing.clone()
    }

    /// Where HTTP is answered.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends in order: `/readyz` says no, sockets close, running requests end, the manager is told, the disk cache is
    /// written. Every step has its deadline; what does not end in time is logged and left.
    pub fn drain(self) {
        self.serving.begin_drain();
        for socket in &self.sockets {
            socket.close();
        }
        self.stop.cancel();
        wait("workers", &self.workers_done, self.drain + GRACE);
        if let Some((annex, done)) = &self.messages {
            wait("messages", done, self.drain + GRACE);
            annex.close();
        }
        self.end_of_life.cancel();
        wait("life cycle", &self.life_done, GRACE);
        self.strategy.close();
        // Threads that are stuck have nothing to put in order.
        let patience = if self.failing.is_cancelled() { Duration::ZERO } else { GRACE };
        let living = self.lives.wait(patience);
        if living > 0 {
            tracing::warn!(living, "workers for scripts did not end in time; going on without");
        }
        // Only now: until the last answer, managers must count this executor among those that may answer.
        self.goodbye.cancel();
        wait("feed", &self.control_done, GRACE);
        if !self.serving.finish_cache(GRACE) {
            tracing::warn!("the disk cache was not written in time");
        }
    }
}

/// Waits until every sender of `done` is gone.
fn wait(what: &str, done: &Receiver<()>, deadline: Duration) {
    let begun = Instant::now();
    if done.recv_timeout(deadline) == Err(RecvTimeoutError::Timeout) {
        tracing::warn!(what, waited_ms = begun.elapsed().as_millis(), "not done in time; going on without");
    }
}
