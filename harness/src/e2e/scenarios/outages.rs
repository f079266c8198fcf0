//! Programs that are killed: what ran goes on, and what comes back is current.

use anyhow::{Result, ensure};

use crate::e2e::world::World;
use crate::load::Series;

pub(super) async fn killed_executor_comes_back_with_the_current_release(world: &mut World) -> Result<()> {
    world.push("killed", "risk", &Series::source(1)).await?;

    world.kill_one_executor().await?;
    // Not waited for: the manager counts the dead one until it is sure that it no longer answers.
    let answer = world.manager.push("killed", "risk", Series::source(2).as_bytes(), "").await?;

    ensure!(answer.is_ok(), "a push while an executor is dead answered {answer:?}");
    world.wait_for_six().await?;
    world.wait_everywhere("killed", "risk", 2).await?;
    world.push("killed", "risk", &Series::source(3)).await?;
    world.check_everywhere("killed", "risk", 3).await
}

pub(super) async fn killed_manager_is_replaced_and_nothing_stops(world: &mut World) -> Result<()> {
    world.push("survivor", "risk", &Series::source(1)).await?;

    world.kill_manager().await?;
    world.check_everywhere("survivor", "risk", 1).await?;
    world.wait_for_manager().await?;
    world.wait_for_six().await?;

    world.check_everywhere("survivor", "risk", 1).await?;
    world.push("survivor", "risk", &Series::source(2)).await?;
    world.check_everywhere("survivor", "risk", 2).await
}
