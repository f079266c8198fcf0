//! On which terms the scripts of a tenant run, ready for use: [`contract::policy::Effective`] in the types of who enforces
//! it, with the counters that go with it.

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use contract::ScriptName;
use contract::policy::{Effective, Layer, Rate, Set};
use sandbox::{Capability, Grants, Limits, State};

use super::Script;
use super::rate::{Limiter, TooFast};
use crate::outbound::{Opened, Within};

/// The terms of one tenant in one release, or in several that say the same.
#[derive(Debug)]
pub struct Terms {
    /// As merged, with who said what.
    pub effective: Effective,
    /// Limits of an execution.
    pub limits: Limits,
    /// What scripts may be granted at most.
    pub grants: Grants,
    /// Lists that a host must be on.
    pub(crate) hosts: Arc<[Within]>,
    /// How long a caller waits at most.
    pub(crate) wait: Duration,
    /// Executions under way in this process; counted only where a policy bounds them.
    pub(crate) running: Arc<AtomicU32>,
    rate: Option<Arc<Limiter>>,
    script_rates: HashMap<ScriptName, Arc<Limiter>>,
}

impl Default for Terms {
    fn default() -> Self {
        Self::new(Effective::default(), None)
    }
}

impl Terms {
    /// Those of tenants that nobody has a policy for: one for all of them.
    pub(crate) fn built_in() -> Arc<Self> {
        static BUILT_IN: OnceLock<Arc<Terms>> = OnceLock::new();
        Arc::clone(BUILT_IN.get_or_init(Arc::default))
    }

    /// These terms. Counters go on from `before`, the tenant's former terms, where their bounds are the same.
    pub fn new(effective: Effective, before: Option<&Self>) -> Self {
        let hosts = effective.hosts.iter().map(|list| Within {
            // Patterns were read when the policy was compiled.
            hosts: Opened::Hosts(list.value.iter().filter_map(|host| host.parse().ok()).collect()),
            whose: list.from,
        });
        let capabilities = effective.capabilities.as_ref().map(|names| &names.value);
        let capability = |name: &String| Capability::named(name);
        let script_rates = effective.script_rates.iter().map(|(script, &rate)| {
            (script.clone(), limiter(rate, before.and_then(|before| before.script_rates.get(script))))
        });
        Self {
            limits: limits(&effective),
            grants: capabilities.map_or(Grants::ALL, |names| names.iter().filter_map(capability).collect()),
            hosts: hosts.collect(),
            wait: effective.wait.value.0,
            // Terms that do not count may be those of several tenants.
            running: before
                .filter(|before| before.places().is_some())
                .map(|before| Arc::clone(&before.running))
                .unwrap_or_default(),
            rate: effective.rate.map(|rate| limiter(rate, before.and_then(|before| before.rate.as_ref()))),
            script_rates: script_rates.collect(),
            effective,
        }
    }

    /// Executions of the tenant at once, and how many may wait for them.
    pub(crate) fn bounds(&self) -> (usize, usize) {
        (self.effective.concurrency.value as usize, self.effective.queue.value as usize)
    }

    /// Executions of the tenant at once in this process, if somebody bounds them.
    pub(crate) fn places(&self) -> Option<u32> {
        let Set { value, from } = self.effective.concurrency;
        (from != Layer::BuiltIn).then_some(value)
    }

    /// What `script` may keep: what it declares, or nothing where that is not allowed.
    pub(crate) fn state(&self, script: &Script) -> State {
        let state = script.manifest.state;
        let allowed = self.effective.states.as_ref().is_none_or(|states| states.value.contains(state.as_str()));
        if allowed { state } else { State::Fresh }
    }

    /// Counts an execution of `script` that a caller wants.
    ///
    /// # Errors
    /// [`TooFast`], and whether it is the script's own rate.
    pub(crate) fn admit(&self, script: &ScriptName) -> Result<(), (TooFast, bool)> {
        // The script's first: what it refuses should not count against the tenant.
        if !self.script_rates.is_empty()
            && let Some(limiter) = self.script_rates.get(script)
        {
            limiter.admit().map_err(|refused| (refused, true))?;
        }
        self.rate.as_ref().map_or(Ok(()), |limiter| limiter.admit().map_err(|refused| (refused, false)))
    }

    /// The terms as they are for `script`, to tell who set a limit.
    pub(crate) fn of_script(&self, script: &Script) -> Effective {
        self.effective.clone().of_script(script.manifest.limits.as_policy())
    }
}

fn limits(effective: &Effective) -> Limits {
    Limits {
        cpu: effective.cpu.value.0,
        wall: effective.wall.value.0,
        memory_bytes: effective.memory.value.bytes(),
        input_bytes: effective.input.value.bytes(),
        output_bytes: effective.output.value.bytes(),
        log_bytes: effective.log.value.bytes(),
        ..Limits::default()
    }
}

fn limiter(rate: Set<Rate>, before: Option<&Arc<Limiter>>) -> Arc<Limiter> {
    before.filter(|before| before.rate() == rate).map_or_else(|| Arc::new(Limiter::new(rate)), Arc::clone)
}

#[cfg(test)]
mod tests {
    use contract::policy::{Layers, Policy};

    use super::*;

    fn terms(policy: &str, before: Option<&Terms>) -> Terms {
        let own: Policy = serde_json::from_str(policy).unwrap();
        Terms::new(Layers { stack: None, own: Some(&own) }.merge(&"acme".parse().unwrap()), before)
    }

    fn admits(terms: &Terms, script: &str) -> bool {
        terms.admit(&script.parse().unwrap()).is_ok()
    }

    #[test]
    fn without_a_policy_limits_are_those_of_the_sandbox() {
        let terms = Terms::default();

        assert_eq!(format!("{:?}", terms.limits), format!("{:?}", Limits::default()));
        assert_eq!((terms.grants, terms.places()), (Grants::ALL, None));
        assert!((0..100_000).all(|_| admits(&terms, "risk")));
    }

    #[test]
    fn a_new_policy_with_the_same_rate_does_not_give_a_new_burst() {
        let rate = r#""rate":{"per_second":0.001,"burst":1}"#;
        let first = terms(&format!("{{{rate}}}"), None);
        assert!(admits(&first, "risk") && !admits(&first, "risk"));

        let same = terms(&format!(r#"{{{rate},"concurrency":3}}"#), Some(&first));
        assert!(!admits(&same, "risk"));
        assert_eq!(same.places(), Some(3));

        let other = terms(r#"{"rate":{"per_second":0.002,"burst":1}}"#, Some(&same));
        assert!(admits(&other, "risk"));
    }

    #[test]
    fn a_script_has_its_own_rate_beside_that_of_its_tenant() {
        let terms = terms(
            r#"{"rate":{"per_second":0.001,"burst":2},"scripts":{"risk":{"rate":{"per_second":0.001,"burst":1}}}}"#,
            None,
        );

        assert!(admits(&terms, "risk"));
        let (_, of_script) = terms.admit(&"risk".parse().unwrap()).unwrap_err();
        assert!(of_script);
        assert!(admits(&terms, "rate"), "what the script's rate refused is not counted");
        let (_, of_script) = terms.admit(&"rate".parse().unwrap()).unwrap_err();
        assert!(!of_script);
    }
}
