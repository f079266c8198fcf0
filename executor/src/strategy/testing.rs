//! Jobs for tests.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::job::{Entry, Job};
use crate::release::Script;
use crate::release::testing::workshop;

pub(crate) fn job(tenant: &str) -> Job {
    job_of(tenant, "return function() return 1 end")
}

pub(crate) fn job_of(tenant: &str, source: &str) -> Job {
    let script = Script::compile(
        tenant.parse().unwrap(),
        "x".parse().unwrap(),
        "x.luau",
        source.as_bytes().into(),
        &workshop(),
        Arc::default(),
    );
    Job {
        script: Arc::new(script.unwrap()),
        entry: Entry::Handle,
        id: Uuid::nil(),
        input: Bytes::new(),
        siblings: Arc::default(),
        layers: None,
        ticket: None,
        cancel: CancellationToken::new(),
        drill: None,
    }
}
