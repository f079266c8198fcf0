//! Removes what a run made, whatever became of the run.
//!
//! [`Reaper::arm`] starts this very program a second time, in a session of its own, with a pipe to the first. The pipe
//! ends when the first process ends: by success, failure, panic, Ctrl-C or `kill -9`. Then the second one removes
//! everything that carries the run's label, and ends. [`janitor`] does the same for runs whose reaper was killed too.
//!
//! To remove is idempotent, so reaper, janitor and an orderly tear-down may meet.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bollard::Docker;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptions,
};
use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::engine::{Engine, connect};
use super::run::{OWNER_LABEL, Owner, RUN_LABEL, Run, RunId, runs_with_sockets};

/// The hidden sub-command that a program must offer to arm a reaper: `e2e-reaper --run ID`. It calls [`main_loop`].
pub const COMMAND: &str = "e2e-reaper";
/// What the second process says when it has left its parent's session.
const ARMED: &str = "armed";
/// Starting a process takes milliseconds.
const ARM_WITHIN: Duration = Duration::from_secs(10);
/// Removing three nodes takes a second; a machine out of memory takes longer.
const REAP_WITHIN: Duration = Duration::from_secs(60);
/// Between two attempts while the engine says "removal in progress".
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// An armed reaper. Dropped, it does its work in the background; [`Self::disarm`] waits for it.
#[derive(Debug)]
pub struct Reaper {
    process: Child,
    lifeline: ChildStdin,
    run: RunId,
}

impl Reaper {
    /// Starts this program again as `PROGRAM e2e-reaper --run ID` and waits until it stands on its own. Arm before
    /// anything is started.
    ///
    /// # Errors
    /// The program can't be started or has no such sub-command.
    pub async fn arm(run: &Run) -> Result<Self> {
        let program = std::env::current_exe().context("find the path of this program")?;
        let mut command = Command::new(&program);
        command.args([COMMAND, "--run", run.id().as_str()]);
        Self::arm_with(command, run).await
    }

    async fn arm_with(mut command: Command, run: &Run) -> Result<Self> {
        // Not our stderr: who reads that to its end, as `xtask e2e | tee`, should not have to wait for the reaper.
        let log = fs_err::File::create(run.logs().join("reaper.log"))?.into_parts().0;
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start the reaper: {:?}", command.as_std()))?;
        let lifeline = process.stdin.take().context("open a pipe to the reaper")?;
        let mut said = String::new();
        let mut stdout = BufReader::new(process.stdout.take().context("open a pipe from the reaper")?);
        let read = tokio::time::timeout(ARM_WITHIN, stdout.read_line(&mut said)).await;
        if !matches!(read, Ok(Ok(_))) || said.trim() != ARMED {
            bail!(
                "the reaper does not stand after {ARM_WITHIN:?}; it said {said:?}, see {}",
                run.logs().join("reaper.log").display()
            );
        }
        Ok(Self { process, lifeline, run: run.id().clone() })
    }

    /// Lets the reaper do its work, which after a tear-down is to find nothing, and waits until it has ended.
    ///
    /// # Errors
    /// It could not remove everything in time: the error says how to.
    pub async fn disarm(self) -> Result<()> {
        let Self { mut process, lifeline, run } = self;
        drop(lifeline);
        let ended = tokio::time::timeout(REAP_WITHIN + ARM_WITHIN, process.wait()).await;
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            other => bail!(
                "the reaper of run {run} did not end well ({other:?}): remove what is left with \
                 `docker ps -aq --filter label={RUN_LABEL}={run} | xargs docker rm -fv`"
            ),
        }
    }
}

/// The life of the second process: leave the parent's session, wait until `lifeline` ends, remove the run's things.
///
/// # Errors
/// Something could not be removed in time.
pub async fn main_loop(run: &RunId, mut lifeline: impl Read + Send + 'static) -> Result<()> {
    // Out of reach of Ctrl-C and of a closing terminal. Fails if it leads a group of its own: then it is out of reach too.
    let _ = rustix::process::setsid();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{ARMED}").and_then(|()| stdout.flush()).context("tell the parent that the reaper stands")?;

    // Whether the pipe ends or breaks: the parent is gone.
    let wait = move || std::io::copy(&mut lifeline, &mut std::io::sink());
    let _ = tokio::task::spawn_blocking(wait).await.context("wait for the parent's end")?;
    reap(&connect().await?, run).await
}

/// Removes the containers with their volumes, the disks, the networks and the sockets of a run; nothing is left when this returns well.
///
/// # Errors
/// Something is still there after a minute; the error tells the engine's reason.
pub async fn reap(docker: &Docker, run: &RunId) -> Result<()> {
    let start = Instant::now();
    loop {
        let left = match remove_once(docker, run).await {
            Ok(()) => break,
            Err(left) => left,
        };
        if start.elapsed() > REAP_WITHIN {
            return Err(left).with_context(|| format!("remove what run {run} left, within {REAP_WITHIN:?}"));
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
    let sockets = run.sockets();
    if sockets.exists() {
        fs_err::remove_dir_all(sockets)?;
    }
    Ok(())
}

/// Removes what earlier runs left whose process and reaper are both gone; tells whose.
///
/// # Errors
/// The engine does not answer, or something can't be removed.
pub async fn janitor(engine: &Engine) -> Result<Vec<RunId>> {
    let docker = engine.docker();
    let all = HashMap::from([("label".to_owned(), vec![RUN_LABEL.to_owned()])]);
    let containers = ListContainersOptionsBuilder::default().all(true).filters(&all).build();
    let containers = docker.list_containers(Some(containers)).await.context("list containers of earlier runs")?;
    let networks = ListNetworksOptionsBuilder::default().filters(&all).build();
    let networks = docker.list_networks(Some(networks)).await.context("list networks of earlier runs")?;

    let labels = containers.into_iter().filter_map(|container| container.labels);
    let labels = labels.chain(networks.into_iter().filter_map(|network| network.labels));
    let mut owners: BTreeMap<RunId, Owner> = labels.filter_map(|labels| owner(&labels)).collect();
    owners.extend(runs_with_sockets());

    let gone: Vec<RunId> = owners.into_iter().filter(|(_, owner)| owner.is_gone()).map(|(run, _)| run).collect();
    for run in &gone {
        reap(docker, run).await?;
    }
    Ok(gone)
}

fn owner(labels: &HashMap<String, String>) -> Option<(RunId, Owner)> {
    Some((labels.get(RUN_LABEL)?.parse().ok()?, labels.get(OWNER_LABEL)?.parse().ok()?))
}

/// One attempt. Well only if nothing was left to remove or all of it went.
async fn remove_once(docker: &Docker, run: &RunId) -> Result<()> {
    let mine = HashMap::from([("label".to_owned(), vec![format!("{RUN_LABEL}={run}")])]);
    let containers = ListContainersOptionsBuilder::default().all(true).filters(&mine).build();
    let containers = docker.list_containers(Some(containers)).await.context("list the run's containers")?;
    let removals = containers.into_iter().filter_map(|container| container.id).map(|id| async move {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        gone(docker.remove_container(&id, Some(options)).await).with_context(|| format!("remove container {id}"))
    });
    join_all(removals).await.into_iter().collect::<Result<Vec<()>>>()?;

    let volumes = ListVolumesOptionsBuilder::default().filters(&mine).build();
    let volumes = docker.list_volumes(Some(volumes)).await.context("list the run's volumes")?;
    for name in volumes.volumes.unwrap_or_default().into_iter().map(|volume| volume.name) {
        let removed = docker.remove_volume(&name, None::<RemoveVolumeOptions>).await;
        gone(removed).with_context(|| format!("remove volume {name}"))?;
    }

    let networks = ListNetworksOptionsBuilder::default().filters(&mine).build();
    let networks = docker.list_networks(Some(networks)).await.context("list the run's networks")?;
    for id in networks.into_iter().filter_map(|network| network.id) {
        gone(docker.remove_network(&id).await).with_context(|| format!("remove network {id}"))?;
    }
    Ok(())
}

/// 404 means that somebody else was quicker. 409 "removal in progress" stays an error: only the next look tells its end.
fn gone(removed: Result<(), bollard::errors::Error>) -> Result<(), bollard::errors::Error> {
    match removed {
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> (tempfile::TempDir, Run) {
        let reports = tempfile::tempdir().unwrap();
        let run = Run::begin(reports.path()).unwrap();
        fs_err::remove_dir_all(run.id().sockets()).unwrap();
        (reports, run)
    }

    #[tokio::test]
    async fn a_program_without_the_sub_command_arms_nothing() {
        let (_reports, run) = run();

        let error = Reaper::arm_with(Command::new("false"), &run).await.unwrap_err();

        assert!(error.to_string().contains("does not stand"), "{error}");
    }

    #[tokio::test]
    async fn disarming_ends_the_lifeline_and_waits_for_the_end() {
        let (_reports, run) = run();
        let mut stand_in = Command::new("sh");
        stand_in.args(["-c", "echo armed; cat; echo ended >&2"]);
        let reaper = Reaper::arm_with(stand_in, &run).await.unwrap();

        reaper.disarm().await.unwrap();

        assert_eq!(fs_err::read_to_string(run.logs().join("reaper.log")).unwrap(), "ended\n");
    }

    #[tokio::test]
    async fn a_reaper_that_fails_is_told_with_the_way_out() {
        let (_reports, run) = run();
        let mut stand_in = Command::new("sh");
        stand_in.args(["-c", "echo armed; cat; exit 1"]);
        let reaper = Reaper::arm_with(stand_in, &run).await.unwrap();

        let error = reaper.disarm().await.unwrap_err();

        assert!(error.to_string().contains("docker rm -fv"), "{error}");
    }
}
