//! A thread that does nothing but run jobs of one inbox, and comes back after a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use contract::Code;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::runtime::Builder;

use super::clock::{nanos, now_ns};
use super::common::Common;
use super::entry;
use super::host::words;
use super::inbox::Inbox;
use super::job::fault;

/// How a thread lives.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner {
    /// Its priority as nice(2) counts it: 0 is that of the I/O threads, more is less.
    pub(crate) nice: i32,
    /// Without jobs for this long it closes its inbox and ends.
    pub(crate) idle_max: Option<Duration>,
}

/// Starts a thread that serves `inbox`.
///
/// # Errors
/// The operating system gives no thread.
pub(crate) fn spawn(name: &str, inbox: &Arc<Inbox>, common: &Common, manner: Manner) -> std::io::Result<()> {
    let (thread_name, inbox, common) = (name.to_owned(), Arc::clone(inbox), common.clone());
    thread::Builder::new().name(name.to_owned()).stack_size(crate::STACK_BYTES).spawn(move || {
        if manner.nice != 0
            && let Err(err) = setpriority_process(Some(gettid()), manner.nice)
        {
            tracing::warn!(error = telemetry::chain(&err), "a worker runs at full priority");
        }
        // The next turn has VMs of its own; what waits in the inbox is still there.
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| live(&thread_name, &inbox, &common, manner))) {
            tracing::error!(worker = thread_name, panic = words(&*panic), "a worker panicked; it begins anew");
            common.metrics().count_restart("panic");
            inbox.fail_running(&fault(Code::Internal, "the worker that ran the script failed (panic)"));
        }
    })?;
    Ok(())
}

fn live(name: &str, inbox: &Arc<Inbox>, common: &Common, manner: Manner) {
    let _life = common.lives.begin();
    let host = common.host();
    let replacement = {
        let (name, inbox, common) = (name.to_owned(), Arc::clone(inbox), common.clone());
        move || replace(&name, &inbox, &common, manner)
    };
    let _watching = common.warden.watch(name.to_owned(), host.beat(), replacement);
    let runtime = Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(async {
            entry::serve(&host, inbox, || {
                common.upkeep(name, &host);
                if let Some(idle_max) = manner.idle_max {
                    inbox.close_if_unused(now_ns().saturating_sub(nanos(idle_max)));
                }
            })
            .await;
            common.shut_down(&host).await;
        }),
        Err(err) => {
            tracing::error!(worker = name, error = telemetry::chain(&err), "a worker can't begin");
            inbox.close();
            inbox.fail_waiting(&fault(Code::Internal, "the worker for the script can't begin"));
        }
    }
    common.metrics().board.publish(name, Vec::new());
}

/// Gives up the thread that serves `inbox`, and starts another in its place.
fn replace(name: &str, inbox: &Arc<Inbox>, common: &Common, manner: Manner) {
    inbox.fail_running(&fault(
        Code::DeadlineExceeded,
        "the script could not be stopped at its limits; its worker was given up",
    ));
    if let Err(err) = spawn(name, inbox, common, manner) {
        tracing::error!(worker = name, error = telemetry::chain(&err), "no thread can be had for a worker");
    }
}
