//! JSON to Luau values and back, without a tree between: values are made on the Lua stack as the text is read, and
//! written as the tables are walked.

mod push;
mod take;

pub(crate) use push::push;
pub(crate) use take::{Refused, take};

/// Values between two looks at the deadline, and one for each table, because a table may be large and empty: Luau
/// visits every place that it has room for. No look costs more than a few values.
const LOOK_EVERY: u32 = 1024;
