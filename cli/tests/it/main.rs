//! The real program against a canned manager and executor: what is sent, what is printed where, and exit codes.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

mod calling;
mod changes;
mod fake;
mod looking;
mod on_the_desk;
mod packages;
mod policy;
mod program;
mod speech;
