//! A fresh stack for a test: the local cloud, a manager, executors, and clients of theirs.

use std::sync::Arc;
use std::time::Duration;

use harness::client::{Caller, Manager, RunAnswer};
use harness::laptop::{Laptop, LaptopOptions};
use harness::programs::Programs;
use harness::wait::wait_until;

/// Facts are waited for this long; far above what they take, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The rule that runs before anything is tried: `{"output":{"k":1}}`.
pub(crate) const RULE: &str = "return function(input) return { output = { k = 1 } } end";

pub(crate) struct Stack {
    pub(crate) laptop: Laptop,
    pub(crate) manager: Manager,
    pub(crate) caller: Caller,
    // Removed with the test; the programs' logs are in it, so a failed test prints them through its errors.
    _directory: tempfile::TempDir,
}

/// A stack with this many executors.
pub(crate) async fn stack(executors: u16) -> Stack {
    let directory = tempfile::tempdir().unwrap();
    let options = LaptopOptions {
        programs: Programs::build().unwrap(),
        executors,
        port: None,
        directory: directory.path().to_owned(),
        log: "info".into(),
        sink: Arc::new(|program, line| eprintln!("{program}: {line}")),
    };
    let laptop = Laptop::start(options).await.unwrap();
    let manager = Manager::new(&laptop.manager_url, None).unwrap();
    Stack { manager, caller: Caller::new(None).unwrap(), laptop, _directory: directory }
}

impl Stack {
    /// Pushes `acme/risk` with [`RULE`] and waits until it is live.
    pub(crate) async fn push_rule(&self) {
        let answer = self.manager.push("acme", "risk", RULE.as_bytes(), "wait=10s").await.unwrap().unwrap();
        assert!(answer.live.unwrap().is_complete());
    }

    /// What executor `index` answers to an empty input.
    pub(crate) async fn run_on(&self, index: usize, tenant: &str, script: &str) -> RunAnswer {
        self.caller.run(&self.laptop.executor_urls[index], tenant, script, "{}").await.unwrap()
    }

    /// `acme/risk` answers as [`RULE`] says, on every executor.
    pub(crate) async fn rule_still_runs(&self) {
        for index in 0..self.laptop.executor_urls.len() {
            let answer = self.run_on(index, "acme", "risk").await;
            assert_eq!((answer.status, &answer.body), (200, &serde_json::json!({"output": {"k": 1}})));
        }
    }

    /// Waits until every executor answers `tenant/script` with `{"output":{"k":k}}`.
    pub(crate) async fn wait_for_k(&self, tenant: &str, script: &str, k: u64) {
        for index in 0..self.laptop.executor_urls.len() {
            wait_until(&format!("executor {index} answers k = {k}"), DEADLINE, async || {
                let answer = self.run_on(index, tenant, script).await;
                if answer.body["output"]["k"] == k { Ok(()) } else { Err(format!("{answer:?}")) }
            })
            .await
            .unwrap();
        }
    }
}

/// A rule that answers `{"output":{"k":k}}`.
pub(crate) fn rule(k: u64) -> String {
    format!("return function(input) return {{ output = {{ k = {k} }} }} end")
}
