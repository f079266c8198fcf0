//! `moonswarm-executor`: settings → telemetry → boot → serve → drain.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use executor::settings::{Command, CommandLine, Flags, Settings};
use executor::{Executor, shutdown, strategy};
use telemetry::health;

/// Exit code for settings that can't be used, as clap gives it for flags that it does not know.
const EXIT_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    match command_line.command {
        Some(Command::Health { url }) => match health::check(&url) {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => fail(1, &err.to_string()),
        },
        Some(Command::Probe { script, executor, token_file }) => match probe(&script, &executor, token_file.as_deref())
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => fail(1, &format!("{err:#}")),
        },
        Some(Command::Worker) => strategy::process::run(),
        Some(Command::Serve(flags)) => serve(*flags),
        None => serve(command_line.flags),
    }
}

fn probe(script: &str, executor: &str, token_file: Option<&Path>) -> anyhow::Result<()> {
    let token = token_file.map(fs_err::read_to_string).transpose()?;
    Ok(health::probe(&format!("{executor}/v1/run/{script}"), token.as_deref(), "{}")?)
}

fn serve(flags: Flags) -> ExitCode {
    let settings = match Settings::try_from(flags) {
        Ok(settings) => settings,
        Err(err) => return fail(EXIT_SETTINGS, &err.to_string()),
    };
    let log = match telemetry::init(&settings.log_filter, settings.log_format) {
        Ok(log) => log,
        Err(err) => return fail(EXIT_SETTINGS, &format!("`--log` is `{}`: {err}", settings.log_filter)),
    };
    let ran = run(settings);
    // Written out before the last words.
    drop(log);
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => fail(1, &format!("{err:#}")),
    }
}

fn run(settings: Settings) -> anyhow::Result<()> {
    // Listened for before anything starts, so that an early signal drains too.
    let ending = shutdown::Ending::listen(settings.lifeline)?;
    let executor = Executor::start(settings)?;
    let failing = executor.failing();
    let reason = ending.wait(failing.cancelled());
    tracing::info!(reason, "draining");
    executor.drain();
    tracing::info!("stopped");
    // Whoever started this process should start another one.
    anyhow::ensure!(!failing.is_cancelled(), "too many workers did not come back from scripts");
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the log is not set up yet, or the program is a one-shot command")]
fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(code)
}
