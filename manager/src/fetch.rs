//! From an object in the bucket to a change that the lane takes: read by generation, judge, describe.

use bytes::Bytes;
use contract::api::Activation;
use contract::release::Entry;
use contract::{Code, Version};
use tokio::sync::oneshot;

use crate::bucket::BucketError;
use crate::context::Context;
use crate::gate::Refusal;
use crate::plan::{Change, Fetch, Removal};
use crate::releaser::{Committed, ReleaseError, Request};

/// Where the lane's answer to a change arrives.
pub type Answer = oneshot::Receiver<Result<Committed, ReleaseError>>;

/// What became of an object that was to be read.
#[derive(Debug)]
pub enum Fetched {
    /// It may go into a release.
    Ready(Box<Entry>, Bytes),
    /// The gate refused it; the refusal is remembered.
    Refused,
    /// It is not there any more; another look will tell what is.
    Gone,
}

/// Reads and judges an object.
///
/// # Errors
/// [`BucketError`], but for those that [`Fetched`] tells.
pub async fn fetch(context: &Context, fetch: &Fetch) -> Result<Fetched, BucketError> {
    let object = &fetch.object;
    let refuse = |refusal: Refusal| {
        tracing::warn!(object = object.name, generation = object.generation, code = %refusal.code, detail = refusal.detail, "script refused");
        context.refusals.insert(&object.name, object.generation, refusal);
        Ok(Fetched::Refused)
    };
    let bytes_max = context.gate.source_bytes_max();
    if object.size > bytes_max as u64 {
        return refuse(too_large(object.size, bytes_max));
    }
    let source = match context.bucket.read(&object.name, Some(object.generation), bytes_max).await {
        Ok(content) => content.bytes,
        Err(BucketError::NotFound { .. }) => return Ok(Fetched::Gone),
        Err(BucketError::TooLarge { .. }) => return refuse(too_large(object.size, bytes_max)),
        Err(err) => return Err(err),
    };
    if let Err(refusal) = context.gate.check(&object.name, source.clone()).await {
        return refuse(refusal);
    }
    let entry = Entry {
        version: Version::of(&source),
        generation: object.generation,
        object: object.name.clone(),
        size: u32::try_from(source.len()).unwrap_or(u32::MAX),
        pushed_at_ms: object.written_at_ms,
        pushed_by: object.author(),
    };
    Ok(Fetched::Ready(Box::new(entry), source))
}

fn too_large(size: u64, bytes_max: usize) -> Refusal {
    let detail = format!("the script has {size} bytes, the most allowed is {bytes_max}");
    Refusal { code: Code::TooLarge, detail, diagnostics: Vec::new() }
}

/// The lane's form of a script that is to run.
pub fn set(fetch: &Fetch, entry: Entry, source: Bytes, reason: String) -> (Request, Answer) {
    let (reply, answer) = oneshot::channel();
    let (tenant, script) = (fetch.tenant.clone(), fetch.script.clone());
    (
        Request { tenant, script, change: Change::Set(entry), source, reason, activation: Activation::Live, reply },
        answer,
    )
}

/// The lane's form of a script that is to go.
pub fn remove(removal: &Removal, reason: String) -> (Request, Answer) {
    let (reply, answer) = oneshot::channel();
    let (tenant, script) = (removal.tenant.clone(), removal.script.clone());
    let change = Change::Remove { generation: removal.generation };
    (Request { tenant, script, change, source: Bytes::new(), reason, activation: Activation::Live, reply }, answer)
}
