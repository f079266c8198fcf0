//! Images onto nodes: to all in parallel, past those that have them.

use std::time::Duration;

use docker::{Engine, EngineError};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::Instant;

use super::archive::ImageArchive;
use crate::cluster::{Cluster, Member};
use crate::error::DeployError;

/// Tens of megabytes through a tunnel, and the node's disk.
const LOAD_WITHIN: Duration = Duration::from_secs(300);

/// Loads `images` into every node that lacks one; gives how many were sent in all.
///
/// # Errors
/// A node's engine refuses one.
pub(crate) async fn ship(cluster: &Cluster, images: &[ImageArchive]) -> Result<usize, DeployError> {
    let sent = join_all(cluster.members().map(|member| into(member, images))).await;
    sent.into_iter().sum()
}

async fn into(member: &Member, images: &[ImageArchive]) -> Result<usize, DeployError> {
    let mut sent = 0;
    for image in images {
        sent += load(member.engine(), image).await.map_err(|err| DeployError::on(member.name(), err))?;
    }
    Ok(sent)
}

/// 1 if the image had to be sent.
async fn load(engine: &Engine, image: &ImageArchive) -> Result<usize, EngineError> {
    if has(engine, image.tag()).await? {
        return Ok(0);
    }
    let path = "/images/load?quiet=1";
    let answer = engine.send_tar(path, image.pieces(), Instant::now() + LOAD_WITHIN).await?;
    // The status was sent before the archive was read; what went wrong after that stands in the answer.
    let told = String::from_utf8_lossy(&answer);
    if told.contains("\"errorDetail\"") {
        let (request, message) = (format!("POST {path}"), told.trim().chars().take(500).collect());
        return Err(EngineError::Refused { request, status: 200, message });
    }
    Ok(1)
}

/// Whether the engine has an image of this name.
pub(crate) async fn has(engine: &Engine, tag: &str) -> Result<bool, EngineError> {
    match engine.get::<Value>(&format!("/images/{tag}/json"), Instant::now() + LOAD_WITHIN).await {
        Ok(_) => Ok(true),
        Err(err) if err.is_not_found() => Ok(false),
        Err(err) => Err(err),
    }
}
