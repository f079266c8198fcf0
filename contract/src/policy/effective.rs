//! What several layers come to, value by value, and which of them said so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Policy, Rate};
use crate::ids::ScriptName;
use crate::units::{Size, Time};

/// Who said a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Nobody: it is what every stack has.
    BuiltIn,
    /// `defaults` of the operator's policy.
    StackDefaults,
    /// `tenants.NAME` of the operator's policy.
    StackTenant,
    /// The tenant's own policy.
    Tenant,
    /// What the script declares.
    Script,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "built in",
            Self::StackDefaults => "the stack's defaults",
            Self::StackTenant => "the stack's policy for this tenant",
            Self::Tenant => "the tenant's policy",
            Self::Script => "the script itself",
        })
    }
}

/// A value and who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set<T> {
    /// What holds.
    pub value: T,
    /// The layer that it is from; of several that say the same, the uppermost.
    pub from: Layer,
}

impl<T> Set<T> {
    fn built_in(value: T) -> Self {
        Self { value, from: Layer::BuiltIn }
    }
}

impl<T: fmt::Display> fmt::Display for Set<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.value, self.from)
    }
}

/// On which terms scripts run. The default is what every stack has without any policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effective {
    /// CPU time of an execution.
    pub cpu: Set<Time>,
    /// Wall time of an execution.
    pub wall: Set<Time>,
    /// Bytes of a VM.
    pub memory: Set<Size>,
    /// Bytes of the input.
    pub input: Set<Size>,
    /// Bytes of the answer.
    pub output: Set<Size>,
    /// Bytes of log lines of an execution.
    pub log: Set<Size>,
    /// Executions under way at once: in one place (a thread's VMs, or a queue's) if built in, else in each executor.
    pub concurrency: Set<u32>,
    /// Executions that may wait in one queue.
    pub queue: Set<u32>,
    /// How long a caller waits at most.
    pub wait: Set<Time>,
    /// Executions per second on each executor; absent = as many as there can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Set<Rate>>,
    /// The same of single scripts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub script_rates: BTreeMap<ScriptName, Set<Rate>>,
    /// What scripts may be granted; absent = all that they declare and that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Set<BTreeSet<String>>>,
    /// Lists of hosts, of which each must have the one that is asked; none = whatever the executors open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Set<BTreeSet<String>>>,
    /// What scripts may keep; absent = whatever they declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states: Option<Set<BTreeSet<String>>>,
}

impl Default for Effective {
    fn default() -> Self {
        Self {
            cpu: Set::built_in(Time::from_millis(50)),
            wall: Set::built_in(Time::from_millis(2_000)),
            memory: Set::built_in(Size(20 << 20)),
            input: Set::built_in(Size(1 << 20)),
            output: Set::built_in(Size(1 << 20)),
            log: Set::built_in(Size(64 << 10)),
            concurrency: Set::built_in(64),
            queue: Set::built_in(128),
            wait: Set::built_in(Time(Duration::from_secs(60))),
            rate: None,
            script_rates: BTreeMap::new(),
            capabilities: None,
            hosts: Vec::new(),
            states: None,
        }
    }
}

impl Effective {
    /// No operator gives more than this: what is beyond would harm the neighbours, whatever anybody wants. Rates have none,
    /// and lists are all there is.
    pub fn caps() -> Self {
        Self {
            cpu: Set::built_in(Time(Duration::from_secs(10))),
            wall: Set::built_in(Time(Duration::from_secs(600))),
            memory: Set::built_in(Size(256 << 20)),
            input: Set::built_in(Size(16 << 20)),
            output: Set::built_in(Size(16 << 20)),
            log: Set::built_in(Size(1 << 20)),
            concurrency: Set::built_in(1_000),
            queue: Set::built_in(10_000),
            ..Self::default()
        }
    }

    /// With what `policy` says in place of what was said: how an operator's layer counts. Above the caps it is the cap.
    #[must_use]
    pub(super) fn replaced(mut self, policy: &Policy, from: Layer) -> Self {
        macro_rules! replace {
            ($($field:ident = $said:expr;)*) => {$(
                if let Some(value) = $said {
                    self.$field = Set { value: value.min(Self::caps().$field.value), from };
                }
            )*};
        }
        let limits = &policy.limits;
        replace! {
            cpu = limits.cpu;
            wall = limits.wall;
            memory = limits.memory;
            input = limits.input;
            output = limits.output;
            log = limits.log;
            concurrency = policy.concurrency;
            queue = policy.queue;
            wait = policy.wait;
        }
        if let Some(value) = policy.rate {
            self.rate = Some(Set { value, from });
        }
        for (script, of_script) in &policy.scripts {
            if let Some(value) = of_script.rate {
                self.script_rates.insert(script.clone(), Set { value, from });
            }
        }
        if let Some(value) = policy.capabilities.clone() {
            self.capabilities = Some(Set { value, from });
        }
        if let Some(value) = policy.hosts.clone() {
            self.hosts = vec![Set { value, from }];
        }
        if let Some(value) = policy.states.clone() {
            self.states = Some(Set { value, from });
        }
        self
    }

    /// With what `policy` takes away: how every layer below the operator's counts.
    #[must_use]
    pub fn narrowed(mut self, policy: &Policy, from: Layer) -> Self {
        macro_rules! narrow {
            ($($field:ident = $said:expr;)*) => {$(
                if let Some(value) = $said.filter(|value| *value < self.$field.value) {
                    self.$field = Set { value, from };
                }
            )*};
        }
        let limits = &policy.limits;
        narrow! {
            cpu = limits.cpu;
            wall = limits.wall;
            memory = limits.memory;
            input = limits.input;
            output = limits.output;
            log = limits.log;
            concurrency = policy.concurrency;
            queue = policy.queue;
            wait = policy.wait;
        }
        self.rate = slower(self.rate, policy.rate, from);
        for (script, of_script) in &policy.scripts {
            if let Some(rate) = slower(self.script_rates.get(script).copied(), of_script.rate, from) {
                self.script_rates.insert(script.clone(), rate);
            }
        }
        self.capabilities = fewer(self.capabilities, policy.capabilities.as_ref(), from);
        self.states = fewer(self.states, policy.states.as_ref(), from);
        // What two lists of patterns have in common is no list of patterns; both are kept, and both are asked.
        if let Some(value) = policy.hosts.clone().filter(|hosts| self.hosts.iter().all(|above| above.value != *hosts)) {
            self.hosts.push(Set { value, from });
        }
        self
    }

    /// These terms as they are for a script that declares `limits`.
    #[must_use]
    pub fn of_script(self, limits: super::Limits) -> Self {
        self.narrowed(&Policy { limits, ..Policy::default() }, Layer::Script)
    }
}

fn slower(above: Option<Set<Rate>>, said: Option<Rate>, from: Layer) -> Option<Set<Rate>> {
    match (above, said) {
        (Some(above), Some(said)) => {
            let value = said.min(above.value);
            Some(if value == above.value { above } else { Set { value, from } })
        }
        (None, Some(value)) => Some(Set { value, from }),
        (above, None) => above,
    }
}

fn fewer(
    above: Option<Set<BTreeSet<String>>>,
    said: Option<&BTreeSet<String>>,
    from: Layer,
) -> Option<Set<BTreeSet<String>>> {
    match (above, said) {
        (Some(above), Some(said)) => {
            let value: BTreeSet<String> = above.value.intersection(said).cloned().collect();
            Some(if value == above.value { above } else { Set { value, from } })
        }
        (None, Some(said)) => Some(Set { value: said.clone(), from }),
        (above, None) => above,
    }
}
