//! Names to addresses.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::thread;

use tokio::sync::oneshot;

/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;

/// Looks up names. What it says is checked by who asks; so is how many lookups there are at once.
pub trait Resolve: Send + Sync {
    /// The addresses of `name`, the best first.
    fn resolve(&self, name: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;
}

/// `getaddrinfo(3)`: `/etc/hosts` and `/etc/resolv.conf` of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let (found, answer) = oneshot::channel();
        let name = name.to_owned();
        // Not on the runtime's blocking threads: a runtime waits for those when it ends, and a lookup may hang.
        thread::Builder::new().name("lookup".into()).spawn(move || {
            let addresses = (name.as_str(), 0).to_socket_addrs();
            // Nobody may be waiting any more.
            let _ = found.send(addresses.map(|found| found.map(|address| address.ip()).take(ADDRESSES_MAX).collect()));
        })?;
        answer.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_knows_localhost() {
        let found = SystemResolver.resolve("localhost").await.unwrap();

        assert!(found.iter().any(IpAddr::is_loopback), "{found:?}");
    }
}
