//! The local cloud under clients that others wrote: `gcloud` and Google's Python libraries, and Google's own Pub/Sub
//! emulator under the same client as a reference. What is not installed is skipped, and told.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

use crate::local::{Local, LocalOptions, environment};
use crate::wait::wait_until;

/// The project that the suites name.
const PROJECT: &str = "conformance";
/// `gcloud` starts in seconds, and there are forty calls.
const SUITE_WITHIN: Duration = Duration::from_secs(600);
/// A Java program on a busy machine.
const EMULATOR_WITHIN: Duration = Duration::from_secs(60);

/// A set of calls by one client.
struct Suite {
    name: &'static str,
    script: &'static str,
    needs: Needs,
}

/// What must be installed.
#[derive(Clone, Copy)]
enum Needs {
    /// A program.
    Program(&'static str),
    /// A Python library, by the module that is imported.
    Module(&'static str),
}

const SUITES: [Suite; 5] = [
    Suite { name: "gcloud", script: "gcloud.sh", needs: Needs::Program("gcloud") },
    Suite { name: "google-cloud-compute", script: "compute.py", needs: Needs::Module("google.cloud.compute_v1") },
    Suite { name: "google-cloud-storage", script: "storage.py", needs: Needs::Module("google.cloud.storage") },
    Suite {
        name: "google-cloud-secret-manager",
        script: "secrets.py",
        needs: Needs::Module("google.cloud.secretmanager"),
    },
    Suite { name: "google-cloud-pubsub", script: "pubsub.py", needs: Needs::Module("google.cloud.pubsub_v1") },
];

/// What became of a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as at Google.
    Passed,
    /// A difference; the suite's own words.
    Failed(String),
    /// What is not installed.
    Skipped(String),
}

/// A suite that was run or skipped.
#[derive(Debug, Clone)]
pub struct Conformance {
    /// Name of the client.
    pub suite: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: f64,
}

/// Runs the suites whose name contains `filter`. `python` is the interpreter that has the libraries; `scratch` is a
/// folder for logs and settings.
///
/// # Errors
/// The local cloud can't be started. A suite that fails is in the answer, not here.
pub async fn run(filter: &str, python: &Path, scratch: &Path, told: impl Fn(&Conformance)) -> Result<Vec<Conformance>> {
    fs_err::create_dir_all(scratch)?;
    let options = LocalOptions { port: 0, machines: false, reports: scratch.into(), cache: scratch.into() };
    let local = Local::start(&options).await?;
    let mut results = Vec::new();
    let chosen = SUITES.iter().filter(|suite| suite.name.contains(filter));
    for suite in chosen {
        let start = Instant::now();
        let outcome = outcome(suite, python, scratch, environment(local.cloud.url(), PROJECT), local.cloud.url()).await;
        results.push(conclude(suite.name.to_owned(), outcome, start, &told));
    }
    if "pubsub-emulator".contains(filter) {
        let start = Instant::now();
        let outcome = reference(python, scratch).await.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        results.push(conclude("pubsub-emulator (the same calls at Google's)".to_owned(), outcome, start, &told));
    }
    local.stop().await?;
    Ok(results)
}

fn conclude(suite: String, outcome: Outcome, start: Instant, told: &impl Fn(&Conformance)) -> Conformance {
    let conformance = Conformance { suite, outcome, seconds: start.elapsed().as_secs_f64() };
    told(&conformance);
    conformance
}

type Environment = Vec<(&'static str, String)>;

async fn outcome(suite: &Suite, python: &Path, scratch: &Path, settings: Environment, url: &str) -> Outcome {
    if let Some(missing) = missing(suite.needs, python).await {
        return Outcome::Skipped(missing);
    }
    let script = scripts().join(suite.script);
    let mut command = match suite.needs {
        Needs::Program(_) => Command::new("sh"),
        Needs::Module(_) => Command::new(python),
    };
    command.arg(script).envs(settings).env("CLOUD_URL", url).env("CLOUDSDK_CONFIG", scratch.join("gcloud"));
    finished(command).await
}

async fn finished(mut command: Command) -> Outcome {
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(SUITE_WITHIN, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Outcome::Passed,
        Ok(Ok(output)) => {
            let told = [output.stdout, output.stderr].concat();
            let told = String::from_utf8_lossy(&told);
            let lines: Vec<&str> = told.trim().lines().collect();
            Outcome::Failed(lines[lines.len().saturating_sub(12)..].join("\n"))
        }
        Ok(Err(error)) => Outcome::Failed(format!("it could not be run: {error}")),
        Err(_) => Outcome::Failed(format!("it was not done after {SUITE_WITHIN:?}")),
    }
}

/// What is not installed of that which is needed.
async fn missing(needs: Needs, python: &Path) -> Option<String> {
    let (mut command, name) = match needs {
        Needs::Program(name) => {
            let mut command = Command::new(name);
            command.arg("--version");
            (command, format!("`{name}` is not installed"))
        }
        Needs::Module(name) => {
            let mut command = Command::new(python);
            command.args(["-c", &format!("import {name}")]);
            (command, format!("{} has no module {name} (choose another with `--python`)", python.display()))
        }
    };
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    (!status.is_ok_and(|status| status.success())).then_some(name)
}

/// The Pub/Sub suite against Google's own emulator: what it asks for is what Google does.
async fn reference(python: &Path, scratch: &Path) -> Result<Outcome> {
    if let Some(missing) = missing(Needs::Module("google.cloud.pubsub_v1"), python).await {
        return Ok(Outcome::Skipped(missing));
    }
    let Some(jar) = emulator_jar().await else {
        return Ok(Outcome::Skipped("the package google-cloud-cli-pubsub-emulator is not installed".to_owned()));
    };
    if missing(Needs::Program("java"), python).await.is_some() {
        return Ok(Outcome::Skipped("`java` is not installed".to_owned()));
    }
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?.port();
    let log = fs_err::File::create(scratch.join("pubsub-emulator.log"))?.into_parts().0;
    let mut emulator = Command::new("java");
    emulator.arg("-Xmx256m").arg("-jar").arg(jar).arg("--host=127.0.0.1").arg(format!("--port={port}"));
    let mut emulator = emulator.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn()?;
    until_up(&mut emulator, port).await?;
    let mut command = Command::new(python);
    command.arg(scripts().join("pubsub.py"));
    command.env("CLOUDSDK_CORE_PROJECT", PROJECT).env("PUBSUB_EMULATOR_HOST", format!("127.0.0.1:{port}"));
    let outcome = finished(command).await;
    emulator.kill().await.context("end the emulator")?;
    Ok(outcome)
}

async fn until_up(emulator: &mut Child, port: u16) -> Result<()> {
    wait_until("Google's Pub/Sub emulator listens", EMULATOR_WITHIN, async || {
        let reached = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        reached.map(drop).map_err(|error| error.to_string())
    })
    .await?;
    match emulator.try_wait()? {
        Some(status) => bail!("Google's Pub/Sub emulator ended ({status})"),
        None => Ok(()),
    }
}

/// The emulator's program, wherever `gcloud` has its components.
async fn emulator_jar() -> Option<PathBuf> {
    let mut command = Command::new("gcloud");
    command.args(["info", "--format=value(installation.sdk_root)"]).stdin(Stdio::null());
    let output = command.output().await.ok()?;
    let root = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let library = Path::new(&root).join("platform/pubsub-emulator/lib");
    let files = fs_err::read_dir(library).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.into_iter().find(|file| file.to_string_lossy().ends_with("-all.jar"))
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}
