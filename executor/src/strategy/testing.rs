//! Jobs for tests.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::job::Job;
use crate::release::Script;

pub(crate) fn job(tenant: &str) -> Job {
    job_of(tenant, "return function() return 1 end")
}

pub(crate) fn job_of(tenant: &str, source: &str) -> Job {
    let script = Script::compile(
        tenant.parse().unwrap(),
        "x".parse().unwrap(),
        "x.luau",
        source.as_bytes().into(),
        &sandbox::Limits::default(),
        Arc::default(),
    );
    Job { script: Arc::new(script.unwrap()), id: Uuid::nil(), input: Bytes::new(), drill: None }
}
