//! `moonswarm-manager`.
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "before the log is set up, and for answers to a person")]

use std::process::ExitCode;

use clap::Parser;
use manager::settings::{Cli, ServeFlags, Task};
use manager::{keygen, run};
use telemetry::{chain, health};

/// Bad settings, as clap has it for bad flags.
const EXIT_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().task() {
        Task::Serve(flags) => serve(*flags),
        Task::Keygen(dir) => match keygen::keygen(&dir) {
            Ok((private, public)) => {
                println!("{}: for managers (--signing-key), keep it secret", private.display());
                println!("{}: for executors (--public-keys)", public.display());
                ExitCode::SUCCESS
            }
            Err(err) => fail(&err),
        },
        Task::Health(url) => match health::check(&url) {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => fail(&err),
        },
    }
}

fn serve(flags: ServeFlags) -> ExitCode {
    let settings = match flags.check() {
        Ok(settings) => settings,
        Err(faults) => {
            faults.0.iter().for_each(|fault| eprintln!("error: {fault}"));
            eprintln!("\nhint: `moonswarm-manager --help` tells what each setting is");
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    let _log = match telemetry::init(&settings.log, settings.log_format) {
        Ok(log) => log,
        Err(err) => {
            eprintln!("error: --log `{}`: {err}", settings.log);
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    // The Google clients need it before the first of them is made. A second installation would be an error of ours.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a provider of cryptography was installed before");
    }
    match run::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            tracing::error!(err = chain(&err), "the manager did not start");
            ExitCode::FAILURE
        }
    }
}

fn fail(err: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {}", chain(err));
    ExitCode::FAILURE
}
