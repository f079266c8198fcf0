//! An executor that only follows the feed, strictly: it checks signatures, digests, bases and order as a real one does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::feed::feed_client::FeedClient;
use contract::feed::{
    Activated, FromExecutor, Goodbye, Hello, Prepare, Prepared, Refused, SignedStatement, ToExecutor, from_executor,
    to_executor,
};
use contract::release::{self, Entry, PublicKeys, Scripts, Signed, check_digest};
use contract::{Version, feed};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::world::until;

/// How an executor behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners {
    /// Sources with this text in them are refused.
    pub(crate) dislikes: Option<&'static str>,
    /// A refusal does not say which script is at fault.
    pub(crate) vague: bool,
    /// The stream is not read at all.
    pub(crate) deaf: bool,
    /// What it runs when it comes, with the digest.
    pub(crate) active: (u64, String),
    /// Shown to the manager.
    pub(crate) token: Option<&'static str>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    pub(crate) number: u64,
    pub(crate) digest: String,
    pub(crate) scripts: Scripts,
    sources: BTreeMap<Version, Vec<u8>>,
    /// It was really prepared here, not only claimed.
    real: bool,
}

#[derive(Debug, Default)]
struct Inner {
    active: Held,
    staged: BTreeMap<u64, Held>,
    /// Everything that came, in short words.
    heard: Vec<String>,
    ended: Option<String>,
    silent: bool,
}

/// A running executor. Dropping it breaks its stream without a goodbye.
pub(crate) struct Follower {
    inner: Arc<Mutex<Inner>>,
    speak: Arc<Notify>,
    say: mpsc::Sender<FromExecutor>,
    task: tokio::task::JoinHandle<()>,
}

impl Follower {
    /// Connects and says hello.
    pub(crate) async fn connect(url: &str, id: &str, keys: PublicKeys, manners: Manners) -> Self {
        let channel = Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
        let (say, said) = mpsc::channel(16);
        let active = Held { number: manners.active.0, digest: manners.active.1.clone(), ..Held::default() };
        let hello = Hello {
            executor: id.to_owned(),
            node: format!("node-of-{id}"),
            program: "test".to_owned(),
            active: active.number,
            active_digest: active.digest.clone(),
        };
        say.send(message(from_executor::Kind::Hello(hello))).await.unwrap();
        let inner = Arc::new(Mutex::new(Inner { active, ..Inner::default() }));
        let speak = Arc::new(Notify::new());
        let mut request = tonic::Request::new(ReceiverStream::new(said));
        if let Some(token) = manners.token {
            request.metadata_mut().insert(feed::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        let (seen, answer, wait) = (Arc::clone(&inner), say.clone(), Arc::clone(&speak));
        let task = tokio::spawn(async move {
            let result = FeedClient::new(channel).follow(request).await;
            let mut stream = match result {
                Ok(response) => response.into_inner(),
                Err(status) => return seen.lock().unwrap().ended = Some(status.to_string()),
            };
            if manners.deaf {
                return std::future::pending().await;
            }
            let mut parts = Vec::new();
            let ended = loop {
                let next = match stream.message().await {
                    Ok(Some(next)) => next,
                    Ok(None) => break "end".to_owned(),
                    Err(status) => break status.message().to_owned(),
                };
                let reply = seen.lock().unwrap().take(next, &mut parts, &keys, &manners);
                let Some(reply) = reply else { continue };
                let silent = seen.lock().unwrap().silent;
                if silent && matches!(reply, from_executor::Kind::Prepared(_)) {
                    wait.notified().await;
                }
                if answer.send(message(reply)).await.is_err() {
                    break "closed".to_owned();
                }
            };
            seen.lock().unwrap().ended = Some(ended);
        });
        Self { inner, speak, say, task }
    }

    /// The release it runs.
    pub(crate) fn active(&self) -> u64 {
        self.inner.lock().unwrap().active.number
    }

    /// The source it runs for a script.
    pub(crate) fn source(&self, tenant: &str, script: &str) -> Option<String> {
        let inner = self.inner.lock().unwrap();
        let entry = inner.active.scripts.get(tenant)?.get(script)?;
        Some(String::from_utf8(inner.active.sources[&entry.version].clone()).unwrap())
    }

    /// What it runs, as a bundle would tell.
    pub(crate) fn held(&self) -> Held {
        self.inner.lock().unwrap().active.clone()
    }

    /// Everything that came, in short words.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.inner.lock().unwrap().heard.clone()
    }

    /// Waits until it runs `release`.
    pub(crate) async fn runs(&self, release: u64) {
        until(&format!("the executor runs release {release}"), || {
            let active = self.active();
            (active == release).then_some(()).ok_or_else(|| format!("it runs {active}, heard {:?}", self.heard()))
        })
        .await;
    }

    /// Waits until it heard `word` last.
    pub(crate) async fn hears(&self, word: &str) {
        until(&format!("the executor hears `{word}`"), || {
            let heard = self.heard();
            (heard.last().map(String::as_str) == Some(word)).then_some(()).ok_or_else(|| format!("{heard:?}"))
        })
        .await;
    }

    /// Why its stream ended.
    pub(crate) async fn ended(&self) -> String {
        until("the stream ends", || self.inner.lock().unwrap().ended.clone().ok_or("it stands".to_owned())).await
    }

    /// From now on each answer to prepare waits for a [`Follower::speak`].
    pub(crate) fn be_silent(&self) {
        self.inner.lock().unwrap().silent = true;
    }

    /// A silent one gives its next answer.
    pub(crate) fn speak(&self) {
        self.speak.notify_one();
    }

    /// It drains.
    pub(crate) async fn goodbye(self) {
        self.say.send(message(from_executor::Kind::Goodbye(Goodbye {}))).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), self.say.closed()).await.unwrap();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn message(kind: from_executor::Kind) -> FromExecutor {
    FromExecutor { kind: Some(kind) }
}

impl Inner {
    fn take(
        &mut self,
        next: ToExecutor,
        parts: &mut Vec<Prepare>,
        keys: &PublicKeys,
        manners: &Manners,
    ) -> Option<from_executor::Kind> {
        match next.kind.unwrap() {
            to_executor::Kind::Prepare(part) => {
                let last = part.last;
                parts.push(part);
                if !last {
                    return None;
                }
                Some(self.prepare(std::mem::take(parts), keys, manners))
            }
            to_executor::Kind::Activate(activate) => {
                self.heard.push(format!("activate {}", activate.release));
                let staged = self.staged.remove(&activate.release).expect("only what was prepared is activated");
                assert!(staged.number > self.active.number, "an executor never goes back");
                self.active = staged;
                self.staged.clear();
                Some(from_executor::Kind::Activated(Activated { release: activate.release, micros: 1 }))
            }
            to_executor::Kind::Abandon(abandon) => {
                self.heard.push(format!("abandon {}", abandon.release));
                self.staged.remove(&abandon.release);
                None
            }
        }
    }

    fn prepare(&mut self, parts: Vec<Prepare>, keys: &PublicKeys, manners: &Manners) -> from_executor::Kind {
        let SignedStatement { statement, key_id, signature } = parts[0].statement.clone().unwrap();
        let signature = data_encoding::BASE64.encode(&signature);
        let statement = Signed { statement, key_id, signature }.verify("dev", keys).expect("releases are signed");
        let (release, base) = (statement.number, parts[0].base);
        let refuse = |code: &str, detail: &str, tenant: &str, script: &str| {
            from_executor::Kind::Refused(Refused {
                release,
                code: code.to_owned(),
                detail: detail.to_owned(),
                tenant: tenant.to_owned(),
                script: script.to_owned(),
            })
        };
        self.heard.push(format!("prepare {release} on {base}"));
        assert!(release > self.active.number, "release {release} is not newer than {}", self.active.number);
        let mut next = match base {
            0 => Held::default(),
            base if base == self.active.number && self.active.real => self.active.clone(),
            _ => return refuse("unknown_base", "base is not at hand", "", ""),
        };
        for change in parts.into_iter().flat_map(|part| part.changes) {
            let (tenant, script) = (change.tenant.parse().unwrap(), change.script.parse().unwrap());
            let Some(version) = change.version else {
                release::remove(&mut next.scripts, &tenant, &script);
                continue;
            };
            let entry: Entry = serde_json::from_str(&version.entry).unwrap();
            assert_eq!(Version::of(&version.source), entry.version, "a source is what it is said to be");
            let text = String::from_utf8_lossy(&version.source).into_owned();
            if manners.dislikes.is_some_and(|dislike| text.contains(dislike)) {
                let (tenant, script) =
                    if manners.vague { ("", "") } else { (change.tenant.as_str(), change.script.as_str()) };
                return refuse("script_refused", "it can't be compiled here", tenant, script);
            }
            next.sources.insert(entry.version.clone(), version.source);
            release::set(&mut next.scripts, tenant, script, entry);
        }
        check_digest(&statement, &next.scripts).expect("the digest covers the scripts");
        (next.number, next.digest, next.real) = (release, statement.digest, true);
        self.staged.insert(release, next);
        from_executor::Kind::Prepared(Prepared { release, micros: 1 })
    }
}
