//! What two Moonswarm programs, or two releases of one program, agree on.
//!
//! Nothing here does I/O or reads a clock. A type belongs here only if it crosses a process boundary: names
//! ([`ids`]), the [`token`] that callers show, signed releases ([`release`], [`bundle`]), on which terms tenants' scripts run ([`policy`], written in [`units`]), the feed between manager and executors ([`feed`]), the HTTP
//! bodies of the manager ([`api`]) and the errors of every HTTP face ([`problem`]).

pub mod api;
pub mod bundle;
pub mod feed;
pub mod ids;
pub mod policy;
pub mod problem;
pub mod release;
pub mod token;
pub mod units;

pub use ids::{ScriptName, TenantName, Version};
pub use problem::{Code, Diagnostic, Problem};
pub use token::Token;
