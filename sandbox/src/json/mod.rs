//! JSON to Luau values and back, without a tree between: values are made on the Lua stack as the text is read, and
//! written as the tables are walked.

mod push;
mod take;

pub(crate) use push::push;
pub(crate) use take::{Refused, take};
