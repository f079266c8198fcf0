//! Scripts that stay loaded between executions, for those that asked for it.

use std::collections::HashMap;

use crate::call::{Call, State};
use crate::stack::{Pin, Stack};

/// Instances of one `pooled` script that are kept; more are only needed when as many executions wait at once.
const POOLED_MAX: usize = 8;

/// A script that was loaded and may run again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instance {
    pub(crate) environment: Pin,
    /// What the chunk returned, or for the founding form the chunk.
    pub(crate) body: Pin,
    pub(crate) founding: bool,
    /// A copy of the environment as the chunk left it; only of pooled ones.
    pub(crate) first: Option<Pin>,
}

impl Instance {
    pub(crate) fn pins(self) -> impl Iterator<Item = Pin> {
        [self.environment, self.body].into_iter().chain(self.first)
    }

    pub(crate) fn let_go(self, stack: &mut Stack) {
        self.pins().for_each(|pin| stack.let_go(pin));
    }
}

/// The instances of one VM, by script. Of each script one version is kept: that of its last call.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    scripts: HashMap<String, Script>,
}

#[derive(Debug)]
struct Script {
    version: String,
    tenant: Option<Instance>,
    /// Those that no execution uses.
    pooled: Vec<Instance>,
}

impl Kept {
    /// The instance for a call, if there is one. A pooled one is taken out, so that nobody else uses it meanwhile.
    pub(crate) fn find(&mut self, stack: &mut Stack, call: &Call<'_>) -> Option<Instance> {
        let script = self.scripts.get_mut(call.script)?;
        if script.version != call.version {
            if let Some(old) = self.scripts.remove(call.script) {
                old.tenant.into_iter().chain(old.pooled).for_each(|instance| instance.let_go(stack));
            }
            return None;
        }
        match call.state {
            State::Fresh => None,
            State::Pooled => script.pooled.pop(),
            State::Tenant => script.tenant,
        }
    }

    /// Keeps a tenant's instance, unless another execution was faster or another version has come.
    pub(crate) fn keep_tenant(&mut self, stack: &mut Stack, script: &str, version: &str, instance: Instance) {
        match self.script(script, version) {
            Some(Script { tenant: tenant @ None, .. }) => *tenant = Some(instance),
            _ => instance.let_go(stack),
        }
    }

    /// Puts a pooled instance (back) for the next execution, unless there are enough or another version has come.
    pub(crate) fn keep_pooled(&mut self, stack: &mut Stack, script: &str, version: &str, instance: Instance) {
        match self.script(script, version) {
            Some(Script { pooled, .. }) if pooled.len() < POOLED_MAX => pooled.push(instance),
            _ => instance.let_go(stack),
        }
    }

    /// Gives up all pooled instances that nobody uses.
    pub(crate) fn take_pooled(&mut self) -> Vec<Pin> {
        self.scripts.values_mut().flat_map(|script| script.pooled.drain(..)).flat_map(Instance::pins).collect()
    }

    fn script(&mut self, script: &str, version: &str) -> Option<&mut Script> {
        if !self.scripts.contains_key(script) {
            let fresh = Script { version: version.to_owned(), tenant: None, pooled: Vec::new() };
            self.scripts.insert(script.to_owned(), fresh);
        }
        self.scripts.get_mut(script).filter(|script| script.version == version)
    }
}
