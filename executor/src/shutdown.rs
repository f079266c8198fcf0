//! When to end: SIGTERM, SIGINT, or the end of stdin where a parent asked for that.

use std::io::Read;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// The signals that end the program, caught from [`Ending::listen`] on.
pub struct Ending {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    lifeline: Option<oneshot::Receiver<()>>,
}

impl Ending {
    /// Catches signals from now on; with `lifeline` also the end of stdin.
    ///
    /// # Errors
    /// The operating system gives no signal handler or thread.
    pub fn listen(lifeline: bool) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let (terminate, interrupt) = {
            let _context = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let lifeline = lifeline.then(watch_stdin).transpose()?;
        Ok(Self { runtime, terminate, interrupt, lifeline })
    }

    /// Waits until the program should end, also for `failing`; tells why. The one wait without a deadline: it is the
    /// program's life.
    pub fn wait(mut self, failing: impl Future<Output = ()>) -> &'static str {
        let lifeline = async {
            match self.lifeline {
                Some(ended) => drop(ended.await),
                None => std::future::pending().await,
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                () = lifeline => "stdin ended",
                () = failing => "the workers are of no use any more",
            }
        })
    }
}

fn watch_stdin() -> std::io::Result<oneshot::Receiver<()>> {
    let (ended, receiver) = oneshot::channel();
    thread::Builder::new().name("lifeline".into()).spawn(move || {
        let mut buffer = [0; 256];
        // What is written there means nothing; only that it ends, or breaks, does.
        while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
        let _ = ended.send(());
    })?;
    Ok(receiver)
}
