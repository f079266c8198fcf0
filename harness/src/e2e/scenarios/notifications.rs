//! Pub/Sub delivers at least once, in any order, late or never: only latency may notice.

use std::collections::HashMap;

use anyhow::{Result, ensure};

use crate::cloud::SubscriptionStats;
use crate::e2e::world::{BUCKET, SUBSCRIPTION, TOPIC, World};
use crate::load::Series;

fn object(tenant: &str) -> String {
    format!("tenants/{tenant}/scripts/risk.luau")
}

/// Waits until every notification sent so far was acknowledged.
async fn settled(world: &World) -> Result<()> {
    world
        .wait_for("every notification is acknowledged", async |world| {
            let stats = stats(world).map_err(|err| err.to_string())?;
            if stats.ready + stats.outstanding == 0 { Ok(()) } else { Err(format!("{stats:?}")) }
        })
        .await
}

fn stats(world: &World) -> Result<SubscriptionStats> {
    Ok(world.cloud.pubsub().stats(SUBSCRIPTION)?)
}

async fn release(world: &World) -> Result<u64> {
    let status = world.manager.status().await?;
    Ok(status.map_err(|problem| anyhow::anyhow!("status answered {problem:?}"))?.release)
}

pub(super) async fn doubled_notification_makes_one_release(world: &mut World) -> Result<()> {
    settled(world).await?;
    let before = release(world).await?;

    world.cloud.faults().double_notifications(1);
    world.cloud.storage().put(BUCKET, &object("doubled"), Series::source(1))?;

    world.wait_everywhere("doubled", "risk", 1).await?;
    settled(world).await?;
    let after = release(world).await?;
    ensure!(after == before + 1, "release {before} became {after}");
    Ok(())
}

pub(super) async fn reordered_notifications_end_with_the_newest(world: &mut World) -> Result<()> {
    settled(world).await?;

    world.cloud.faults().hold_notifications();
    for number in 1..=5 {
        world.cloud.storage().put(BUCKET, &object("reordered"), Series::source(number))?;
    }
    world.cloud.faults().release_notifications_reversed();

    world.wait_everywhere("reordered", "risk", 5).await?;
    settled(world).await?;
    world.check_everywhere("reordered", "risk", 5).await
}

pub(super) async fn lost_notification_is_repaired_by_listing(world: &mut World) -> Result<()> {
    settled(world).await?;

    world.cloud.faults().lose_notifications(1);
    world.cloud.storage().put(BUCKET, &object("lost"), Series::source(1))?;

    let stats = stats(world)?;
    ensure!(stats.ready + stats.outstanding == 0, "the notification was not lost: {stats:?}");
    world.wait_everywhere("lost", "risk", 1).await
}

pub(super) async fn older_notification_changes_nothing(world: &mut World) -> Result<()> {
    let old = world.cloud.storage().put(BUCKET, &object("older"), Series::source(1))?;
    world.wait_everywhere("older", "risk", 1).await?;
    world.push("older", "risk", &Series::source(2)).await?;
    settled(world).await?;
    let (before, acked) = (release(world).await?, stats(world)?.acked);

    let attributes = [
        ("eventType", "OBJECT_FINALIZE"),
        ("bucketId", BUCKET),
        ("objectId", &object("older")),
        ("objectGeneration", &old.to_string()),
        ("payloadFormat", "JSON_API_V1"),
    ];
    let attributes = HashMap::from(attributes.map(|(key, value)| (key.to_owned(), value.to_owned())));
    world.cloud.pubsub().publish(TOPIC, attributes, b"{}")?;

    world
        .wait_for("the old notification is acknowledged", async |world| {
            let stats = stats(world).map_err(|err| err.to_string())?;
            if stats.acked > acked { Ok(()) } else { Err(format!("{stats:?}")) }
        })
        .await?;
    ensure!(release(world).await? == before, "an old notification made a release");
    world.check_everywhere("older", "risk", 2).await
}
