//! `cargo xtask provision`: what a stack should be, what has to be done for that, and doing it.

pub(crate) mod options;
mod show;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use infra::engine::{Engine, EngineError, Observer};
use infra::google::{GoogleCloud, GoogleStore};
use infra::plan::{Options, Plan};
use infra::resource::Resource;
use infra::stack::Stack;
use infra::store::LeaseError;
use tokio_util::sync::CancellationToken;

use crate::shell;
use options::{ApplyOptions, DestroyOptions, Limits, ProvisionCommand, ProvisionOptions, StateCommand};
use show::Show;

/// There is something to do, or something has drifted.
const CHANGES: u8 = 2;
/// Somebody else is at it.
const LOCKED: u8 = 3;
/// Some of it was done.
const PARTIAL: u8 = 4;

type GoogleEngine = Engine<GoogleCloud, GoogleStore>;

pub(crate) fn run(options: ProvisionOptions) -> ExitCode {
    let show = Show { json: options.json };
    show.begin();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return show.error(&err.into(), 1),
    };
    match runtime.block_on(told(options, show)) {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            let locked = matches!(err.downcast_ref(), Some(EngineError::Lease(LeaseError::Held(_))));
            show.error(&err, if locked { LOCKED } else { 1 })
        }
    }
}

async fn told(options: ProvisionOptions, show: Show) -> Result<u8> {
    // A provider that is there already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let file = shell::root().join("infra/stacks").join(format!("{}.toml", options.stack));
    let text = fs_err::read_to_string(&file).context("read the stack; `--stack NAME` says which")?;
    let stack = Stack::parse(&format!("infra/stacks/{}.toml", options.stack), &text)?;
    let desired = infra::render::resources(&stack)?;
    let store = GoogleStore::new(&stack)?;
    let changes_anything = !matches!(
        options.command,
        Some(ProvisionCommand::Plan(_) | ProvisionCommand::Drift | ProvisionCommand::State { .. })
    );
    if changes_anything {
        store.prepare().await?;
    }
    let engine = Engine::new(stack.name.as_str(), GoogleCloud::new(&stack)?, store);

    let yes = options.yes;
    match options.command {
        Some(ProvisionCommand::Plan(plan)) => {
            let made = engine.plan(&desired, &limited(&plan.limits)).await?;
            show.plan(&made);
            if let Some(out) = &plan.out {
                fs_err::write(out, serde_json::to_vec_pretty(&made)?)?;
            }
            Ok(if !made.problems.is_empty() {
                1
            } else if made.is_empty() {
                0
            } else {
                CHANGES
            })
        }
        None => apply(&engine, &desired, ApplyOptions::default(), yes, show).await,
        Some(ProvisionCommand::Apply(apply_options)) => apply(&engine, &desired, apply_options, yes, show).await,
        Some(ProvisionCommand::Destroy(destroy)) => {
            let DestroyOptions { keep_data, delete_data, steal, message } = destroy;
            let options = Options { destroy: true, keep_data, delete_data, ..Options::default() };
            change(&engine, &desired, &options, None, Permission { yes, steal, message }, show).await
        }
        Some(ProvisionCommand::Drift) => {
            let drift = engine.drift().await?;
            show.drift(&drift);
            Ok(if drift.is_empty() { 0 } else { CHANGES })
        }
        Some(ProvisionCommand::State { command }) => {
            let known = engine.state().await?;
            match command {
                StateCommand::List => show.list(&known),
                StateCommand::Show { id } => {
                    let Some(resource) = known.state.resources.get(&id) else {
                        bail!("the state knows no `{id}`: `cargo xtask provision state list` shows what it knows")
                    };
                    show.resource(resource);
                }
            }
            Ok(0)
        }
    }
}

fn limited(limits: &Limits) -> Options {
    Options {
        delete_data: limits.delete_data,
        break_quorum: limits.break_quorum,
        targets: limits.target.clone(),
        ..Options::default()
    }
}

/// What a person says beforehand.
struct Permission {
    yes: bool,
    steal: bool,
    message: String,
}

async fn apply(
    engine: &GoogleEngine,
    desired: &[Resource],
    options: ApplyOptions,
    yes: bool,
    show: Show,
) -> Result<u8> {
    let saved = match &options.plan {
        Some(file) => {
            let text = fs_err::read(file)?;
            let plan: Plan =
                serde_json::from_slice(&text).with_context(|| format!("`{}` is no plan", file.display()))?;
            Some(plan)
        }
        None => None,
    };
    let permission = Permission { yes, steal: options.steal, message: options.message };
    change(engine, desired, &limited(&options.limits), saved, permission, show).await
}

/// Takes the lease, plans unless there is a plan, asks, and applies.
async fn change(
    engine: &GoogleEngine,
    desired: &[Resource],
    options: &Options,
    saved: Option<Plan>,
    permission: Permission,
    show: Show,
) -> Result<u8> {
    let mut run = engine.begin(&holder(), &permission.message, permission.steal).await?;
    let stop = CancellationToken::new();
    let result = async {
        let plan = match saved {
            Some(plan) => plan,
            None => run.plan(desired, options).await?,
        };
        show.plan(&plan);
        if !plan.problems.is_empty() {
            return Ok(1);
        }
        if plan.is_empty() {
            return Ok(0);
        }
        if !permission.yes && !agreed()? {
            return Ok(CHANGES);
        }
        stop_at_interrupt(&stop);
        let observer: Observer = Arc::new(move |event| show.event(&event));
        let report = run.apply(&plan, &observer, &stop).await?;
        show.report(&report);
        Ok(if report.is_complete() { 0 } else { PARTIAL })
    }
    .await;
    run.end().await;
    result
}

/// Steps that have begun are ended, none is begun any more.
fn stop_at_interrupt(stop: &CancellationToken) {
    let stop = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            eprintln!("stopping: what has begun is ended, nothing else is begun");
            stop.cancel();
        }
    });
}

fn agreed() -> Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!("nobody is there to be asked: `--yes` applies without asking");
    }
    eprint!("Apply this? Only `yes` does: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// Who has the lease, for the next one who wants it.
fn holder() -> String {
    let host = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("process {} on {}", std::process::id(), host.trim())
}
