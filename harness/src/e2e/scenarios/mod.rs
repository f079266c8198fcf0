//! The promises, each as a story on the real Swarm. A scenario leaves a cluster on which the next one can run.

mod load;
mod notifications;
mod outages;
mod path;
mod rolling;
mod upgrade;

use anyhow::Result;
use futures_util::future::LocalBoxFuture;

use super::world::World;

/// One story.
pub(super) struct Scenario {
    /// What it promises, as a sentence without blanks: `push_is_live_on_all_six`.
    pub(super) name: &'static str,
    /// Tells it; an error is what was seen instead.
    pub(super) tell: for<'world> fn(&'world mut World) -> LocalBoxFuture<'world, Result<()>>,
}

macro_rules! scenarios {
    ($($module:ident::$name:ident),* $(,)?) => {
        /// Every scenario, in the order in which they run: what kills things comes last.
        pub(super) const ALL: &[Scenario] =
            &[$(Scenario { name: stringify!($name), tell: |world| Box::pin($module::$name(world)) }),*];
    };
}

scenarios! {
    path::push_is_live_on_all_six,
    path::founding_script_runs_unchanged,
    path::raw_upload_is_live_by_its_notification,
    path::bad_script_is_refused_and_the_old_one_answers,
    path::rollback_is_live_on_all_six,
    path::live_activation_is_measured,
    load::hot_swap_under_load_drops_and_mixes_nothing,
    notifications::doubled_notification_makes_one_release,
    notifications::reordered_notifications_end_with_the_newest,
    notifications::lost_notification_is_repaired_by_listing,
    notifications::older_notification_changes_nothing,
    rolling::rolling_activation_replaces_every_executor,
    rolling::rolling_activation_is_measured,
    upgrade::second_deploy_changes_nothing,
    upgrade::upgrade_under_load_drops_nothing_and_keeps_the_rules,
    upgrade::deploy_that_never_becomes_ready_is_taken_back,
    upgrade::rollback_returns_to_the_first_deployment,
    upgrade::drained_node_is_empty_and_gets_its_share_back,
    outages::killed_executor_comes_back_with_the_current_release,
    outages::killed_manager_is_replaced_and_nothing_stops,
}
