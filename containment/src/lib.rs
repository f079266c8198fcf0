//! Attacks on the sandbox: what they are, how they are run, and when one counts as contained.
//!
//! A [`Case`] is a script that tries to break out, to hang, to take memory or to leave something behind. It is run by the
//! library in a process of its own ([`library`]) or by a real executor (the harness does that), which gives a [`Seen`];
//! [`judge`] makes a [`Verdict`] of it, from facts that a script has no hand in. `docs/sandbox.md` says in words what
//! the code here says.
//!
//! [`targets`] are the entry points for fuzzers, [`mutate`] feeds them where no fuzzer is at hand.

pub mod case;
pub mod library;
pub mod mutate;
pub mod report;
pub mod seen;
pub mod targets;
pub mod verdict;

pub use case::Case;
pub use seen::Seen;
pub use verdict::{Verdict, judge};
