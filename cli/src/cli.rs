//! The command line: every command and flag, and the environment variables that stand in for flags.
//!
//! Doc comments here are the help texts. Nothing is resolved yet: [`crate::settings`] reads files and checks what
//! depends on several flags. No other module reads the environment.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use contract::api::Activation;
use contract::{ScriptName, TenantName};
use reqwest::Url;

/// Longest wait a manager accepts.
const WAIT_MAX: Duration = Duration::from_secs(10 * 60);

/// Push business rules to a Moonswarm, see them live, take them back
#[derive(Debug, Parser)]
#[command(name = "moonswarm", version, max_term_width = 100, after_help = crate::exit::help(), arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Flags of every command.
    #[command(flatten)]
    pub(crate) globals: Globals,
}

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Address of a manager
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "MOONSWARM_MANAGER",
        default_value = "http://127.0.0.1:7700",
        value_parser = base_url
    )]
    pub(crate) manager: Url,

    /// File with the manager's token; MOONSWARM_TOKEN may hold the token itself
    #[arg(long, global = true, value_name = "FILE", env = "MOONSWARM_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// The token itself. Meant for the environment only: other users can read a command line.
    #[arg(long, global = true, hide = true, env = "MOONSWARM_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,

    /// Print one JSON document on stdout and nothing else, errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// When to use colors
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,

    /// Longest time for one request, beyond what --wait adds
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

// The variants of value enums have no `///`: clap would turn the whole of `--help` into its long form.

/// When to use colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    // On a terminal, unless NO_COLOR is set.
    Auto,
    // Even into a file or pipe.
    Always,
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a script and make it the one that runs
    #[command(
        after_help = "Examples:\n  moonswarm push risk.luau --tenant acme --wait\n  moonswarm push rules/basket --tenant acme --wait\n  moonswarm push risk.luau --tenant acme --if-generation 1795307950143920 --json"
    )]
    Push(Push),
    /// Show the scripts that run
    #[command(after_help = "Examples:\n  moonswarm list\n  moonswarm list --tenant acme --json")]
    List(List),
    /// Show what the manager sees: release, executors, bucket, notifications
    #[command(after_help = "Examples:\n  moonswarm status\n  moonswarm status --json")]
    Status,
    /// Show the kept versions of a script, newest first
    #[command(after_help = "Examples:\n  moonswarm versions risk --tenant acme")]
    Versions(Named),
    /// Make an older version of a script the one that runs
    #[command(
        after_help = "Examples:\n  moonswarm rollback risk --tenant acme --wait\n  moonswarm rollback risk --tenant acme --to a978fd"
    )]
    Rollback(Rollback),
    /// Take a script out of the release; the bucket keeps its versions
    #[command(after_help = "Examples:\n  moonswarm remove risk --tenant acme --wait")]
    Remove(Remove),
    /// Run a script here, in the sandbox and under the limits of the executors
    #[command(
        after_help = "Examples:\n  moonswarm run risk.luau --input risk.json\n  echo '{}' | moonswarm run risk.luau --input -"
    )]
    Run(Run),
    /// Check scripts and run their tests here, as the manager does before it takes one
    #[command(after_help = "Examples:\n  moonswarm check rules/*.luau rules/basket")]
    Check(Check),
    /// Ask an executor to run a script
    #[command(after_help = "Examples:\n  moonswarm call risk --tenant acme --input risk.json")]
    Call(Call),
    /// Say on which terms scripts run: limits, rates, what they may reach
    #[command(subcommand)]
    Policy(Policy),
    /// Print the type declarations of all that scripts may use, for editors
    #[command(after_help = "Examples:\n  moonswarm types > moonswarm.d.luau")]
    Types,
    /// Print the completion script of a shell
    #[command(
        after_help = "Examples:\n  moonswarm completions bash > ~/.local/share/bash-completion/completions/moonswarm"
    )]
    Completions(Completions),
}

/// Whose script.
#[derive(Debug, Args)]
pub(crate) struct Tenant {
    /// Whose script it is
    #[arg(long, value_name = "NAME", env = "MOONSWARM_TENANT")]
    pub(crate) tenant: TenantName,
}

/// A script of a tenant.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Name of the script, for example `risk`
    pub(crate) script: ScriptName,

    #[command(flatten)]
    pub(crate) tenant: Tenant,
}

/// Flags of every command that changes what runs.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// Wait until every executor runs it, at most this long [without a value: 30s]
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "30s",
        value_parser = wait
    )]
    pub(crate) wait: Option<Duration>,

    /// Who does this, for the history [default: the user's name]
    #[arg(long, value_name = "NAME", env = "MOONSWARM_AUTHOR", value_parser = author)]
    pub(crate) author: Option<String>,

    /// The user's name as the system tells it, in place of --author.
    #[arg(long, hide = true, env = "USER")]
    pub(crate) user: Option<String>,
}

impl Change {
    /// Who does it. A user's name that no header carries is left out: it is only for the history.
    pub(crate) fn author(&self) -> Option<String> {
        self.author.clone().or_else(|| author(self.user.as_deref()?).ok())
    }
}

/// How executors are moved, as a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    // Swapped in memory, in milliseconds.
    Live,
    // By a Docker config and a service update: every executor is a new process.
    Rolling,
}

impl From<Mode> for Activation {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Live => Self::Live,
            Mode::Rolling => Self::Rolling,
        }
    }
}

/// `push`
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// The script: a file, a folder, a .zip or .tar; `-` reads standard input and needs --name
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) tenant: Tenant,

    /// Name of the script [default: the file's name without its ending, or the folder's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<ScriptName>,

    #[command(flatten)]
    pub(crate) change: Change,

    /// Swap in memory (live), or replace every executor by a service update (rolling)
    #[arg(long, value_name = "MODE", default_value = "live")]
    pub(crate) activation: Mode,

    /// Push only if this generation is the running one; 0 = only if there is no such script
    #[arg(long, value_name = "GENERATION", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) if_generation: Option<i64>,
}

/// `policy`
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Check a policy and make it the one that holds
    #[command(
        after_help = "Examples:\n  moonswarm policy push policy.luau --tenant acme --wait\n  moonswarm policy push stack.luau --stack --wait\n\n`moonswarm rollback @policy --tenant acme` takes it back, `--tenant @stack` that of the stack."
    )]
    Push(PolicyPush),
    /// Show on which terms a tenant's scripts run, and who said so
    #[command(
        after_help = "Examples:\n  moonswarm policy show --tenant acme\n  moonswarm policy show --tenant acme --script risk --json"
    )]
    Show(PolicyShow),
    /// Check a policy here, as the manager does before it takes one
    #[command(
        after_help = "Examples:\n  moonswarm policy check policy.luau\n  moonswarm policy check stack.luau --stack"
    )]
    Check(PolicyCheck),
}

/// Whose policy.
#[derive(Debug, Args)]
pub(crate) struct PolicyOf {
    /// Whose policy it is
    #[arg(long, value_name = "NAME", env = "MOONSWARM_TENANT", required_unless_present = "stack")]
    tenant: Option<TenantName>,

    /// The operator's policy, in place of a tenant's own
    #[arg(long)]
    stack: bool,
}

impl PolicyOf {
    /// The tenant whose script it is.
    pub(crate) fn tenant(&self) -> TenantName {
        self.tenant.clone().filter(|_| !self.stack).unwrap_or_else(TenantName::stack)
    }
}

/// `policy push`
#[derive(Debug, Args)]
pub(crate) struct PolicyPush {
    /// The policy: a script that answers it; a file, a folder, a .zip or .tar; `-` reads standard input
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) of: PolicyOf,

    #[command(flatten)]
    pub(crate) change: Change,

    /// Push only if this generation is the running one; 0 = only if there is none yet
    #[arg(long, value_name = "GENERATION", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) if_generation: Option<i64>,
}

/// `policy show`
#[derive(Debug, Args)]
pub(crate) struct PolicyShow {
    #[command(flatten)]
    pub(crate) tenant: Tenant,

    /// With what this script declares
    #[arg(long, value_name = "NAME")]
    pub(crate) script: Option<ScriptName>,
}

/// `policy check`
#[derive(Debug, Args)]
pub(crate) struct PolicyCheck {
    /// The policy: a script that answers it; a file, a folder, a .zip or .tar; `-` reads standard input
    pub(crate) file: PathBuf,

    /// It is the operator's policy, not that of a tenant
    #[arg(long)]
    pub(crate) stack: bool,
}

/// `list`
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this tenant's scripts
    #[arg(long, value_name = "NAME", env = "MOONSWARM_TENANT")]
    pub(crate) tenant: Option<TenantName>,
}

/// `rollback`
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) named: Named,

    /// A version (or its first 6 digits or more) or a generation [default: the one before the running one]
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<String>,

    #[command(flatten)]
    pub(crate) change: Change,

    /// Swap in memory (live), or replace every executor by a service update (rolling)
    #[arg(long, value_name = "MODE", default_value = "live")]
    pub(crate) activation: Mode,
}

/// `remove`
#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    pub(crate) named: Named,

    #[command(flatten)]
    pub(crate) change: Change,

    /// Remove only if this generation is the running one
    #[arg(long, value_name = "GENERATION", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) if_generation: Option<i64>,
}

/// `run`
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The script: a file, a folder, a .zip or .tar; `-` reads standard input
    pub(crate) file: PathBuf,

    /// File with the JSON input; `-` reads standard input [default: null]
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
}

/// `check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The scripts: files, folders, .zip or .tar; `-` reads standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// `call`
#[derive(Debug, Args)]
pub(crate) struct Call {
    #[command(flatten)]
    pub(crate) named: Named,

    /// File with the JSON input; `-` reads standard input [default: null]
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,

    /// Address of an executor
    #[arg(
        long,
        value_name = "URL",
        env = "MOONSWARM_EXECUTOR",
        default_value = "http://127.0.0.1:7701",
        value_parser = base_url
    )]
    pub(crate) executor: Url,

    /// File with the executor's token; the manager's token is never sent to an executor
    #[arg(long, value_name = "FILE", env = "MOONSWARM_EXECUTOR_TOKEN_FILE")]
    pub(crate) executor_token_file: Option<PathBuf>,

    /// Tell on stderr which release, version and execution answered
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// `completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell
    pub(crate) shell: clap_complete::Shell,
}

/// Base address of a program: `http` or `https`, without user, query or fragment.
fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|err| format!("{err}; expected for example http://127.0.0.1:7700"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("expected http:// or https:// and a host, for example http://127.0.0.1:7700".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user or password does not belong here; use --token-file".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("expected an address without `?` and `#`".into());
    }
    Ok(url)
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be more than 0, for example 500ms or 30s".into()),
        Ok(duration) => Ok(duration),
        Err(err) => Err(format!("{err}; expected for example 500ms or 30s")),
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = duration(text)?;
    if wait > WAIT_MAX {
        return Err(format!("a manager waits at most {}", humantime::format_duration(WAIT_MAX)));
    }
    Ok(wait)
}

/// An author travels in a header: 1 to 128 bytes of visible ASCII, as the manager keeps it.
fn author(text: &str) -> Result<String, String> {
    let visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    match text.trim() {
        "" => Err("must not be empty".into()),
        author if visible && author.len() <= 128 => Ok(author.to_owned()),
        _ => Err("expected at most 128 ASCII characters without line breaks".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wait_without_value_is_half_a_minute() {
        let cli = Cli::try_parse_from(["moonswarm", "push", "a.luau", "--tenant", "acme", "--wait"]).unwrap();

        let Command::Push(push) = cli.command else { panic!("parsed something else: {:?}", cli.command) };
        assert_eq!(push.change.wait, Some(Duration::from_secs(30)));
    }

    #[test]
    fn addresses_with_surprises_are_refused() {
        for text in ["127.0.0.1:7700", "ftp://a", "http://user@a", "http://a/?x", "http://a/#x"] {
            assert!(base_url(text).is_err(), "`{text}` was taken");
        }
    }

    #[test]
    fn waits_that_no_manager_takes_are_refused() {
        assert!(wait("0s").is_err());
        assert_eq!(wait("11min").unwrap_err(), "a manager waits at most 10m");
        assert_eq!(wait("10min").unwrap(), WAIT_MAX);
    }
}
