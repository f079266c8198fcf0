//! PID 1 of a container, scripted in Luau: starts processes, watches, schedules and stops them, and collects what ends.
//!
//! One thread does everything. A signal, a line of a child and a timer are all events of one loop, and the script's
//! coroutines run between them; so a process can't end unseen, and a signal can't hit the wrong one.

mod arguments;
mod children;
mod host;
mod lines;
mod output;
mod probe;
mod script;
mod signals;
mod spawn;
mod stop;
mod stream;
mod supervisor;
mod sys;
mod user;
mod wait;

use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use arguments::{Asked, Invocation};
use script::Main;
use signals::Signals;
use supervisor::{Reason, Supervisor};
use tokio::task::LocalSet;

/// How long a script may take to come to its end once its last child has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long the last lines may take to be read.
const LAST_LINES: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let invocation = match arguments::parse(std::env::args_os().collect()) {
        Asked::Run(invocation) => invocation,
        Asked::Usage => return print(&arguments::usage("moonswarm-init")),
        Asked::Version => return print(concat!("moonswarm-init ", env!("CARGO_PKG_VERSION"), "\n")),
    };
    match run(invocation) {
        // What does not fit is no exit code: the kernel would cut it to one that means something else.
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(err) => {
            complain(&format!("moonswarm-init: start: {err}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run(invocation: Invocation) -> io::Result<i32> {
    // Before all else: from here on no signal is lost.
    let signals = Signals::block()?;
    if std::process::id() != 1 {
        // The first process of a container adopts orphans anyway.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = LocalSet::new().block_on(&runtime, supervise(invocation, signals));
    // Nothing that is left may hold up the end.
    runtime.shutdown_background();
    code
}

async fn supervise(invocation: Invocation, signals: Signals) -> io::Result<i32> {
    let supervisor = Rc::new(Supervisor::new());
    let signals = signals.listen()?;
    for output in [&supervisor.stdout, &supervisor.stderr] {
        let output = Rc::clone(output);
        tokio::task::spawn_local(async move { output.pump().await });
    }
    let code = match script::load(&supervisor, &invocation) {
        Ok(script) => {
            let main = script.start();
            let (watcher, caller) = (Rc::clone(&supervisor), script.clone());
            tokio::task::spawn_local(async move {
                // Whoever became this process may have had children that ended before.
                watcher.children.reap();
                watcher.follow(signals, |signal, handler| caller.call_handler(signal, handler)).await;
            });
            conduct(&supervisor, &script, main).await
        }
        Err(err) => {
            supervisor.tell(&script::message(&err));
            1
        }
    };
    supervisor.stdout.flush(LAST_LINES).await;
    supervisor.stderr.flush(LAST_LINES).await;
    Ok(code)
}

/// From the begin of the script to the end of everything; the exit code.
async fn conduct(supervisor: &Rc<Supervisor>, script: &script::Script, mut main: Main) -> i32 {
    tokio::select! {
        () = main.ended() => supervisor.stop(Reason::ScriptEnded),
        _ = supervisor.told_to_stop() => {}
    }
    let reason = supervisor.told_to_stop().await;
    let signal = if let Reason::Signal(signal) = reason { signal } else { libc::SIGTERM };
    tokio::join!(script.stop_services(), stop::children(supervisor, signal));
    stop::orphans(supervisor).await;

    // All that the script can still wait for is there: it says its last words, unless it waits for something else.
    let last_words = async {
        while main.waits_for_child() {
            tokio::task::yield_now().await;
        }
    };
    if reason != Reason::ScriptEnded {
        let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    }
    match (reason, main.result()) {
        (Reason::Exit(code), _) | (_, Some(code)) => code,
        (Reason::Signal(signal), None) => 128 + signal,
        (Reason::ScriptEnded, None) => 1,
    }
}

fn print(text: &str) -> ExitCode {
    match nix::unistd::write(io::stdout(), text.as_bytes()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(text: &str) {
    // Nobody is left to tell if this fails.
    let _ = nix::unistd::write(io::stderr(), text.as_bytes());
}
