//! The servers of the comparison as processes: found, started, tried, ended.

mod place;
mod recipe;
mod redis;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::generator::Ask;
use super::machine;
use crate::wait::wait_until;
use place::Place;
pub(super) use recipe::{ALL, Recipe};

/// Threads or processes that every server gets, those of the laptop's executors among them. Redis has one always.
pub(super) const WORKERS: usize = 2;

/// The request of the comparison, and what a right answer is.
pub(super) const ORDER: &str = include_str!("../../../bench/order.json");
const ANSWER: &str = include_str!("../../../bench/answer.json");

/// Text that is in every right answer, whatever order its fields have.
pub(super) const EXPECT: &str = r#""decision":"review""#;

const DEADLINE: Duration = Duration::from_secs(15);

/// A server that is asked.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) address: SocketAddr,
    pub(super) ask: Ask,
    /// Its first process.
    pub(super) process: u32,
    /// Of a peer, which ends with this value.
    _running: Option<Running>,
}

impl Server {
    /// A server that somebody else started.
    pub(super) fn ours(version: String, address: SocketAddr, path: &str, process: u32) -> Self {
        let ask = Ask::Path(path.to_owned());
        Self { name: "moonswarm".into(), version, address, ask, process, _running: None }
    }

    /// Starts a peer and tries it.
    ///
    /// # Errors
    /// It does not come up, or its answer is wrong.
    pub(super) async fn start(recipe: &Recipe, folder: &Path) -> Result<Self> {
        let program = recipe::find(recipe.program).with_context(|| format!("`{}` is not installed", recipe.program))?;
        let place = Place::new(folder)?;
        let command = (recipe.command)(&place, &program)?;
        let mut running = Running::spawn(&command, &place)?;
        running.wait_until_it_listens(&place).await?;
        let address = place.address();
        let ask = match recipe.redis {
            true => Ask::Sha(redis::load(address, &recipe::redis_script()).await?),
            false => Ask::Path("/rule".into()),
        };
        let process = running.child.id().context("it ended")?;
        let version = machine::version(&program, recipe.version);
        let server = Self { name: recipe.name.into(), version, address, ask, process, _running: Some(running) };
        server.try_out().await?;
        Ok(server)
    }

    /// Asks once.
    ///
    /// # Errors
    /// The answer is not the right one.
    pub(super) async fn try_out(&self) -> Result<()> {
        let answer = match &self.ask {
            Ask::Sha(sha) => redis::evaluate(self.address, sha, ORDER).await?,
            Ask::Path(path) => post(&format!("http://{}{path}", self.address)).await?,
            Ask::Paths(_) => bail!("only servers with one path are tried"),
        };
        let (found, right) = (serde_json::from_str::<Value>(&answer), serde_json::from_str::<Value>(ANSWER)?);
        ensure!(found.is_ok_and(|found| same(&found, &right)), "it answers {answer} where {ANSWER} is right");
        Ok(())
    }
}

async fn post(url: &str) -> Result<String> {
    let client = reqwest::Client::builder().timeout(DEADLINE).build()?;
    Ok(client.post(url).body(ORDER).send().await?.error_for_status()?.text().await?)
}

/// Whether two values are equal, numbers as far as the servers' ways of writing them allow.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            let (left, right) = (left.as_f64().unwrap_or(f64::NAN), right.as_f64().unwrap_or(f64::NAN));
            (left - right).abs() <= 1e-9 * right.abs()
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| same(left, right)))
        }
        _ => left == right,
    }
}

/// A peer's process. Dropping it ends it with SIGTERM, which makes nginx end its workers too.
#[derive(Debug)]
struct Running {
    child: Child,
}

impl Running {
    fn spawn(command: &[String], place: &Place) -> Result<Self> {
        let log = fs_err::File::create(place.log())?.into_file();
        // When this process is killed, the peer is told to end.
        let guard = recipe::find("setpriv").map(|setpriv| [setpriv.display().to_string(), "--pdeathsig=TERM".into()]);
        let words: Vec<String> = guard.into_iter().flatten().chain(command.iter().cloned()).collect();
        let mut spawning = Command::new(&words[0]);
        spawning.args(&words[1..]).current_dir(place.folder());
        spawning.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { child: spawning.spawn().with_context(|| format!("start `{}`", words.join(" ")))? })
    }

    async fn wait_until_it_listens(&mut self, place: &Place) -> Result<()> {
        let log = || fs_err::read_to_string(place.log()).unwrap_or_default();
        let address = place.address();
        let what = format!("it listens on {address}");
        let listens = wait_until(&what, DEADLINE, async || {
            TcpStream::connect(address).await.map(drop).map_err(|err| err.to_string())
        });
        tokio::select! {
            listens = listens => listens.with_context(|| log().trim().to_owned()),
            status = self.child.wait() => bail!("it ended ({}): {}", status?, log().trim()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(id) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
    }
}

/// Installs what the recipes lack with apt, as root; its output is shown.
///
/// # Errors
/// apt fails, or there is none.
pub(super) async fn install(say: &dyn Fn(&str)) -> Result<()> {
    let mut packages: Vec<&str> = ALL.iter().flat_map(Recipe::missing).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    ensure!(rustix::process::geteuid().is_root(), "`--install` needs root; or: apt-get install {}", packages.join(" "));
    say(&format!("apt-get install {}", packages.join(" ")));
    let status = recipe::install(&packages).kill_on_drop(true).status().await.context("run `apt-get`")?;
    ensure!(status.success(), "`apt-get install {}` failed ({status})", packages.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_may_differ_in_order_and_in_how_numbers_are_written() {
        let right = json!({"score": 35, "total": 1182.7, "reasons": ["a"]});

        let otherwise = r#"{"reasons":["a"],"total":1182.7000000000001,"score":35.0}"#;
        assert!(same(&serde_json::from_str(otherwise).unwrap(), &right));
        assert!(!same(&json!({"reasons": ["a"], "total": 1182.7, "score": 36}), &right));
        assert!(!same(&json!({"reasons": [], "total": 1182.7, "score": 35}), &right));
        assert!(!same(&json!({"total": 1182.7, "score": 35}), &right));
    }
}
