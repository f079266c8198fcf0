//! What the sandbox costs without HTTP: runs the sandbox's own measuring program, because the harness knows the product
//! from outside only.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::Bench;
use super::figure::Figure;
use super::peers::ORDER;

const DEADLINE: Duration = Duration::from_secs(300);

/// One figure of the sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cost {
    /// What was measured.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// How much.
    pub value: Figure,
}

pub(super) async fn run(bench: &Bench<'_>) -> Result<Vec<Cost>> {
    let (rule, order) = (bench.folder.join("rule.lua"), bench.folder.join("order.json"));
    fs_err::write(&rule, include_str!("../../bench/rule.lua"))?;
    fs_err::write(&order, ORDER)?;
    let mut command = Command::new(&bench.tools.cost);
    command.args([&rule, &order]).arg(bench.lengths.batches.to_string()).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output())
        .await
        .with_context(|| format!("the sandbox's costs are not measured after {DEADLINE:?}"))?
        .context("run the sandbox's measuring program")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).context("read the sandbox's costs")
}
