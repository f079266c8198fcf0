//! What is behind the front door: the part of the executor that runs things.

use bytes::Bytes;
use contract::Problem;
use contract::ids::{ScriptName, TenantName};

/// Takes what messages ask for, from several tasks at once.
pub trait Door: Send + Sync + 'static {
    /// Does what `delivery` asks, to its end. A message may be delivered more than once, so an id is with it.
    fn deliver(&self, delivery: Delivery) -> impl Future<Output = Verdict> + Send;
}

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message's id, the same at each delivery.
    pub message_id: String,
    /// Whose script or event it is.
    pub tenant: TenantName,
    /// What it is for.
    pub target: Target,
    /// JSON, as far as the sender knows; empty for `null`. UTF-8, and within the limit on inputs.
    pub input: Bytes,
}

/// What a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// This script.
    Script(ScriptName),
    /// Every script that handles this event. The name is text of 1 to 64 bytes, not checked any further.
    Event(String),
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The execution succeeded; for an event, every execution that it led to, or there was none to be had.
    Done,
    /// It did not; the problem's code decides what becomes of the message.
    Refused(Problem),
}
