//! `moonswarm`: the author's program. Push a rule, see it live on every executor, take it back; run it on the desk.
//!
//! A client of the manager's API and nothing more: whatever it does, `curl` can do too. The sandbox is built in, so
//! that a script meets the same checks and limits here as where it will run.

mod blame;
mod cli;
mod client;
mod commands;
mod desk;
mod exit;
mod failure;
mod files;
mod folder;
mod manager;
mod output;
mod progress;
mod render;
mod settings;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use cli::Cli;
use exit::Exit;
use failure::Failure;
use output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(err) => return misread(&err).into(),
    };
    settings::apply_color(cli.globals.color);
    let output = Output { json: cli.globals.json };
    execute(&cli, output).unwrap_or_else(|failure| output.failure(&failure)).into()
}

fn execute(cli: &Cli, output: Output) -> Result<Exit, Failure> {
    // The first provider wins, and nobody else installs one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| Failure::new(Exit::Other, "internal", format!("cannot start: {err}")))?;
    runtime.block_on(commands::run(cli, output))
}

/// A command line that is no command: help, version, or a mistake.
fn misread(err: &clap::Error) -> Exit {
    let asked = matches!(err.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !asked && std::env::args_os().any(|argument| argument == "--json") {
        let text = err.render().to_string();
        let message = text.trim_start_matches("error: ").trim_end();
        return Output { json: true }.failure(&Failure::new(Exit::Usage, "usage", message));
    }
    // As with results, a reader that went away is no error.
    let _ = err.print();
    if asked { Exit::Done } else { Exit::Usage }
}
