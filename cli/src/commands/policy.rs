//! `moonswarm policy`: push, show, check.

use contract::api::Activation;
use contract::{ScriptName, TenantName, Version};
use serde::Serialize;

use super::{change, show};
use crate::cli::{Globals, Policy, PolicyCheck, PolicyPush};
use crate::desk::{self, Script};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manager::Terms;
use crate::output::Output;
use crate::render::style::{GOOD, clean, paint};

/// Does what the command line says.
///
/// # Errors
/// What the author has to be told.
pub(super) async fn run(globals: &Globals, policy: &Policy, output: Output) -> Result<Exit, Failure> {
    match policy {
        Policy::Push(push) => self::push(globals, push, output).await,
        Policy::Show(show) => show::policy(globals, show, output).await,
        Policy::Check(check) => self::check(check, output),
    }
}

async fn push(globals: &Globals, push: &PolicyPush, output: Output) -> Result<Exit, Failure> {
    let script = Script::read(&push.file)?;
    let terms = Terms {
        wait: push.change.wait,
        activation: Activation::Live,
        if_generation: push.if_generation,
        author: push.change.author(),
    };
    change::send(globals, &push.of.tenant(), &ScriptName::policy(), &script, &terms, output).await
}

/// What `policy check --json` prints.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    file: &'a str,
    ok: bool,
    version: Version,
    /// Tenants that the operator's policy names.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenants: Option<usize>,
}

fn check(check: &PolicyCheck, output: Output) -> Result<Exit, Failure> {
    let script = Script::read(&check.file)?;
    let tenant = if check.stack { TenantName::stack() } else { "check".parse().expect("it is a name") };
    let policy = desk::policy(&script, &tenant)?;
    let (version, tenants) = (Version::of(&script.source), policy.as_stack().map(|stack| stack.tenants.len()));
    let of = match tenants {
        None => "a tenant's policy".to_owned(),
        Some(tenants) => format!("the stack's policy, with entries for {tenants} tenants"),
    };
    let text = format!("{} {} version {}, {of}\n", paint(GOOD, "ok"), clean(&script.path), version.short());
    output.result(&text, &Checked { file: &script.path, ok: true, version, tenants })?;
    Ok(Exit::Done)
}
