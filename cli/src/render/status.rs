//! What the manager sees, on one screen.

use contract::api::{ExecutorList, Health, Status};

use super::lists;
use super::style::{DIM, GOOD, WARN, clean, paint};
use super::table::Table;
use super::units::{count, elapsed};

/// The stack, its outside world, its executors, and what does not run.
pub(crate) fn status(status: &Status, executors: &ExecutorList) -> String {
    let release = match status.release {
        0 => "no release yet".to_owned(),
        number => format!("release {number}"),
    };
    let mut text = format!(
        "stack {}: {release}, {} of {} {}\n\n",
        clean(&status.stack),
        count(status.scripts as usize, "script"),
        count(status.tenants as usize, "tenant"),
        paint(DIM, &format!("(manager {})", clean(&status.program)))
    );

    let current = status.executors_current == status.executors && status.executors > 0;
    let detail = match status.executors {
        0 => "none is connected".to_owned(),
        all => format!("{}/{all} run the current release", status.executors_current),
    };
    text += &fact("executors", current, &detail);
    text += &health("bucket", &status.bucket);
    text += &health("notifications", &status.notifications);
    text += &health("swarm", &status.swarm);

    if !executors.executors.is_empty() {
        text += &format!("\n{}", table(executors));
    }
    let refused = lists::refused(&status.refused);
    if !refused.is_empty() {
        text += &format!("\n{refused}");
    }
    text
}

fn health(name: &str, health: &Health) -> String {
    fact(name, health.ok, &health.detail)
}

fn fact(name: &str, good: bool, detail: &str) -> String {
    let mark = if good { paint(GOOD, "ok") } else { paint(WARN, "no") };
    format!("{mark}  {name:13}  {}\n", clean(detail))
}

fn table(list: &ExecutorList) -> String {
    let mut table = Table::new(["EXECUTOR", "NODE", "RELEASE", "STATE", "PROGRAM"]);
    for executor in &list.executors {
        #[expect(clippy::cast_precision_loss, reason = "an age is shown with three figures")]
        let since = elapsed(executor.since_ms as f64);
        let state = match (executor.connected, executor.release == list.release) {
            (false, _) => format!("feed lost {since} ago"),
            (true, false) => format!("behind, connected for {since}"),
            (true, true) => format!("current, connected for {since}"),
        };
        table.row([
            executor.id.clone(),
            executor.node.clone(),
            executor.release.to_string(),
            state,
            executor.program.clone(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use contract::api::ExecutorInfo;

    use super::super::style::plain;
    use super::*;

    fn ok(detail: &str) -> Health {
        Health { ok: true, detail: detail.into() }
    }

    #[test]
    fn one_screen_tells_what_works_and_what_does_not() {
        let seen = Status {
            stack: "dev".into(),
            program: "0.1.0".into(),
            release: 417,
            scripts: 12,
            tenants: 3,
            executors: 2,
            executors_current: 1,
            bucket: ok("listed 12 objects 3 s ago"),
            notifications: ok("stream open for 2 h"),
            swarm: Health { ok: false, detail: "no Docker engine was given; rolling activation is off".into() },
            refused: vec![lists::tests::refused_script()],
        };
        let executor = |id: &str, release, connected| ExecutorInfo {
            id: id.into(),
            node: "node-a".into(),
            program: "0.1.0".into(),
            release,
            connected,
            since_ms: 61_000,
        };
        let executors = ExecutorList {
            release: 417,
            executors: vec![executor("a1", 417, true), executor("a2", 416, true), executor("b1", 416, false)],
        };

        insta::assert_snapshot!(plain(&status(&seen, &executors)), @"
        stack dev: release 417, 12 scripts of 3 tenants (manager 0.1.0)

        no  executors      1/2 run the current release
        ok  bucket         listed 12 objects 3 s ago
        ok  notifications  stream open for 2 h
        no  swarm          no Docker engine was given; rolling activation is off

        EXECUTOR  NODE    RELEASE  STATE                             PROGRAM
        a1        node-a  417      current, connected for 1 min 1 s  0.1.0
        a2        node-a  416      behind, connected for 1 min 1 s   0.1.0
        b1        node-a  416      feed lost 1 min 1 s ago           0.1.0

        not running acme/risk: generation 1718000000000009 is refused (script_refused): `risk.luau` has a syntax error; version ba7816bf8f01 still runs
          --> risk.luau:3: Expected 'end'
        ");
    }

    #[test]
    fn a_new_stack_has_nothing_yet() {
        let seen = Status {
            stack: "dev".into(),
            program: "0.1.0".into(),
            release: 0,
            scripts: 0,
            tenants: 0,
            executors: 0,
            executors_current: 0,
            bucket: ok("listed 0 objects 1 s ago"),
            notifications: ok("stream open for 1 s"),
            swarm: ok("no service yet"),
            refused: Vec::new(),
        };

        insta::assert_snapshot!(plain(&status(&seen, &ExecutorList { release: 0, executors: Vec::new() })), @"
        stack dev: no release yet, 0 scripts of 0 tenants (manager 0.1.0)

        no  executors      none is connected
        ok  bucket         listed 0 objects 1 s ago
        ok  notifications  stream open for 1 s
        ok  swarm          no service yet
        ");
    }
}
