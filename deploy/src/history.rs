//! What was deployed before: the full specs of the last deployments, each in a Swarm config, for the way back.
//!
//! Swarm itself remembers one spec of each service, and forgets it on a rollback.

use docker::{Engine, segment};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::DeployError;
use crate::model::{Created, LABEL_KEPT, LABEL_STACK, Stored, kept, soon};
use crate::spec;

/// Deployments that can be gone back to, the running one among them.
pub const RECORDS_MAX: usize = 5;
const LABEL_NUMBER: &str = "moonswarm.deployment";
/// Two that write at the same time; the lock leaves that to programs that do without it.
const ATTEMPTS: u32 = 3;

/// A deployment that worked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counted from 1.
    #[serde(skip)]
    pub number: u64,
    /// When, by the Swarm's clock (RFC 3339).
    #[serde(skip)]
    pub at: String,
    /// The commit.
    pub revision: String,
    /// Who.
    pub by: String,
    /// Full specs, in the order in which services need each other; without ids and running rules.
    pub services: Vec<Value>,
}

/// The records that are kept, newest first.
pub(crate) async fn records(swarm: &Engine, stack: &str) -> Result<Vec<Record>, DeployError> {
    let stored = kept(swarm, "configs", stack).await.map_err(DeployError::swarm("list former deployments"))?;
    let mut records = stored.iter().filter_map(|it| read(it).transpose()).collect::<Result<Vec<_>, _>>()?;
    records.sort_by_key(|record| std::cmp::Reverse(record.number));
    Ok(records)
}

/// None if it is no record.
pub(crate) fn read(stored: &Stored) -> Result<Option<Record>, DeployError> {
    if stored.label(LABEL_KEPT) != Some("record") {
        return Ok(None);
    }
    let number = stored.label(LABEL_NUMBER).and_then(|number| number.parse().ok()).unwrap_or(0);
    let data = stored.spec.data.as_deref().and_then(|data| data_encoding::BASE64.decode(data.as_bytes()).ok());
    let record: Option<Record> = data.and_then(|data| serde_json::from_slice(&data).ok());
    let record = record.ok_or(DeployError::BadRecord(number))?;
    Ok(Some(Record { number, at: stored.created_at.clone(), ..record }))
}

/// Writes down what runs now, unless the newest record says the same. Gives its number.
pub(crate) async fn write(swarm: &Engine, stack: &str, record: Record) -> Result<u64, DeployError> {
    let services: Vec<Value> = record.services.into_iter().map(spec::lasting).collect();
    for attempt in 1.. {
        let newest = records(swarm, stack).await?.into_iter().next();
        if let Some(newest) = newest.as_ref().filter(|newest| newest.services == services) {
            return Ok(newest.number);
        }
        let number = newest.map_or(1, |newest| newest.number + 1);
        let text = json!({ "revision": record.revision, "by": record.by, "services": services }).to_string();
        let config = json!({
            "Name": format!("{stack}-deployment-{number}"),
            "Labels": { LABEL_STACK: stack, LABEL_KEPT: "record", LABEL_NUMBER: number.to_string() },
            "Data": data_encoding::BASE64.encode(text.as_bytes()),
        });
        match swarm.post::<Created>("/configs/create", &config, soon()).await {
            Ok(_) => return Ok(number),
            Err(err) if err.is_name_conflict() && attempt < ATTEMPTS => {}
            Err(err) => return Err(DeployError::swarm("write down the deployment")(err)),
        }
    }
    unreachable!("the loop ends by returning")
}

/// Removes records past the newest [`RECORDS_MAX`].
pub(crate) async fn trim(swarm: &Engine, stack: &str) -> Result<usize, DeployError> {
    let stored = kept(swarm, "configs", stack).await.map_err(DeployError::swarm("list former deployments"))?;
    let mut numbered: Vec<(u64, &Stored)> = Vec::new();
    for it in &stored {
        if let Some(record) = read(it)? {
            numbered.push((record.number, it));
        }
    }
    numbered.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let old: Vec<_> = numbered.into_iter().skip(RECORDS_MAX).collect();
    for (number, it) in &old {
        let removed = swarm.delete(&format!("/configs/{}", segment(&it.id)), soon()).await;
        removed.map_err(DeployError::swarm(format!("forget deployment {number}")))?;
    }
    Ok(old.len())
}
