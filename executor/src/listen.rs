//! One listening socket per worker on the same address (`SO_REUSEPORT`, socket(7)): the kernel spreads connections over
//! them, and no worker hands one to another.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Protocol, Type};

/// Connections that the kernel keeps for a worker that is busy with a script; more are refused by it.
const BACKLOG: i32 = 1024;

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address}; is another executor running there?")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    err: std::io::Error,
}

/// `count` sockets on `address`, all bound before the first connection is taken. Port 0 takes a free one, the same for
/// all.
///
/// # Errors
/// [`ListenError`]; also when another program listens there, though it allows to share the port.
pub(crate) fn bind_all(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, ListenError> {
    let attempt = || {
        if address.port() != 0 {
            // Without this, a second executor would silently take every other connection of the first.
            drop(bind(address, false)?);
        }
        let first = bind(address, true)?;
        let address = first.local_addr()?;
        let mut listeners = vec![first];
        for _ in 1..count {
            listeners.push(bind(address, true)?);
        }
        Ok(listeners)
    };
    attempt().map_err(|err| ListenError { address, err })
}

/// A listening socket that outlives the thread that serves it.
#[derive(Debug)]
pub(crate) struct Socket(Mutex<Option<TcpListener>>);

impl Socket {
    /// Kept open until [`Socket::close`].
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self(Mutex::new(Some(listener)))
    }

    /// A handle of it for one who serves it; `None` once it is closed.
    ///
    /// # Errors
    /// The operating system gives no descriptor.
    pub(crate) fn listener(&self) -> std::io::Result<Option<TcpListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(TcpListener::try_clone).transpose()
    }

    /// From now on it is open only as long as the one who serves it wants.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn bind(address: SocketAddr, shared: bool) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if shared {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_one_free_port() {
        let listeners = bind_all("127.0.0.1:0".parse().unwrap(), 3).unwrap();

        let ports: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();

        assert_ne!(ports[0], 0);
        assert!(ports.iter().all(|port| *port == ports[0]));
    }

    #[test]
    fn a_second_program_on_the_same_port_is_refused() {
        let first = bind_all("127.0.0.1:0".parse().unwrap(), 2).unwrap();

        let err = bind_all(first[0].local_addr().unwrap(), 2).unwrap_err();

        assert!(err.to_string().contains("is another executor running there?"));
    }
}
