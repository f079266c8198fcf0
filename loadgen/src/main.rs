//! `loadgen`: asks a server as told by its flags, and prints the outcome as JSON.
#![expect(clippy::print_stdout, reason = "a command-line tool prints")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use loadgen::drive::{Order, drive};
use loadgen::wire::{self, Protocol};

/// Asks a server and prints how it answered, as JSON.
#[derive(Debug, Parser)]
#[command(name = "loadgen", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// POST over HTTP/1.1.
    Http {
        #[command(flatten)]
        load: Load,
        /// Path to ask.
        #[arg(long, value_name = "PATH", required_unless_present = "paths")]
        path: Option<String>,
        /// File with paths to ask one after the other, one a line.
        #[arg(long, value_name = "FILE", conflicts_with = "path")]
        paths: Option<PathBuf>,
        /// Further header, `Name: value`.
        #[arg(long = "header", value_name = "HEADER")]
        headers: Vec<String>,
        /// Tell the values of this response header apart, each with the body.
        #[arg(long, value_name = "NAME")]
        note: Option<String>,
    },
    /// EVALSHA over Redis' protocol.
    Redis {
        #[command(flatten)]
        load: Load,
        /// The script, as `SCRIPT LOAD` named it.
        #[arg(long)]
        sha: String,
    },
    /// Use up one core, to be in the way of others.
    Busy {
        /// For so long.
        #[arg(long, value_name = "SECONDS")]
        seconds: f64,
    },
}

#[derive(Debug, Args)]
struct Load {
    /// Whom to ask.
    #[arg(long, value_name = "IP:PORT")]
    address: SocketAddr,
    /// File with the body to send; nothing if absent.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// Over so many connections.
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// For at most so long.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// At most so many requests.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true, value_name = "N")]
    requests: u64,
    /// Requests per second, sent whatever the answers do; as fast as answers come if absent.
    #[arg(long)]
    rate: Option<f64>,
    /// Count only answers with this text as good.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    expect: String,
}

fn main() -> Result<()> {
    let order = match Cli::parse().command {
        Command::Busy { seconds } => {
            busy(seconds);
            return Ok(());
        }
        Command::Http { load, path, paths, headers, note } => {
            let body = load.body()?;
            let paths = match (path, paths) {
                (_, Some(file)) => fs_err::read_to_string(file)?.lines().map(ToOwned::to_owned).collect(),
                (path, None) => Vec::from_iter(path),
            };
            ensure!(!paths.is_empty(), "there is no path to ask");
            let host = load.address.to_string();
            let requests = paths.iter().map(|path| wire::post(&host, path, &headers, &body)).collect();
            Order { note: note.map(|name| name.to_ascii_lowercase()), ..load.order(Protocol::Http, requests)? }
        }
        Command::Redis { load, sha } => {
            let requests = vec![wire::evalsha(&sha, &load.body()?)];
            load.order(Protocol::Redis, requests)?
        }
    };
    println!("{}", serde_json::to_string(&drive(&order)?)?);
    Ok(())
}

impl Load {
    fn body(&self) -> Result<Vec<u8>> {
        self.body.as_ref().map_or_else(|| Ok(Vec::new()), |file| Ok(fs_err::read(file)?))
    }

    fn order(self, protocol: Protocol, requests: Vec<Vec<u8>>) -> Result<Order> {
        ensure!(self.rate.is_none_or(|rate| rate > 0.0), "`--rate` must be above 0");
        Ok(Order {
            address: self.address,
            protocol,
            requests,
            connections: usize::from(self.connections),
            duration: Duration::try_from_secs_f64(self.seconds).context("`--seconds`")?,
            requests_max: self.requests,
            rate: self.rate,
            expect: self.expect.into_bytes(),
            note: None,
        })
    }
}

fn busy(seconds: f64) {
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < seconds {
        std::hint::spin_loop();
    }
}
