//! Deployments over what runs: upgrades that nobody notices, upgrades that fail, and the way back.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use deploy::{DeployError, Product};

use crate::e2e::world::World;
use crate::fleet::{Fleet, Request};
use crate::load::{Series, Tally};

const TENANT: &str = "upgrade";
const REQUESTS_PER_SECOND: u32 = 2_000;
const CONNECTIONS: u32 = 24;
/// How often the balancer looks who is ready.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Executors that wait for each other, as in production: two at a time, the old ones stopped when the new ones are ready.
fn in_turn(mut product: Product) -> Product {
    let executor = &mut product.settings.executor;
    executor.parallelism = 2;
    executor.common.health = Duration::from_millis(500);
    product
}

async fn containers(world: &World) -> Result<BTreeSet<String>> {
    Ok(world.executor_containers().await?.into_iter().collect())
}

/// `change` while callers ask all executors that are ready; what they counted.
async fn under_load<T>(world: &World, change: impl Future<Output = T>) -> Result<(T, Tally)> {
    let request = Request {
        path: format!("/v1/run/{TENANT}/risk"),
        token: world.caller_token.clone(),
        expected: r#"{"output":{"k":1}}"#.to_owned(),
    };
    let fleet = Fleet::start(request, world.ready_executors().await?, CONNECTIONS, REQUESTS_PER_SECOND);
    let balance = async {
        loop {
            if let Ok(ready) = world.ready_executors().await
                && !ready.is_empty()
            {
                fleet.balance(ready);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let warm = async {
        world
            .wait_for("callers are at work", async |_| {
                let asked = fleet.requests();
                if asked >= 1_000 { Ok(()) } else { Err(format!("{asked} requests")) }
            })
            .await?;
        anyhow::Ok(change.await)
    };
    let changed = tokio::select! {
        changed = warm => changed?,
        () = balance => unreachable!("it never ends"),
    };
    Ok((changed, fleet.stop().await?))
}

fn check_nothing_was_dropped(tally: &Tally) -> Result<()> {
    ensure!(tally.requests >= 1_000, "only {} requests were made", tally.requests);
    ensure!(tally.dropped == 0 && tally.mixed == 0, "{tally:?}");
    Ok(())
}

pub(super) async fn second_deploy_changes_nothing(world: &mut World) -> Result<()> {
    let before = containers(world).await?;
    let plan = world.plan(&world.product()).await?;
    ensure!(plan.is_empty(), "a second deploy would change: {plan}");

    let applied = world.apply(&world.product(), &[]).await?;

    ensure!(applied.changed.is_empty(), "a second deploy changed {:?}", applied.changed);
    ensure!(applied.deployment == 1, "it became deployment {}", applied.deployment);
    ensure!(containers(world).await? == before, "a second deploy replaced executors");
    Ok(())
}

/// A rolling activation puts rules into the service that is deployed over; they are answered before, during and after.
pub(super) async fn upgrade_under_load_drops_nothing_and_keeps_the_rules(world: &mut World) -> Result<()> {
    world.push(TENANT, "risk", &Series::source(0)).await?;
    let rolled =
        world.manager.push(TENANT, "risk", Series::source(1).as_bytes(), "wait=60s&activation=rolling").await?;
    rolled.map_err(|problem| anyhow!("rolling push answered {problem:?}"))?;
    let rules = world.deployment().rules().await?.context("a rolling activation left no rules in the service")?;
    world.wait_everywhere(TENANT, "risk", 1).await?;
    let before = containers(world).await?;
    let image = world.executor_of("e2e-second-revision")?;
    let mut product = in_turn(world.product());
    product.executor_image = image.tag().to_owned();

    let images = [image];
    let (applied, tally) = under_load(world, world.apply(&product, &images)).await?;

    let applied = applied?;
    ensure!(applied.changed == ["e2e-executor"], "changed: {:?}", applied.changed);
    let after = containers(world).await?;
    ensure!(before.is_disjoint(&after), "these were not replaced: {:?}", before.intersection(&after));
    ensure!(world.deployment().rules().await? == Some(rules), "the deployment took the running rules away");
    world.check_everywhere(TENANT, "risk", 1).await?;
    check_nothing_was_dropped(&tally)
}

/// The new executors refuse every release, so they never become ready.
pub(super) async fn deploy_that_never_becomes_ready_is_taken_back(world: &mut World) -> Result<()> {
    let mut bad = in_turn(world.product());
    bad.executor_image = world.executor_of("e2e-second-revision")?.tag().to_owned();
    bad.settings.executor.environment.insert("MOONSWARM_STACK".into(), "another".into());
    bad.settings.executor.common.start = Duration::from_secs(3);

    let (outcome, tally) = under_load(world, world.apply(&bad, &[])).await?;

    let err = outcome.err().context("executors that are never ready were deployed")?;
    ensure!(matches!(err, DeployError::RolledBack { .. }), "{}", deploy::chain(&err));
    ensure!(err.exit_code() == 5, "exit code {}", err.exit_code());
    world.wait_for_six().await?;
    world.check_everywhere(TENANT, "risk", 1).await?;
    check_nothing_was_dropped(&tally)
}

pub(super) async fn rollback_returns_to_the_first_deployment(world: &mut World) -> Result<()> {
    let applied = world.deployment().rollback(Some(1), Duration::from_secs(60)).await?;

    ensure!(applied.changed == ["e2e-executor"], "changed: {:?}", applied.changed);
    let plan = world.plan(&world.product()).await?;
    ensure!(plan.is_empty(), "after going back, deploying the first state would change: {plan}");
    world.wait_for_six().await?;
    world.check_everywhere(TENANT, "risk", 1).await
}

pub(super) async fn drained_node_is_empty_and_gets_its_share_back(world: &mut World) -> Result<()> {
    let on = async |world: &World, node: &str| -> Result<usize> {
        let executors = world.deployment().executors().await?;
        Ok(executors.iter().filter(|executor| executor.node == node).count())
    };
    let deployment = world.deployment();

    deployment.drain("n3", false, Duration::from_secs(60)).await?;
    world.wait_for_six().await?;
    ensure!(on(world, "n3").await? == 0, "a drained node runs executors");

    deployment.drain("n3", true, Duration::from_secs(60)).await?;
    ensure!(on(world, "n3").await? == 0, "Swarm moved running tasks by itself");
    let applied = deployment.rebalance(Duration::from_secs(120)).await?;

    ensure!(applied.changed == ["e2e-executor"], "changed: {:?}", applied.changed);
    ensure!(on(world, "n3").await? > 0, "the node got nothing back");
    let plan = world.plan(&world.product()).await?;
    ensure!(plan.is_empty(), "spreading left something to deploy: {plan}");
    world.wait_for_six().await
}
