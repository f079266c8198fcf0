//! On which terms scripts run, as a table.

use std::collections::BTreeSet;
use std::fmt::Display;

use contract::api::PolicyAnswer;
use contract::policy::{Effective, Layer, Set};

use super::table::Table;

/// Every value, and who set it.
pub(crate) fn policy(answer: &PolicyAnswer) -> String {
    let mut table = Table::new(["TERM", "VALUE", "SET BY"]);
    let mut row = |term: &str, value: String, from: Layer| table.row([term.to_owned(), value, from.to_string()]);
    let Effective { cpu, wall, memory, input, output, log, .. } = &answer.effective;
    let Effective { concurrency, queue, wait, rate, script_rates, capabilities, hosts, states, .. } = &answer.effective;
    for (term, (value, from)) in [
        ("CPU time", told(cpu)),
        ("wall time", told(wall)),
        ("memory", told(memory)),
        ("input", told(input)),
        ("output", told(output)),
        ("log", told(log)),
        ("at once", told(concurrency)),
        ("waiting", told(queue)),
        ("callers wait", told(wait)),
    ] {
        row(term, value, from);
    }
    let (value, from) = rate.as_ref().map_or(("any".to_owned(), Layer::BuiltIn), told);
    row("rate", value, from);
    for (script, rate) in script_rates {
        row(&format!("rate of {script}"), rate.value.to_string(), rate.from);
    }
    let all = |names: &Option<Set<BTreeSet<String>>>| {
        names.as_ref().map_or(("all".to_owned(), Layer::BuiltIn), |names| (list(&names.value), names.from))
    };
    let (value, from) = all(capabilities);
    row("capabilities", value, from);
    let (value, from) = all(states);
    row("states", value, from);
    if hosts.is_empty() {
        row("hosts", "those that executors open".to_owned(), Layer::BuiltIn);
    }
    for (index, hosts) in hosts.iter().enumerate() {
        row(if index == 0 { "hosts" } else { "and of those" }, list(&hosts.value), hosts.from);
    }
    let of = match &answer.script {
        Some(script) => format!("{}/{script}", answer.tenant),
        None => answer.tenant.to_string(),
    };
    format!("{}\nterms of {of} in release {}\n", table.render(), answer.release)
}

fn told<T: Display>(set: &Set<T>) -> (String, Layer) {
    (set.value.to_string(), set.from)
}

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().cloned().collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use contract::policy::{Layers, Policy, StackPolicy};

    use super::super::style::plain;
    use super::*;

    #[test]
    fn every_term_is_told_with_who_set_it() {
        let policy_of = |json: &str| serde_json::from_str::<Policy>(json).unwrap();
        let stack = StackPolicy {
            defaults: policy_of(r#"{"limits":{"cpu":"1s"},"hosts":["*.example.com"]}"#),
            ..StackPolicy::default()
        };
        let own = policy_of(
            r#"{"limits":{"memory":"8MiB"},"rate":{"per_second":5,"burst":9},"hosts":["api.example.com"],
                "scripts":{"risk":{"rate":{"per_second":0.5}}},"capabilities":[],"states":["fresh"]}"#,
        );
        let tenant = "acme".parse().unwrap();
        let answer = PolicyAnswer {
            release: 417,
            effective: Layers { stack: Some(&stack), own: Some(&own) }.merge(&tenant),
            tenant,
            script: None,
            stack_version: None,
            tenant_version: None,
        };

        insta::assert_snapshot!(plain(&policy(&answer)), @"
        TERM          VALUE                      SET BY
        CPU time      1s                         the stack's defaults
        wall time     2s                         built in
        memory        8MiB                       the tenant's policy
        input         1MiB                       built in
        output        1MiB                       built in
        log           64KiB                      built in
        at once       64                         built in
        waiting       128                        built in
        callers wait  1m                         built in
        rate          5 per second, 9 at once    the tenant's policy
        rate of risk  0.5 per second, 1 at once  the tenant's policy
        capabilities  none                       the tenant's policy
        states        fresh                      the tenant's policy
        hosts         *.example.com              the stack's defaults
        and of those  api.example.com            the tenant's policy

        terms of acme in release 417
        ");
    }
}
