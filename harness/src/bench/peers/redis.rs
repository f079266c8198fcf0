//! The two commands that Redis is given before it is measured.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use loadgen::wire::{Protocol, evalsha};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(5);

/// `SCRIPT LOAD`; gives the name that EVALSHA wants.
pub(super) async fn load(address: SocketAddr, script: &str) -> Result<String> {
    let command = format!("*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n${}\r\n{script}\r\n", script.len());
    ask(address, command.as_bytes()).await.context("SCRIPT LOAD")
}

/// `EVALSHA`.
pub(super) async fn evaluate(address: SocketAddr, sha: &str, argument: &str) -> Result<String> {
    ask(address, &evalsha(sha, argument.as_bytes())).await.context("EVALSHA")
}

async fn ask(address: SocketAddr, command: &[u8]) -> Result<String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(command).await?;
        let mut received = Vec::new();
        loop {
            if stream.read_buf(&mut received).await? == 0 {
                bail!("the connection broke");
            }
            let Ok(answer) = Protocol::Redis.answer(&received) else { bail!("what {address} answers is not Redis") };
            if let Some(answer) = answer {
                let text = String::from_utf8_lossy(answer.body).into_owned();
                return if answer.status == 200 { Ok(text) } else { bail!("{text}") };
            }
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.with_context(|| format!("no answer in {DEADLINE:?}"))?
}
