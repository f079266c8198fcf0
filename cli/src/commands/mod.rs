//! One function per command: ask, then tell. The exit code is the answer.

mod call;
mod change;
mod desk;
mod policy;
mod show;

use clap::CommandFactory;

use crate::cli::{Cli, Command, Completions};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Output};

/// Does what the command line says.
///
/// # Errors
/// What the author has to be told.
pub(crate) async fn run(cli: &Cli, output: Output) -> Result<Exit, Failure> {
    let globals = &cli.globals;
    match &cli.command {
        Command::Push(push) => change::push(globals, push, output).await,
        Command::Rollback(rollback) => change::rollback(globals, rollback, output).await,
        Command::Remove(remove) => change::remove(globals, remove, output).await,
        Command::List(list) => show::list(globals, list, output).await,
        Command::Status => show::status(globals, output).await,
        Command::Versions(named) => show::versions(globals, named, output).await,
        Command::Run(run) => desk::run(run, output),
        Command::Check(check) => desk::check(check, output),
        Command::Call(call) => call::call(globals, call, output).await,
        Command::Policy(policy) => policy::run(globals, policy, output).await,
        Command::Types => desk::types(),
        Command::Completions(completions) => complete(completions),
    }
}

/// The completion script: for a shell to read, so `--json` changes nothing.
fn complete(completions: &Completions) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Cli::command(), "moonswarm", &mut script);
    output::raw(&script)?;
    Ok(Exit::Done)
}
