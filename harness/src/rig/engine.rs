//! The outer Docker engine: found, or missed with a sentence that helps.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;

use super::facts::Facts;

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// A local engine answers within milliseconds; a socket without an engine behind it may never answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// For single requests. Loading a node image on a slow disk takes the longest.
pub(super) const REQUEST_SECONDS: u64 = 120;

/// No engine that the rig could use. Each form is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum NoEngine {
    /// Nothing answers.
    #[error(
        "no Docker engine answers at {host}: start one (`sudo systemctl start docker`) or set DOCKER_HOST to the \
         socket of the one you run (unix:///run/user/1000/docker.sock)"
    )]
    Silent {
        /// Where it was sought.
        host: String,
        /// Why that failed.
        #[source]
        source: Option<Error>,
    },
    /// It is there but not for this user.
    #[error(
        "the Docker engine at {host} refuses this user: join the group `docker` (`sudo usermod -aG docker $USER`) and log in again"
    )]
    Forbidden {
        /// Where it was sought.
        host: String,
        /// What the system said.
        #[source]
        source: Error,
    },
    /// Not on this machine.
    #[error(
        "the Docker engine at {host} is reached over a network, but nodes and tests share folders: set DOCKER_HOST to a unix:// socket of this machine"
    )]
    Remote {
        /// What DOCKER_HOST says.
        host: String,
    },
}

/// A Docker engine on this machine.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    facts: Facts,
}

impl Engine {
    /// Connects to the engine at `DOCKER_HOST`, else at Docker's default socket, and agrees on an API version.
    ///
    /// # Errors
    /// [`NoEngine`] tells which of the usual reasons it is.
    pub async fn find() -> Result<Self, NoEngine> {
        let docker = connect().await?;
        let silent = |source| NoEngine::Silent { host: host(), source: Some(source) };
        let info = docker.info().await.map_err(silent)?;
        Ok(Self { docker, facts: Facts::gather(&info) })
    }

    /// The client.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// What the engine and the kernel can do.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// `DOCKER_HOST` is Docker's own setting, not ours: testcontainers, which starts the nodes, reads it by itself too.
fn host() -> String {
    let set = std::env::var_os("DOCKER_HOST").filter(|host| !host.is_empty());
    set.map_or_else(|| DEFAULT_HOST.to_owned(), |host| host.to_string_lossy().into_owned())
}

/// Also the way in for the reaper, which wants no facts.
pub(super) async fn connect() -> Result<Docker, NoEngine> {
    connect_to(&host()).await
}

async fn connect_to(host: &str) -> Result<Docker, NoEngine> {
    let Some(path) = host.strip_prefix("unix://") else {
        return Err(NoEngine::Remote { host: host.to_owned() });
    };
    let silent = |source| NoEngine::Silent { host: host.to_owned(), source };
    let docker = Docker::connect_with_unix(path, REQUEST_SECONDS, bollard::API_DEFAULT_VERSION)
        .map_err(|source| silent(Some(source)))?;
    match tokio::time::timeout(ANSWER_WITHIN, docker.negotiate_version()).await {
        Ok(Ok(docker)) => Ok(docker),
        Ok(Err(source)) if is_forbidden(&source) => Err(NoEngine::Forbidden { host: host.to_owned(), source }),
        Ok(Err(source)) => Err(silent(Some(source))),
        Err(_) => Err(silent(None)),
    }
}

fn is_forbidden(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_denied = |io: &std::io::Error| io.kind() == std::io::ErrorKind::PermissionDenied;
    error.downcast_ref().is_some_and(is_denied) || error.source().is_some_and(is_forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_engine_is_one_sentence_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let host = format!("unix://{}", folder.path().join("docker.sock").display());

        let error = connect_to(&host).await.unwrap_err();

        let words = error.to_string().replace(&host, "[host]");
        insta::assert_snapshot!(words, @"no Docker engine answers at [host]: start one (`sudo systemctl start docker`) or set DOCKER_HOST to the socket of the one you run (unix:///run/user/1000/docker.sock)");
    }

    #[tokio::test]
    async fn an_engine_elsewhere_is_refused_before_anything_is_sent() {
        let error = connect_to("tcp://192.0.2.7:2375").await.unwrap_err();

        insta::assert_snapshot!(error, @"the Docker engine at tcp://192.0.2.7:2375 is reached over a network, but nodes and tests share folders: set DOCKER_HOST to a unix:// socket of this machine");
    }
}
