//! What can be typed behind `provision`. The doc comments are the help texts.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use infra::resource::Id;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask provision --stack example\n  cargo xtask provision --stack local --yes\n  cargo xtask provision plan --stack example --out plan.json\n  \
    cargo xtask provision apply --stack example plan.json\n  cargo xtask provision destroy --stack example --keep-data\n\n\
    Exit codes: 0 nothing to do or done, 1 error, 2 there are changes or drift, 3 locked, 4 partly done (run it again)."
)]
pub(crate) struct ProvisionOptions {
    #[command(subcommand)]
    pub(crate) command: Option<ProvisionCommand>,
    /// Which stack: `infra/stacks/NAME.toml`.
    #[arg(long, global = true, default_value = "local", value_name = "NAME")]
    pub(crate) stack: String,
    /// JSON lines in the form of OpenTofu's machine-readable UI.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Don't ask.
    #[arg(long, global = true)]
    pub(crate) yes: bool,
}

/// Without one: plan, ask, apply.
#[derive(Debug, Subcommand)]
pub(crate) enum ProvisionCommand {
    /// Tell what would be done. Changes nothing; exit code 2 if there is something to do.
    Plan(PlanOptions),
    /// Do what has to be done, or exactly what a saved plan says.
    Apply(ApplyOptions),
    /// Delete everything of the stack. What holds data stays, or is named explicitly.
    Destroy(DestroyOptions),
    /// Tell what is no longer as it was made. Exit code 2 if anything.
    Drift,
    /// Show what was made.
    State {
        #[command(subcommand)]
        command: StateCommand,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PlanOptions {
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// Save the plan, for `apply FILE`.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Limits {
    /// Only this resource and what it needs, as in `instance/local-manager-0`; may be given several times.
    #[arg(long, value_name = "KIND/NAME")]
    pub(crate) target: Vec<Id>,
    /// Disturb more managers than the quorum of the Swarm bears.
    #[arg(long)]
    pub(crate) break_quorum: bool,
    /// Replace or delete also what holds data.
    #[arg(long)]
    pub(crate) delete_data: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ApplyOptions {
    /// A plan that `plan --out` saved. It is refused if the state has changed since.
    #[arg(value_name = "FILE", conflicts_with_all = ["target", "break_quorum", "delete_data"])]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// Take the lease from whoever has it.
    #[arg(long)]
    pub(crate) steal: bool,
    /// What this is for; whoever is locked out reads it.
    #[arg(long, default_value = "provision", value_name = "TEXT")]
    pub(crate) message: String,
}

#[derive(Debug, Args)]
pub(crate) struct DestroyOptions {
    /// Leave buckets and data disks.
    #[arg(long, conflicts_with = "delete_data")]
    pub(crate) keep_data: bool,
    /// Delete them as well, with everything in them.
    #[arg(long)]
    pub(crate) delete_data: bool,
    /// Take the lease from whoever has it.
    #[arg(long)]
    pub(crate) steal: bool,
    /// What this is for; whoever is locked out reads it.
    #[arg(long, default_value = "destroy", value_name = "TEXT")]
    pub(crate) message: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// One line for each resource.
    List,
    /// One resource with its fields.
    Show {
        /// As in `topic/local-scripts`.
        #[arg(value_name = "KIND/NAME")]
        id: Id,
    },
}
