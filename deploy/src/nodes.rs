//! The machines that are deployed to, as plain values: whoever made them says where they are.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

/// Where an engine listens on its own machine.
const SOCKET: &str = "/var/run/docker.sock";

/// What a node is in the Swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes part in the Swarm's decisions; the manager's service runs on one of these.
    Manager,
    /// Runs tasks only.
    Worker,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manager => "manager",
            Self::Worker => "worker",
        })
    }
}

/// How a node's Docker API is reached. Never over a public port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// A socket on this machine, `unix:///PATH`.
    Socket(PathBuf),
    /// The socket on the other side of SSH, `ssh://[USER@]HOST[:PORT][/PATH]`.
    Ssh(Ssh),
}

/// A way through the `ssh` program, which reads the user's own settings and keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// `[USER@]HOST`.
    pub destination: String,
    /// 22 or what the settings of `ssh` say, if absent.
    pub port: Option<u16>,
    /// The engine's socket on the other side.
    pub socket: PathBuf,
    /// Further options of `ssh`, `-o` left out: `ProxyCommand=…`.
    pub options: Vec<String>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its host name, which is its name in Swarm.
    pub name: String,
    /// What it should be in the Swarm.
    pub role: Role,
    /// Where other nodes reach it.
    pub address: IpAddr,
    /// How its engine is reached from here.
    pub access: Access,
}

/// Why a text names no node, or no way to one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Of `--node` or of a table.
    #[error("`{0}` is no node; give NAME=ACCESS,ROLE,ADDRESS, for example n1=ssh://ops@10.0.0.2,manager,10.0.0.2")]
    Node(String),
    /// Of its engine.
    #[error(
        "`{0}` is no way to a Docker engine; give unix:///PATH, ssh://[USER@]HOST[:PORT], \
         or iap://INSTANCE?project=PROJECT&zone=ZONE (never a TCP port: whoever reaches it owns the machine)"
    )]
    Access(String),
}

impl FromStr for Access {
    type Err = NodeError;

    fn from_str(text: &str) -> Result<Self, NodeError> {
        let bad = || NodeError::Access(text.to_owned());
        let plain = |part: &str| !part.is_empty() && !part.starts_with('-') && part.chars().all(is_plain);
        if let Some(path) = text.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
            return Ok(Self::Socket(path.into()));
        }
        if let Some(rest) = text.strip_prefix("ssh://") {
            let (authority, socket) = match rest.split_once('/') {
                Some((authority, path)) if !path.is_empty() => (authority, format!("/{path}")),
                Some((authority, _)) => (authority, SOCKET.to_owned()),
                None => (rest, SOCKET.to_owned()),
            };
            let (destination, port) = match authority.rsplit_once(':') {
                Some((destination, port)) => (destination, Some(port.parse().map_err(|_| bad())?)),
                None => (authority, None),
            };
            let mut parts = destination.splitn(2, '@');
            if !parts.all(plain) {
                return Err(bad());
            }
            let destination = destination.to_owned();
            return Ok(Self::Ssh(Ssh { destination, port, socket: socket.into(), options: Vec::new() }));
        }
        let (instance, query) = text.strip_prefix("iap://").and_then(|rest| rest.split_once('?')).ok_or_else(bad)?;
        let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        let (project, zone) = (value("project").ok_or_else(bad)?, value("zone").ok_or_else(bad)?);
        if ![instance, project, zone].into_iter().all(plain) {
            return Err(bad());
        }
        // What `gcloud compute ssh --tunnel-through-iap` runs itself.
        let proxy = format!(
            "ProxyCommand=gcloud compute start-iap-tunnel {instance} %p --listen-on-stdin --project={project} --zone={zone} --verbosity=warning"
        );
        let destination = instance.to_owned();
        Ok(Self::Ssh(Ssh { destination, port: None, socket: SOCKET.into(), options: vec![proxy] }))
    }
}

/// What may stand in a command line and in a URL's host without being read as anything else.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix://{}", path.display()),
            Self::Ssh(Ssh { destination, port: Some(port), .. }) => write!(f, "ssh://{destination}:{port}"),
            Self::Ssh(Ssh { destination, options, .. }) if options.is_empty() => write!(f, "ssh://{destination}"),
            Self::Ssh(Ssh { destination, .. }) => write!(f, "iap://{destination}"),
        }
    }
}

impl FromStr for Node {
    type Err = NodeError;

    /// `NAME=ACCESS,ROLE,ADDRESS`.
    fn from_str(text: &str) -> Result<Self, NodeError> {
        let bad = || NodeError::Node(text.to_owned());
        let (name, rest) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(bad)?;
        let parts: Vec<&str> = rest.split(',').collect();
        let [access, role, address] = parts[..] else { return Err(bad()) };
        let role = match role {
            "manager" => Role::Manager,
            "worker" => Role::Worker,
            _ => return Err(bad()),
        };
        let address = address.parse().map_err(|_| bad())?;
        Ok(Self { name: name.to_owned(), role, address, access: access.parse()? })
    }
}

/// A node as a table of the stack file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    role: Role,
    address: IpAddr,
    docker: String,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Table { name, role, address, docker } = Table::deserialize(deserializer)?;
        let access = docker.parse().map_err(serde::de::Error::custom)?;
        Ok(Self { name, role, address, access })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_told_in_one_word() {
        let node: Node = "n1=unix:///run/docker.sock,manager,10.0.0.2".parse().unwrap();

        assert_eq!((node.name.as_str(), node.role), ("n1", Role::Manager));
        assert_eq!(node.access, Access::Socket("/run/docker.sock".into()));
        for bad in ["", "n1", "n1=unix:///s", "=unix:///s,manager,10.0.0.2", "n1=unix:///s,king,10.0.0.2"] {
            assert!(bad.parse::<Node>().is_err(), "{bad}");
        }
    }

    #[test]
    fn engines_are_reached_by_sockets_ssh_and_iap_but_never_by_tcp() {
        let ssh = |text: &str| match text.parse::<Access>() {
            Ok(Access::Ssh(ssh)) => ssh,
            other => panic!("{other:?}"),
        };
        let near = ssh("ssh://ops@10.0.0.2:2222/run/d.sock");
        assert_eq!((near.destination.as_str(), near.port), ("ops@10.0.0.2", Some(2222)));
        assert_eq!(near.socket, PathBuf::from("/run/d.sock"));
        assert_eq!(ssh("ssh://m1").socket, PathBuf::from(SOCKET));
        insta::assert_snapshot!(
            ssh("iap://m1?project=p&zone=europe-west1-b").options[0],
            @"ProxyCommand=gcloud compute start-iap-tunnel m1 %p --listen-on-stdin --project=p --zone=europe-west1-b --verbosity=warning"
        );

        let hostile = ["iap://m1;reboot?project=p&zone=z", "iap://m1?project=$(id)&zone=z", "ssh://-oProxyCommand=x"];
        for bad in ["tcp://10.0.0.2:2375", "http://10.0.0.2:2375", "unix://relative", "ssh://", "ssh://h:x", "iap://m1"]
            .into_iter()
            .chain(hostile)
        {
            assert!(bad.parse::<Access>().is_err(), "{bad}");
        }
    }
}
