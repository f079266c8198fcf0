//! Flags and environment, read once and checked as a whole: every fault is told, not only the first.
//!
//! Only this module reads the environment (through clap).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use contract::Token;
use contract::release::SigningKey;
use telemetry::LogFormat;

use telemetry::chain;

/// Turns the state of a bucket into signed releases and moves executors to them.
#[derive(Debug, Parser)]
#[command(name = "moonswarm-manager", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM (the default).
    Serve(Box<ServeFlags>),
    /// Make a key pair: DIR/signing.key for managers, DIR/signing.pub for executors.
    Keygen {
        /// Where to; made if missing. Files that exist are not replaced.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Ask a manager whether it is ready: exit code 0 if so, 1 if not.
    Health {
        /// What to ask.
        #[arg(long, env = "MOONSWARM_URL", default_value = "http://127.0.0.1:7700/readyz")]
        url: String,
    },
}

/// What the program is to do.
#[derive(Debug)]
pub enum Task {
    /// Serve, with these flags, not yet checked.
    Serve(Box<ServeFlags>),
    /// Make keys in this directory.
    Keygen(PathBuf),
    /// Ask this address.
    Health(String),
}

impl Cli {
    /// What the program is to do.
    pub fn task(self) -> Task {
        match self.command {
            None => Task::Serve(Box::new(self.serve)),
            Some(Command::Serve(flags)) => Task::Serve(flags),
            Some(Command::Keygen { out }) => Task::Keygen(out),
            Some(Command::Health { url }) => Task::Health(url),
        }
    }
}

/// Flags of `serve`, as they were given.
#[derive(Debug, Clone, Args)]
pub struct ServeFlags {
    /// Where API and feed listen. Beyond loopback both token files are needed.
    #[arg(long, env = "MOONSWARM_LISTEN", default_value = "127.0.0.1:7700", value_name = "IP:PORT")]
    listen: String,
    /// The installation; executors of another one refuse its releases.
    #[arg(long, env = "MOONSWARM_STACK", default_value = "dev", value_name = "NAME")]
    stack: String,
    /// The bucket that holds scripts and releases.
    #[arg(long, env = "MOONSWARM_BUCKET", value_name = "NAME")]
    bucket: Option<String>,
    /// The Pub/Sub subscription that gets the bucket's notifications.
    #[arg(long, env = "MOONSWARM_SUBSCRIPTION", value_name = "projects/P/subscriptions/S")]
    subscription: Option<String>,
    /// The private key that signs releases (`keygen` makes one).
    #[arg(long, env = "MOONSWARM_SIGNING_KEY", value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// Another Cloud Storage than Google's; goes with --pubsub-endpoint and without credentials.
    #[arg(long, env = "MOONSWARM_STORAGE_ENDPOINT", value_name = "URL")]
    storage_endpoint: Option<String>,
    /// Another Pub/Sub than Google's; goes with --storage-endpoint and without credentials.
    #[arg(long, env = "MOONSWARM_PUBSUB_ENDPOINT", value_name = "URL")]
    pubsub_endpoint: Option<String>,
    /// Holds the token that callers of the API show.
    #[arg(long, env = "MOONSWARM_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Holds the token that executors show to follow the feed.
    #[arg(long, env = "MOONSWARM_FEED_TOKEN_FILE", value_name = "FILE")]
    feed_token_file: Option<PathBuf>,
    /// The Docker engine of a Swarm manager, for rolling activation.
    #[arg(long, env = "MOONSWARM_DOCKER", value_name = "unix:///PATH")]
    docker: Option<String>,
    /// The executors' service; found by its labels if not given.
    #[arg(long, env = "MOONSWARM_EXECUTOR_SERVICE", value_name = "NAME")]
    executor_service: Option<String>,
    /// Between two looks at the whole bucket.
    #[arg(long, env = "MOONSWARM_RECONCILE", default_value = "10s", value_name = "DURATION")]
    reconcile: String,
    /// How long an executor may take to prepare before a release goes on without it.
    #[arg(long, env = "MOONSWARM_PREPARE_DEADLINE", default_value = "2s", value_name = "DURATION")]
    prepare_deadline: String,
    /// How long an executor counts after its feed broke.
    #[arg(long, env = "MOONSWARM_LOST_AFTER", default_value = "5s", value_name = "DURATION")]
    lost_after: String,
    /// What is logged: a level, or a filter like `info,manager::feed=debug`.
    #[arg(long, env = "MOONSWARM_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// How log lines look: `json` or `text`; text on a terminal if not given.
    #[arg(long, env = "MOONSWARM_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<String>,
    /// Stop when standard input ends, as on SIGTERM.
    #[arg(long, env = "MOONSWARM_LIFELINE")]
    lifeline: bool,
}

/// Where Google's services are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoints {
    /// Where they always are, with the machine's credentials.
    Google,
    /// Somewhere else, without credentials.
    Own {
        /// Cloud Storage.
        storage: String,
        /// Pub/Sub.
        pubsub: String,
    },
}

/// A Docker Swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    /// The engine of one of its managers.
    pub url: String,
    /// The executors' service.
    pub service: Option<String>,
}

/// Checked settings.
#[derive(Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The installation.
    pub stack: String,
    /// The bucket.
    pub bucket: String,
    /// The subscription, in its full form.
    pub subscription: String,
    /// Signs releases.
    pub key: SigningKey,
    /// Where Google's services are.
    pub endpoints: Endpoints,
    /// For the API.
    pub token: Option<Token>,
    /// For the feed.
    pub feed_token: Option<Token>,
    /// For rolling activation.
    pub docker: Option<Docker>,
    /// Between two looks at the bucket.
    pub reconcile: Duration,
    /// For executors to prepare.
    pub prepare_deadline: Duration,
    /// For lost executors to count.
    pub lost_after: Duration,
    /// What is logged.
    pub log: String,
    /// How it looks.
    pub log_format: LogFormat,
    /// Whether standard input ends the program.
    pub lifeline: bool,
}

/// All that is wrong with the settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SettingsError(pub Vec<String>);

impl ServeFlags {
    /// Checks everything, and reads the files.
    ///
    /// # Errors
    /// [`SettingsError`] with one line per fault. Contents of files are never repeated.
    pub fn check(self) -> Result<Settings, SettingsError> {
        let mut faults = Vec::new();
        let listen: Option<SocketAddr> = self
            .listen
            .parse()
            .map_err(|_| {
                faults.push(format!("--listen `{}` is no address; use for example `127.0.0.1:7700`", self.listen));
            })
            .ok();
        let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.stack.is_empty() || self.stack.len() > 32 || !self.stack.chars().all(name) {
            faults.push(format!("--stack `{}` must be 1 to 32 of `a-z`, `0-9`, `-`", self.stack.escape_debug()));
        }
        let bucket = required(&mut faults, "--bucket", self.bucket);
        let subscription = required(&mut faults, "--subscription", self.subscription);
        if let Some(name) = &subscription
            && !is_subscription(name)
        {
            faults.push(format!("--subscription `{name}` must be `projects/PROJECT/subscriptions/NAME`"));
        }
        let key = required(&mut faults, "--signing-key", self.signing_key).and_then(|path| {
            let text = read(&mut faults, "--signing-key", &path)?;
            SigningKey::parse(&text)
                .map_err(|err| faults.push(format!("--signing-key `{}`: {err}", path.display())))
                .ok()
        });
        let endpoints = endpoints(&mut faults, self.storage_endpoint, self.pubsub_endpoint);
        let token = read_token(&mut faults, "--token-file", self.token_file.as_deref());
        let feed_token = read_token(&mut faults, "--feed-token-file", self.feed_token_file.as_deref());
        if let Some(listen) = listen.filter(|listen| !listen.ip().is_loopback()) {
            for (flag, given) in
                [("--token-file", self.token_file.is_some()), ("--feed-token-file", self.feed_token_file.is_some())]
            {
                if !given {
                    faults.push(format!(
                        "--listen `{listen}` is beyond loopback: {flag} is needed, or listen on 127.0.0.1"
                    ));
                }
            }
        }
        let reconcile = duration(&mut faults, "--reconcile", &self.reconcile);
        let prepare_deadline = duration(&mut faults, "--prepare-deadline", &self.prepare_deadline);
        let lost_after = duration(&mut faults, "--lost-after", &self.lost_after);
        let log_format = match self.log_format.as_deref().map(str::parse) {
            None => LogFormat::detect(),
            Some(Ok(format)) => format,
            Some(Err(err)) => {
                faults.push(format!("--log-format: {err}"));
                LogFormat::Json
            }
        };
        if self.docker.is_none() && self.executor_service.is_some() {
            faults.push("--executor-service is for rolling activation: --docker is needed with it".to_owned());
        }
        let service = self.executor_service;
        let docker = self.docker.map(|url| Docker { url, service });
        match (listen, bucket, subscription, key, endpoints) {
            (Some(listen), Some(bucket), Some(subscription), Some(key), Some(endpoints)) if faults.is_empty() => {
                Ok(Settings {
                    listen,
                    stack: self.stack,
                    bucket,
                    subscription,
                    key,
                    endpoints,
                    token,
                    feed_token,
                    docker,
                    reconcile,
                    prepare_deadline,
                    lost_after,
                    log: self.log,
                    log_format,
                    lifeline: self.lifeline,
                })
            }
            _ => Err(SettingsError(faults)),
        }
    }
}

fn required<T>(faults: &mut Vec<String>, flag: &str, value: Option<T>) -> Option<T> {
    if value.is_none() {
        let variable = flag.trim_start_matches('-').replace('-', "_").to_uppercase();
        faults.push(format!("{flag} is missing (or MOONSWARM_{variable})"));
    }
    value
}

fn read(faults: &mut Vec<String>, flag: &str, path: &Path) -> Option<String> {
    fs_err::read_to_string(path).map_err(|err| faults.push(format!("{flag}: {}", chain(&err)))).ok()
}

fn read_token(faults: &mut Vec<String>, flag: &str, path: Option<&Path>) -> Option<Token> {
    let path = path?;
    let text = read(faults, flag, path)?;
    Token::parse(&text).map_err(|err| faults.push(format!("{flag} `{}`: {err}", path.display()))).ok()
}

fn endpoints(faults: &mut Vec<String>, storage: Option<String>, pubsub: Option<String>) -> Option<Endpoints> {
    for (flag, url) in [("--storage-endpoint", &storage), ("--pubsub-endpoint", &pubsub)] {
        if let Some(url) = url
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            faults.push(format!("{flag} `{url}` must begin with `http://` or `https://`"));
        }
    }
    match (storage, pubsub) {
        (None, None) => Some(Endpoints::Google),
        (Some(storage), Some(pubsub)) => Some(Endpoints::Own { storage, pubsub }),
        (Some(_), None) | (None, Some(_)) => {
            faults.push("--storage-endpoint and --pubsub-endpoint go together: both or none".to_owned());
            None
        }
    }
}

fn duration(faults: &mut Vec<String>, flag: &str, text: &str) -> Duration {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => duration,
        _ => {
            faults.push(format!("{flag} `{text}` is no duration above zero; use for example `10s`"));
            Duration::ZERO
        }
    }
}

fn is_subscription(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    matches!(parts[..], ["projects", project, "subscriptions", name] if !project.is_empty() && !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(args: &[&str]) -> ServeFlags {
        let cli = Cli::try_parse_from([&["moonswarm-manager"], args].concat()).unwrap();
        let Task::Serve(flags) = cli.task() else { panic!("serve is the default") };
        *flags
    }

    fn key_file() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), SigningKey::generate()).unwrap();
        file
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let faults = flags(&[
            "--listen",
            "0.0.0.0:7700",
            "--stack",
            "Dev",
            "--subscription",
            "mgr",
            "--storage-endpoint",
            "127.0.0.1:1",
            "--reconcile",
            "often",
            "--lost-after",
            "0s",
            "--log-format",
            "xml",
            "--executor-service",
            "x",
        ])
        .check()
        .unwrap_err();

        insta::assert_snapshot!(faults, @r"
        --stack `Dev` must be 1 to 32 of `a-z`, `0-9`, `-`
        --bucket is missing (or MOONSWARM_BUCKET)
        --subscription `mgr` must be `projects/PROJECT/subscriptions/NAME`
        --signing-key is missing (or MOONSWARM_SIGNING_KEY)
        --storage-endpoint `127.0.0.1:1` must begin with `http://` or `https://`
        --storage-endpoint and --pubsub-endpoint go together: both or none
        --listen `0.0.0.0:7700` is beyond loopback: --token-file is needed, or listen on 127.0.0.1
        --listen `0.0.0.0:7700` is beyond loopback: --feed-token-file is needed, or listen on 127.0.0.1
        --reconcile `often` is no duration above zero; use for example `10s`
        --lost-after `0s` is no duration above zero; use for example `10s`
        --log-format: `xml` is no log format; use `json` or `text`
        --executor-service is for rolling activation: --docker is needed with it
        ");
    }

    #[test]
    fn the_least_that_is_needed_is_enough_on_loopback() {
        let key = key_file();
        let path = key.path().to_str().unwrap();

        let settings =
            flags(&["--bucket", "scripts", "--subscription", "projects/p/subscriptions/s", "--signing-key", path])
                .check()
                .unwrap();

        assert_eq!(settings.listen, "127.0.0.1:7700".parse().unwrap());
        assert_eq!(settings.endpoints, Endpoints::Google);
        assert_eq!((settings.reconcile, settings.lost_after), (Duration::from_secs(10), Duration::from_secs(5)));
        assert!(settings.token.is_none() && settings.docker.is_none());
    }

    #[test]
    fn serve_may_be_said() {
        let cli = Cli::try_parse_from(["moonswarm-manager", "serve", "--bucket", "b"]).unwrap();

        assert!(matches!(cli.task(), Task::Serve(_)));
    }

    #[test]
    fn a_key_file_that_is_none_is_told_without_its_content() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), "s3cret").unwrap();
        let path = file.path().to_str().unwrap();

        let faults = flags(&["--bucket", "b", "--subscription", "projects/p/subscriptions/s", "--signing-key", path])
            .check()
            .unwrap_err()
            .to_string();

        assert!(faults.contains("is not an Ed25519 key") && !faults.contains("s3cret"), "{faults}");
    }
}
