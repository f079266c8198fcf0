//! A Docker socket on the far side of SSH, as a socket here: `ssh -L`, for as long as the value lives.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::nodes::Ssh;

/// A login through IAP takes some seconds.
const OPEN_WITHIN: Duration = Duration::from_secs(45);
/// Between two looks whether the socket is there.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// What is told of the words of `ssh`.
const WORDS_MAX: u64 = 2000;

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// Not installed, or no place for the socket.
    #[error("start `ssh`; is it installed?")]
    Start(#[source] std::io::Error),
    /// It ended, with its own words.
    #[error("`ssh {destination}` ended before the tunnel stood: {words}; try `ssh {destination} true` by hand")]
    Ended {
        /// Where to.
        destination: String,
        /// What it printed.
        words: String,
    },
    /// It neither ended nor opened.
    #[error(
        "`ssh {destination}` made no tunnel within {OPEN_WITHIN:?}; is the machine up, and its port 22 open to you?"
    )]
    Late {
        /// Where to.
        destination: String,
    },
}

/// An open tunnel. Dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Tunnel {
    folder: TempDir,
    _ssh: Child,
}

impl Tunnel {
    /// Opens one and waits until it stands.
    pub(crate) async fn open(ssh: &Ssh) -> Result<Self, TunnelError> {
        let folder = tempfile::Builder::new().prefix("moonswarm-").tempdir().map_err(TunnelError::Start)?;
        let socket = folder.path().join("docker.sock");
        let mut child = command(ssh, &socket.display().to_string()).spawn().map_err(TunnelError::Start)?;
        let destination = || ssh.destination.clone();
        let by = Instant::now() + OPEN_WITHIN;
        // `ssh` binds the socket when the session stands.
        while UnixStream::connect(&socket).await.is_err() {
            if child.try_wait().map_err(TunnelError::Start)?.is_some() {
                let mut words = String::new();
                if let Some(stderr) = child.stderr.take() {
                    let _ = stderr.take(WORDS_MAX).read_to_string(&mut words).await;
                }
                return Err(TunnelError::Ended { destination: destination(), words: words.trim().to_owned() });
            }
            if Instant::now() > by {
                return Err(TunnelError::Late { destination: destination() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // Its later words would fill the pipe and stop it.
        if let Some(mut stderr) = child.stderr.take() {
            tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
        }
        Ok(Self { folder, _ssh: child })
    }

    /// The near end.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }
}

fn command(ssh: &Ssh, socket: &str) -> Command {
    let mut command = Command::new("ssh");
    command.args(["-N", "-T"]);
    // Questions by `ssh` would hang a deploy that nobody watches; a dead peer should end it.
    for option in ["BatchMode=yes", "ExitOnForwardFailure=yes", "ConnectTimeout=20", "ServerAliveInterval=15"] {
        command.args(["-o", option]);
    }
    for option in &ssh.options {
        command.args(["-o", option]);
    }
    if let Some(port) = ssh.port {
        command.args(["-p", &port.to_string()]);
    }
    command
        .args(["-L", &format!("{socket}:{}", ssh.socket.display()), "--", &ssh.destination])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_is_called_so_that_it_never_asks_and_ends_with_its_peer() {
        let ssh = Ssh {
            destination: "ops@m1".into(),
            port: Some(2222),
            socket: "/var/run/docker.sock".into(),
            options: vec!["ProxyCommand=nc m1 22".into()],
        };
        let command = command(&ssh, "/tmp/x/docker.sock");
        let words: Vec<_> = command.as_std().get_args().map(|word| word.to_string_lossy()).collect();

        insta::assert_snapshot!(words.join(" "), @"-N -T -o BatchMode=yes -o ExitOnForwardFailure=yes -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ProxyCommand=nc m1 22 -p 2222 -L /tmp/x/docker.sock:/var/run/docker.sock -- ops@m1");
    }
}
