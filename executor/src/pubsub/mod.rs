//! Pub/Sub as a second front door: a message becomes an execution, and is acknowledged when that succeeded.
//!
//! A message has the attributes `tenant` and `script` (run the script) or `tenant` and `event` (an event for whoever
//! handles it); its data is the input, JSON. Where it goes is behind [`Door`]. What becomes of it:
//!
//! | the execution | the subscription | the message |
//! |---|---|---|
//! | succeeded | any | acknowledged; a copy of it that comes within ten minutes is acknowledged without an execution |
//! | can't be had now (`overloaded`, `not_ready`) | any | kept and tried again here, for two minutes; then given back |
//! | broke down (`internal`), or is switched off (`suspended`) | any | given back after a second |
//! | is refused or failed (all other codes; no message of ours) | has a dead letter topic | given back, until Pub/Sub moves it there |
//! | " | has none | logged as a warning, and acknowledged: it would come back for days |
//!
//! Given back is a negative acknowledgement. Pub/Sub counts each against the attempts of a dead letter policy, which is
//! why an executor that is only busy does not use one. Order is not kept, and ordering keys mean nothing here.
//! `docs/decisions/0012-pubsub-front-door.md` says why.
//!
//! The official client extends leases while messages are held here, and keeps the stream open over faults that pass;
//! [`FrontDoor`] opens it anew over those that do not.

mod counts;
mod door;
mod follow;
mod handle;
mod message;
mod next;
mod recent;
mod settings;

pub use self::counts::Counts;
pub use self::door::{Delivery, Door, Target, Verdict};
pub use self::follow::{FrontDoor, OpenError};
pub use self::settings::{PubsubFlags, PubsubSettings};
