//! Every attack we know is contained, and what no person thought of is tried.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test, and clippy knows only the test functions")]

mod cases;
mod targets;
