//! What a person, or with `--json` a machine, gets to see.

use std::process::ExitCode;

use infra::engine::{Drift, Event, Outcome, Report};
use infra::events;
use infra::plan::{Action, Plan};
use infra::resource::{Resource, fields};
use infra::store::Versioned;
use jiff::Timestamp;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Show {
    pub(crate) json: bool,
}

impl Show {
    pub(crate) fn begin(self) {
        if self.json {
            println!("{}", events::version(Timestamp::now(), env!("CARGO_PKG_VERSION")));
        }
    }

    pub(crate) fn error(self, err: &anyhow::Error, code: u8) -> ExitCode {
        if self.json {
            println!("{}", events::diagnostic(Timestamp::now(), &format!("{err:#}")));
        } else {
            eprintln!("error: {err:#}");
        }
        ExitCode::from(code)
    }

    pub(crate) fn plan(self, plan: &Plan) {
        if self.json {
            events::planned(Timestamp::now(), plan).iter().for_each(|line| println!("{line}"));
        } else {
            println!("{plan}");
        }
    }

    pub(crate) fn event(self, event: &Event<'_>) {
        if self.json {
            println!("{}", events::progress(Timestamp::now(), event));
            return;
        }
        match event {
            Event::Started(_) => {}
            Event::Progress(step, elapsed) => println!("  … {} {} s", step.id, elapsed.as_secs()),
            Event::Again(step, reason) => println!("  … {} is tried again: {reason}", step.id),
            Event::Done(step, elapsed) => {
                println!("  {} {} in {:.1} s", done(step.action), step.id, elapsed.as_secs_f64());
            }
            Event::Failed(step, reason) => println!("  failed {}: {reason}", step.id),
        }
    }

    pub(crate) fn report(self, report: &Report) {
        if self.json {
            return;
        }
        let count = |wanted: fn(&Outcome) -> bool| report.steps.iter().filter(|(.., outcome)| wanted(outcome)).count();
        let applied = count(|outcome| *outcome == Outcome::Applied);
        let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
        let not_started = count(|outcome| *outcome == Outcome::NotStarted);
        println!("\n{applied} steps done, {failed} failed, {not_started} not started.");
        for (id, action, outcome) in &report.steps {
            match outcome {
                Outcome::Applied => {}
                Outcome::Failed(reason) => println!("  failed       {action:?} {id}: {reason}"),
                Outcome::NotStarted => println!("  not started  {action:?} {id}"),
            }
        }
        if !report.is_complete() {
            println!("Run the command again: it goes on with what is not done.");
        }
    }

    pub(crate) fn drift(self, drift: &[Drift]) {
        if self.json {
            drift.iter().for_each(|one| println!("{}", events::drifted(Timestamp::now(), one)));
        } else if drift.is_empty() {
            println!("Everything is as it was made.");
        } else {
            println!("Now -> as it was made:");
            drift.iter().for_each(|one| println!("  {one}"));
            println!("`cargo xtask provision` makes it as the stack says.");
        }
    }

    pub(crate) fn list(self, known: &Versioned) {
        for resource in known.state.resources.values() {
            if self.json {
                println!("{}", events::recorded(resource));
            } else {
                println!("{}", resource.id);
            }
        }
    }

    pub(crate) fn resource(self, resource: &Resource) {
        if self.json {
            println!("{}", events::recorded(resource));
            return;
        }
        println!("{}", resource.id);
        for (field, value) in fields(&resource.spec) {
            println!("  {field} = {value}");
        }
    }
}

fn done(action: Action) -> &'static str {
    match action {
        Action::Create => "made",
        Action::Update => "changed",
        Action::Delete => "deleted",
        Action::Record => "took over",
        Action::Forget => "forgot",
    }
}
