//! Commands that only look: list, status, versions, policy show.

use contract::api::{ExecutorList, Status};
use jiff::Timestamp;
use serde::Serialize;

use crate::blame::Deed;
use crate::cli::{Globals, List, Named, PolicyShow};
use crate::client::ClientError;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manager::Manager;
use crate::output::Output;
use crate::render;
use crate::settings::{self, Endpoint};

/// `moonswarm list`
pub(crate) async fn list(globals: &Globals, list: &List, output: Output) -> Result<Exit, Failure> {
    let look = Look::new(globals, "list scripts")?;
    let scripts = look.manager()?.scripts(list.tenant.as_ref()).await.map_err(|err| look.failed(err))?;
    output.result(&render::lists::scripts(&scripts, Timestamp::now()), &scripts)?;
    Ok(Exit::Done)
}

/// What `status --json` prints: both bodies as the manager gave them.
#[derive(Debug, Serialize)]
struct Seen {
    status: Status,
    executors: ExecutorList,
}

/// `moonswarm status`
pub(crate) async fn status(globals: &Globals, output: Output) -> Result<Exit, Failure> {
    let look = Look::new(globals, "show the status")?;
    let manager = look.manager()?;
    let status = manager.status().await.map_err(|err| look.failed(err))?;
    let executors = manager.executors().await.map_err(|err| look.failed(err))?;
    let text = render::status::status(&status, &executors);
    output.result(&text, &Seen { status, executors })?;
    Ok(Exit::Done)
}

/// `moonswarm versions`
pub(crate) async fn versions(globals: &Globals, named: &Named, output: Output) -> Result<Exit, Failure> {
    let (tenant, script) = (&named.tenant.tenant, &named.script);
    let look = Look::new(globals, &format!("show the versions of `{tenant}/{script}`"))?;
    let versions = look.manager()?.versions(tenant, script).await.map_err(|err| look.failed(err))?;
    output.result(&render::lists::versions(&versions, Timestamp::now()), &versions)?;
    Ok(Exit::Done)
}

/// `moonswarm policy show`
pub(crate) async fn policy(globals: &Globals, show: &PolicyShow, output: Output) -> Result<Exit, Failure> {
    let tenant = &show.tenant.tenant;
    let look = Look::new(globals, &format!("show the policy of `{tenant}`"))?;
    let policy = look.manager()?.policy(tenant, show.script.as_ref()).await.map_err(|err| look.failed(err))?;
    output.result(&render::policy::policy(&policy), &policy)?;
    Ok(Exit::Done)
}

/// Whom a command asks, and the words if that fails.
struct Look {
    endpoint: Endpoint,
    doing: String,
}

impl Look {
    fn new(globals: &Globals, doing: &str) -> Result<Self, Failure> {
        Ok(Self { endpoint: settings::manager(globals)?, doing: doing.to_owned() })
    }

    fn manager(&self) -> Result<Manager, Failure> {
        Manager::new(self.endpoint.clone()).map_err(|err| self.failed(err))
    }

    fn failed(&self, err: ClientError) -> Failure {
        Deed { doing: &self.doing, endpoint: &self.endpoint, look: None }.failed(err)
    }
}
