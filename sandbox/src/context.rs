//! `ctx`, what a handler is told about the execution it is part of.

use crate::call::Call;
use crate::capability::Grants;
use crate::forms::{Failure, check};
use crate::stack::{Pin, Position, Stack};

/// Metatables that are kept; a VM with more scripts than that makes some anew.
const MADE_MAX: usize = 64;

/// The metatables of `ctx`, made by `context.luau`: one for each script, as what they show is the same for all its
/// executions.
#[derive(Debug)]
pub(crate) struct Contexts {
    /// Makes one.
    make: Pin,
    made: Vec<Made>,
}

#[derive(Debug)]
struct Made {
    tenant: String,
    script: String,
    version: String,
    grants: Grants,
    metatable: Pin,
}

impl Contexts {
    pub(crate) fn new(make: Pin) -> Self {
        Self { make, made: Vec::new() }
    }

    /// Pushes a read-only table with `execution_id`, and by its metatable `tenant`, `script`, `version` and the members
    /// that the capabilities give.
    pub(crate) fn push(&mut self, stack: &mut Stack, call: &Call<'_>) -> Result<Position, Failure> {
        let metatable = self.metatable(stack, call)?;
        let table = stack.push_table(0, 1);
        stack.push_bytes(call.execution_id.as_bytes());
        stack.set_field(table, c"execution_id");
        stack.set_metatable(table, metatable);
        stack.freeze(table);
        Ok(table)
    }

    fn metatable(&mut self, stack: &mut Stack, call: &Call<'_>) -> Result<Pin, Failure> {
        if let Some(made) = self.made.iter().find(|made| made.is_for(call)) {
            return Ok(made.metatable);
        }
        if self.made.len() >= MADE_MAX {
            self.made.drain(..).for_each(|made| stack.let_go(made.metatable));
        }
        stack.push_pin(self.make);
        let names = stack.push_table(0, 8);
        for capability in call.grants.iter() {
            stack.push_bytes(capability.as_str().as_bytes());
            stack.push_boolean(true);
            stack.set_entry(names);
        }
        let texts = stack.push_table(0, 4);
        for (name, text) in [(c"tenant", call.tenant), (c"script", call.script), (c"version", call.version)] {
            stack.push_bytes(text.as_bytes());
            stack.set_field(texts, name);
        }
        check(stack.call(2), stack)?;
        let metatable = stack.keep();
        self.made.push(Made {
            tenant: call.tenant.to_owned(),
            script: call.script.to_owned(),
            version: call.version.to_owned(),
            grants: *call.grants,
            metatable,
        });
        Ok(metatable)
    }
}

impl Made {
    fn is_for(&self, call: &Call<'_>) -> bool {
        self.grants == *call.grants
            && self.script == call.script
            && self.version == call.version
            && self.tenant == call.tenant
    }
}
