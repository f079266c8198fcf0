//! A server that says what it is told to say, byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::PATIENCE;

/// What a server does with each connection, after it read the request.
#[derive(Clone)]
pub(super) enum Manner {
    /// Says this, and closes.
    Say(Vec<u8>),
    /// Says this, and then nothing, until the client has gone.
    Hang(Vec<u8>),
    /// Says the first, and then the second again and again, until the client has gone.
    Repeat(Vec<u8>, Vec<u8>),
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    /// Connections that were opened, and that the client closed before the server did.
    opened: watch::Receiver<usize>,
    left: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(manner: Manner) -> Self {
        Self::start_at("127.0.0.1:0", manner).await
    }

    pub(super) async fn start_at(address: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (opened_now, opened) = watch::channel(0);
        let (left_now, left) = watch::channel(0);
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                opened_now.send_modify(|count| *count += 1);
                let (manner, seen, left_now) = (manner.clone(), Arc::clone(&seen), left_now.clone());
                tokio::spawn(async move {
                    if speak(stream, manner, &seen).await.is_err() {
                        left_now.send_modify(|count| *count += 1);
                    }
                });
            }
        });
        Self { address, requests, opened, left, task }
    }

    pub(super) async fn say(answer: &str) -> Self {
        Self::start(Manner::Say(answer.into())).await
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        *self.opened.borrow()
    }

    pub(super) async fn until_connections(&mut self, count: usize) {
        reached(&mut self.opened, count, "connections").await;
    }

    pub(super) async fn until_clients_left(&mut self, count: usize) {
        reached(&mut self.left, count, "clients that left").await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn reached(now: &mut watch::Receiver<usize>, count: usize, what: &str) {
    let waited = timeout(PATIENCE, now.wait_for(|now| *now >= count)).await.is_ok();
    assert!(waited, "{} {what}, expected {count}", *now.borrow());
}

/// `Err`: the client closed first.
pub(super) async fn speak<S>(mut stream: S, manner: Manner, seen: &Mutex<Vec<String>>) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = read(&mut stream).await?;
    seen.lock().unwrap().push(request);
    match manner {
        Manner::Say(answer) => {
            stream.write_all(&answer).await?;
            // An orderly end also for TLS; who closed first does not matter any more.
            let _ = stream.shutdown().await;
            Ok(())
        }
        Manner::Hang(answer) => {
            stream.write_all(&answer).await?;
            match stream.read(&mut [0]).await? {
                0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(()),
            }
        }
        Manner::Repeat(first, again) => {
            stream.write_all(&first).await?;
            loop {
                stream.write_all(&again).await?;
            }
        }
    }
}

/// One request with its body.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut request = Vec::new();
    loop {
        request.push(stream.read_u8().await?);
        if let Some(head) = request.strip_suffix(b"\r\n\r\n") {
            let head = String::from_utf8_lossy(head).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            stream.read_exact(&mut body).await?;
            request.extend(body);
            return Ok(String::from_utf8_lossy(&request).into_owned());
        }
    }
}
