//! Results as text for people. Pure: bodies of the contract and the time go in, text comes out.

pub(crate) mod change;
pub(crate) mod lists;
pub(crate) mod policy;
pub(crate) mod snippet;
pub(crate) mod status;
pub(crate) mod style;
mod table;
mod units;
