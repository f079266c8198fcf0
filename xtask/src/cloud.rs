//! `cargo xtask cloud`: the local cloud by itself until Ctrl-C.

use anyhow::{Context, Result};
use harness::local::{Local, LocalOptions, environment};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::CloudOptions;
use crate::shell;

pub(crate) fn run(options: &CloudOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: &CloudOptions) -> Result<()> {
    // Listened for from here on, so that Ctrl-C during the start also ends what was started.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let target = shell::root().join("target");
    let start = LocalOptions {
        port: options.port,
        machines: !options.paper,
        reports: target.join("cloud"),
        cache: target.join("e2e-cache"),
    };
    let local = tokio::select! {
        local = Local::start(&start) => local.context(
            "start the local cloud; without Docker `--paper` keeps instances on paper, and `--port` chooses another port",
        )?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    println!("{}", welcome(local.cloud.url(), &options.project, !options.paper));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("stopping");
    local.stop().await
}

/// Can be given to `eval`: what is no setting is a comment.
fn welcome(url: &str, project: &str, machines: bool) -> String {
    let machines = if machines { "boot as nodes on this computer" } else { "are on paper" };
    let settings: Vec<String> =
        environment(url, project).into_iter().map(|(name, value)| format!("export {name}={value}")).collect();
    format!(
        "# The local cloud is up at {url}; instances {machines}. Ctrl-C ends it and removes what it made.\n\
         # Faults: curl {url}/control/faults -d '{{\"operations_last_ms\": 2000}}'; machines: curl {url}/control/instances\n\
         # gcloud, gsutil and Google's libraries find it with these:\n{}",
        settings.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_welcome_is_a_shell_script() {
        let welcome = welcome("http://127.0.0.1:4443", "dev", false);

        assert!(welcome.lines().all(|line| line.starts_with("# ") || line.starts_with("export ")), "{welcome}");
    }
}
