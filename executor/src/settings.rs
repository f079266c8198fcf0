//! Everything that can be set from outside, read once: flags, each also as `MOONSWARM_<FLAG>` in the environment.
//!
//! [`Flags`] is what was typed, [`Settings`] what it means here: files are read, addresses parsed. All faults are told
//! at once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use contract::Token;
use contract::release::PublicKeys;
use telemetry::LogFormat;
use tonic::transport::Endpoint;

use crate::outbound::{OutboundFlags, OutboundSettings};
use crate::pubsub::{PubsubFlags, PubsubSettings};
use crate::strategy;

/// Runs Moonswarm rules.
#[derive(Debug, Parser)]
#[command(name = "moonswarm-executor", version, about, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    /// What to do; `serve` if absent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of `serve`.
    #[command(flatten)]
    pub flags: Flags,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow the feed and answer HTTP (the default).
    Serve(Box<Flags>),
    /// Run scripts for an executor that started this process; of no use by hand.
    #[command(hide = true)]
    Worker,
    /// Ask a running executor whether it is ready; exit code 0 if so.
    Health {
        /// What to ask.
        #[arg(long, env = "MOONSWARM_URL", default_value = "http://127.0.0.1:7701/readyz")]
        url: String,
    },
    /// Have a running executor run a script with the input `{}`; exit code 0 if it answers 200.
    Probe {
        /// Which script.
        #[arg(value_name = "TENANT/SCRIPT")]
        script: String,
        /// The executor.
        #[arg(long, default_value = "http://127.0.0.1:7701")]
        executor: String,
        /// File with the token to show.
        #[arg(long, env = "MOONSWARM_TOKEN_FILE")]
        token_file: Option<PathBuf>,
    },
}

/// Flags of `serve`, as typed.
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// Address to answer HTTP on; port 0 takes a free one.
    #[arg(long, env = "MOONSWARM_LISTEN", default_value = "127.0.0.1:7701")]
    pub listen: String,
    /// Managers to follow, comma separated; the first that answers is followed.
    #[arg(long, env = "MOONSWARM_FEED", value_delimiter = ',', default_value = "http://127.0.0.1:7700")]
    pub feed: Vec<String>,
    /// The installation; releases of another one are refused.
    #[arg(long, env = "MOONSWARM_STACK", default_value = "dev")]
    pub stack: String,
    /// File with the public keys of the managers, one a line (`moonswarm-manager keygen` makes one).
    #[arg(long, env = "MOONSWARM_PUBLIC_KEYS")]
    pub public_keys: Option<PathBuf>,
    /// File with the token that callers of the HTTP API must show; needed to listen beyond loopback.
    #[arg(long, env = "MOONSWARM_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// File with the token to show to managers.
    #[arg(long, env = "MOONSWARM_FEED_TOKEN_FILE")]
    pub feed_token_file: Option<PathBuf>,
    /// Directory to keep the active release in, for a start without a manager.
    #[arg(long, env = "MOONSWARM_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Release bundle of a rolling activation; it may be absent.
    #[arg(long, env = "MOONSWARM_RELEASE_CONFIG", default_value = "/config/logic.lua")]
    pub release_config: PathBuf,
    /// Where this executor runs, for people; the host's name if absent.
    #[arg(long, env = "MOONSWARM_NODE")]
    pub node: Option<String>,
    /// Worker threads; one per core if absent.
    #[arg(long, env = "MOONSWARM_THREADS")]
    pub threads: Option<usize>,
    /// Where scripts run: `thread-pool` (on the threads that do the I/O, those that take long on threads of their own),
    /// `thread-per-tenant`, or `process-pool` (in child processes that can do nothing but compute).
    #[arg(long, env = "MOONSWARM_STRATEGY", default_value = "thread-pool")]
    pub strategy: String,
    /// Threads for scripts that take long, the most threads for tenants, or child processes, as `--strategy` has it; one
    /// per core if absent, 256 for tenants.
    #[arg(long, env = "MOONSWARM_WORKERS")]
    pub workers: Option<usize>,
    /// How long running requests may take to end after SIGTERM.
    #[arg(long, env = "MOONSWARM_DRAIN", default_value = "10s")]
    pub drain: String,
    /// What to log: a level, or `tracing` directives such as `info,executor::feed=debug`.
    #[arg(long, env = "MOONSWARM_LOG", default_value = "info")]
    pub log: String,
    /// `json` or `text`; text on a terminal and JSON elsewhere if absent.
    #[arg(long, env = "MOONSWARM_LOG_FORMAT")]
    pub log_format: Option<String>,
    /// Drain and exit when stdin ends: for a parent that must not leave children behind.
    #[arg(long, env = "MOONSWARM_LIFELINE")]
    pub lifeline: bool,
    /// Let callers ask for faults (`x-moonswarm-drill`), for tests; only on loopback.
    #[arg(long, hide = true)]
    pub drills: bool,
    /// The way out for scripts.
    #[command(flatten)]
    pub outbound: OutboundFlags,
    /// Messages as a second front door.
    #[command(flatten)]
    pub pubsub: PubsubFlags,
}

/// What an executor needs to run, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address to answer HTTP on.
    pub listen: SocketAddr,
    /// URLs of managers, in order of preference; empty = follow nobody.
    pub feed: Vec<String>,
    /// The installation.
    pub stack: String,
    /// Keys whose releases are run.
    pub public_keys: PublicKeys,
    /// What callers must show; `None` = nothing, and then only loopback is listened on.
    pub token: Option<Token>,
    /// What managers are shown.
    pub feed_token: Option<Token>,
    /// Where the active release is kept.
    pub cache_dir: Option<PathBuf>,
    /// Release bundle of a rolling activation.
    pub release_config: PathBuf,
    /// Where this executor runs.
    pub node: String,
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Where scripts run.
    pub strategy: strategy::Kind,
    /// Deadline of the drain.
    pub drain: Duration,
    /// `tracing` directives.
    pub log_filter: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Exit when stdin ends.
    pub lifeline: bool,
    /// Let callers ask for faults.
    pub drills: bool,
    /// The way out for scripts.
    pub outbound: OutboundSettings,
    /// Messages as a second front door; `None` = HTTP is the only one.
    pub pubsub: Option<PubsubSettings>,
}

/// Every fault of the settings, one a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("settings can't be used; nothing was started\n{}", .0.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n"))]
pub struct InvalidSettings(pub Vec<String>);

impl TryFrom<Flags> for Settings {
    type Error = InvalidSettings;

    fn try_from(flags: Flags) -> Result<Self, InvalidSettings> {
        let mut faults = Faults::default();
        let listen = faults.keep(listen(&flags.listen));
        let feed = faults.keep(feed(flags.feed));
        let public_keys = faults.keep(public_keys(flags.public_keys.as_deref()));
        let token = faults.keep(read_token("--token-file", flags.token_file.as_deref()));
        let feed_token = faults.keep(read_token("--feed-token-file", flags.feed_token_file.as_deref()));
        let threads = faults.keep(threads(flags.threads));
        let strategy = faults.keep(strategy::Kind::of(&flags.strategy, flags.workers, cores()));
        let drain = faults.keep(duration("--drain", &flags.drain));
        let log_format = faults.keep(log_format(flags.log_format.as_deref()));
        let outbound = faults.keep_all(flags.outbound.settings());
        let pubsub = faults.keep_all(flags.pubsub.settings());
        if listen.is_some_and(|address: SocketAddr| !address.ip().is_loopback()) && flags.token_file.is_none() {
            faults.0.push(format!(
                "`--listen` is `{}`, which others can reach, and there is no `--token-file`: give one, or listen on 127.0.0.1",
                flags.listen
            ));
        }
        if listen.is_some_and(|address: SocketAddr| !address.ip().is_loopback()) && flags.drills {
            faults.0.push(format!("`--drills` goes with loopback only, and `--listen` is `{}`", flags.listen));
        }
        match (listen, feed, public_keys, token, feed_token, threads, strategy, drain, log_format, outbound, pubsub) {
            (
                Some(listen),
                Some(feed),
                Some(public_keys),
                Some(token),
                Some(feed_token),
                Some(threads),
                Some(strategy),
                Some(drain),
                Some(log_format),
                Some(outbound),
                Some(pubsub),
            ) if faults.0.is_empty() => Ok(Self {
                listen,
                feed,
                stack: flags.stack,
                public_keys,
                token,
                feed_token,
                cache_dir: flags.cache_dir,
                release_config: flags.release_config,
                node: flags.node.unwrap_or_else(host_name),
                threads,
                strategy,
                drain,
                log_filter: flags.log,
                log_format,
                lifeline: flags.lifeline,
                drills: flags.drills,
                outbound,
                pubsub,
            }),
            _ => Err(InvalidSettings(faults.0)),
        }
    }
}

#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn keep<T>(&mut self, value: Result<T, String>) -> Option<T> {
        value.map_err(|fault| self.0.push(fault)).ok()
    }

    fn keep_all<T>(&mut self, value: Result<T, Vec<String>>) -> Option<T> {
        value.map_err(|faults| self.0.extend(faults)).ok()
    }
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("`--listen` is `{text}`: expected an IP address and a port, for example 127.0.0.1:7701"))
}

fn feed(urls: Vec<String>) -> Result<Vec<String>, String> {
    for url in &urls {
        if !url.starts_with("http://") || Endpoint::from_shared(url.clone()).is_err() {
            return Err(format!("`--feed` has `{url}`: expected http://HOST:PORT, for example http://manager:7700"));
        }
    }
    Ok(urls)
}

fn public_keys(path: Option<&Path>) -> Result<PublicKeys, String> {
    let path = path.ok_or("`--public-keys` is missing: without a key no release can be trusted")?;
    let text = fs_err::read_to_string(path).map_err(|err| format!("`--public-keys`: {err}"))?;
    PublicKeys::parse(&text).map_err(|err| format!("`--public-keys` is `{}`: {err}", path.display()))
}

fn read_token(flag: &str, path: Option<&Path>) -> Result<Option<Token>, String> {
    let Some(path) = path else { return Ok(None) };
    let text = fs_err::read_to_string(path).map_err(|err| format!("`{flag}`: {err}"))?;
    Token::parse(&text).map(Some).map_err(|err| format!("`{flag}` is `{}`: {err}", path.display()))
}

fn threads(count: Option<usize>) -> Result<usize, String> {
    match count {
        Some(0) => Err("`--threads` is 0: expected at least 1".to_owned()),
        Some(count) => Ok(count),
        None => Ok(cores()),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

fn duration(flag: &str, text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("`{flag}` is `{text}`: expected a time such as 10s or 500ms"))
}

fn log_format(text: Option<&str>) -> Result<LogFormat, String> {
    text.map_or_else(|| Ok(LogFormat::detect()), |text| text.parse().map_err(|err| format!("`--log-format`: {err}")))
}

/// The kernel's name of this host (proc_sys_kernel(5)); it exists in images that hold nothing but this program.
fn host_name() -> String {
    fs_err::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arguments: &[&str]) -> Flags {
        CommandLine::try_parse_from([&["moonswarm-executor"], arguments].concat()).unwrap().flags
    }

    fn keys(dir: &tempfile::TempDir) -> String {
        let key = contract::release::SigningKey::parse(&contract::release::SigningKey::generate()).unwrap();
        let path = dir.path().join("signing.pub");
        fs_err::write(&path, key.public().to_text()).unwrap();
        path.display().to_string()
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let flags = flags(&[
            "--listen",
            "here",
            "--feed",
            "https://m:1",
            "--drain",
            "soon",
            "--threads",
            "0",
            "--strategy",
            "fork",
        ]);

        let err = Settings::try_from(flags).unwrap_err();

        insta::assert_snapshot!(err, @r"
        settings can't be used; nothing was started
          `--listen` is `here`: expected an IP address and a port, for example 127.0.0.1:7701
          `--feed` has `https://m:1`: expected http://HOST:PORT, for example http://manager:7700
          `--public-keys` is missing: without a key no release can be trusted
          `--threads` is 0: expected at least 1
          `--strategy` is `fork`: expected thread-pool, thread-per-tenant or process-pool
          `--drain` is `soon`: expected a time such as 10s or 500ms
        ");
    }

    #[test]
    fn beyond_loopback_a_token_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let keys = keys(&dir);

        let err = Settings::try_from(flags(&["--listen", "0.0.0.0:0", "--public-keys", &keys])).unwrap_err();
        assert!(err.to_string().contains("there is no `--token-file`"), "{err}");

        let token = dir.path().join("token");
        fs_err::write(&token, "secret\n").unwrap();
        let token = token.display().to_string();
        let reachable = ["--listen", "0.0.0.0:0", "--public-keys", &keys, "--token-file", &token];
        Settings::try_from(flags(&reachable)).unwrap();

        let err = Settings::try_from(flags(&[&reachable[..], &["--drills"]].concat())).unwrap_err();
        assert!(err.to_string().contains("`--drills` goes with loopback only"), "{err}");
    }

    #[test]
    fn a_feed_list_is_split_at_commas_and_the_node_defaults_to_the_host() {
        let dir = tempfile::tempdir().unwrap();

        let settings =
            Settings::try_from(flags(&["--feed", "http://a:1,http://b:2", "--public-keys", &keys(&dir)])).unwrap();

        assert_eq!(settings.feed, ["http://a:1", "http://b:2"]);
        assert!(!settings.node.is_empty());
    }

    #[test]
    fn strategies_have_a_name_and_a_size() {
        let kind = |name, workers| strategy::Kind::of(name, workers, 4);

        assert_eq!(kind("thread-pool", None), Ok(strategy::Kind::ThreadPool { workers: 4 }));
        assert_eq!(kind("thread-per-tenant", Some(9)), Ok(strategy::Kind::ThreadPerTenant { threads_max: 9 }));
        let Ok(strategy::Kind::ProcessPool(processes)) = kind("process-pool", Some(2)) else { panic!("no processes") };
        assert_eq!((processes.count, processes.program), (2, "/proc/self/exe".into()));
        assert!(kind("thread-pool", Some(0)).unwrap_err().contains("`--workers` is 0"));
    }

    #[test]
    fn health_probe_and_serve_are_commands() {
        let health = CommandLine::try_parse_from(["moonswarm-executor", "health", "--url", "http://x"]).unwrap();
        assert!(matches!(health.command, Some(Command::Health { url }) if url == "http://x"));
        let probe = CommandLine::try_parse_from(["moonswarm-executor", "probe", "acme/risk"]).unwrap();
        assert!(matches!(probe.command, Some(Command::Probe { script, .. }) if script == "acme/risk"));
        let serve = CommandLine::try_parse_from(["moonswarm-executor", "serve", "--stack", "prod"]).unwrap();
        assert!(matches!(serve.command, Some(Command::Serve(flags)) if flags.stack == "prod"));
    }
}
