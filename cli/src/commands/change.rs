//! Commands that change what runs: push, rollback, remove.

use contract::api::{Activation, ChangeAnswer};
use contract::{Code, ScriptName, TenantName};

use crate::blame::Deed;
use crate::cli::{self, Globals};
use crate::client::ClientError;
use crate::desk::{self, Script};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::files;
use crate::manager::{Manager, Terms};
use crate::output::Output;
use crate::progress;
use crate::render::change as render;
use crate::settings;

/// `moonswarm push`: check on the desk, then send.
pub(crate) async fn push(globals: &Globals, push: &cli::Push, output: Output) -> Result<Exit, Failure> {
    if files::is_stdin(&push.file) && push.name.is_none() {
        return Err(Failure::new(Exit::Usage, "usage", "standard input has no name to call the script after")
            .hint("name it with --name"));
    }
    let script = Script::read(&push.file)?;
    let name = match &push.name {
        Some(name) => name.clone(),
        None => script.stem().parse().map_err(|err| {
            Failure::new(Exit::Usage, "usage", format!("cannot call the script after `{}`: {err}", script.path))
                .hint("name it with --name")
        })?,
    };
    let terms = Terms {
        wait: push.change.wait,
        activation: push.activation.into(),
        if_generation: push.if_generation,
        author: push.change.author(),
    };
    send(globals, &push.tenant.tenant, &name, &script, &terms, output).await
}

/// Checks `script` on the desk, then pushes it.
pub(super) async fn send(
    globals: &Globals,
    tenant: &TenantName,
    name: &ScriptName,
    script: &Script,
    terms: &Terms,
    output: Output,
) -> Result<Exit, Failure> {
    let manager = settings::manager(globals)?;
    let change = Change::new("push", tenant, name);
    let checked = match name.as_str() {
        ScriptName::POLICY => desk::policy(script, tenant).map(drop),
        _ => desk::check(script).map(drop),
    };
    checked
        .map_err(|failure| failure.hint("nothing was sent and nothing changed; correct the script and push again"))?;

    let manager = connect(manager, &change)?;
    let sent = manager.push(tenant, name, script.source.clone(), terms);
    let answer = change.follow(&manager, terms, output, sent).await.map_err(|failure| {
        // Here the thing that is too large can only be the script.
        let failure = if failure.is(Code::TooLarge) { failure.exit(Exit::Script) } else { failure };
        failure.sources(script.sources())
    })?;
    tell(&answer, output)
}

/// `moonswarm rollback`
pub(crate) async fn rollback(globals: &Globals, rollback: &cli::Rollback, output: Output) -> Result<Exit, Failure> {
    let (tenant, name) = (&rollback.named.tenant.tenant, &rollback.named.script);
    let change = Change::new("roll back", tenant, name);
    let manager = connect(settings::manager(globals)?, &change)?;
    let terms = Terms {
        wait: rollback.change.wait,
        activation: rollback.activation.into(),
        if_generation: None,
        author: rollback.change.author(),
    };
    let sent = manager.rollback(tenant, name, rollback.to.clone(), &terms);
    tell(&change.follow(&manager, &terms, output, sent).await?, output)
}

/// `moonswarm remove`
pub(crate) async fn remove(globals: &Globals, remove: &cli::Remove, output: Output) -> Result<Exit, Failure> {
    let (tenant, name) = (&remove.named.tenant.tenant, &remove.named.script);
    let change = Change::new("remove", tenant, name);
    let manager = connect(settings::manager(globals)?, &change)?;
    let terms = Terms {
        wait: remove.change.wait,
        activation: Activation::Live,
        if_generation: remove.if_generation,
        author: remove.change.author(),
    };
    let sent = manager.remove(tenant, name, &terms);
    tell(&change.follow(&manager, &terms, output, sent).await?, output)
}

/// The words around a change, whatever becomes of it.
struct Change {
    doing: String,
    look: String,
}

impl Change {
    fn new(verb: &str, tenant: &TenantName, script: &ScriptName) -> Self {
        Self {
            doing: format!("{verb} `{tenant}/{script}`"),
            look: format!("`moonswarm versions {script} --tenant {tenant}`"),
        }
    }

    /// The answer to a change that is on its way, with progress if somebody waits for executors.
    async fn follow(
        &self,
        manager: &Manager,
        terms: &Terms,
        output: Output,
        sent: impl Future<Output = Result<ChangeAnswer, ClientError>>,
    ) -> Result<ChangeAnswer, Failure> {
        let answer = match terms.wait {
            Some(_) => progress::shown(output, manager, sent).await,
            None => sent.await,
        };
        answer.map_err(|err| self.deed(manager.endpoint()).failed(err))
    }

    fn deed<'a>(&'a self, endpoint: &'a settings::Endpoint) -> Deed<'a> {
        Deed { doing: &self.doing, endpoint, look: Some(&self.look) }
    }
}

fn connect(endpoint: settings::Endpoint, change: &Change) -> Result<Manager, Failure> {
    Manager::new(endpoint.clone()).map_err(|err| change.deed(&endpoint).failed(err))
}

/// Tells what a committed change did. Not being live everywhere is a failure only for who asked to wait for it.
fn tell(answer: &ChangeAnswer, output: Output) -> Result<Exit, Failure> {
    let lagging = answer.live.as_ref().filter(|live| live.executors == 0 || !live.is_complete());
    let Some(live) = lagging else {
        output.result(&render::done(answer), answer)?;
        return Ok(Exit::Done);
    };
    if output.json {
        output.result("", answer)?;
        return Ok(Exit::NotLive);
    }
    let mut failure =
        Failure::new(Exit::NotLive, "not_live", render::not_live(answer, live)).fact("script", render::content(answer));
    for laggard in render::laggards(&live.laggards) {
        failure = failure.fact("not live", laggard);
    }
    Err(failure.hint("executors take the release as soon as they can; `moonswarm status` shows how far they are"))
}
