//! What the executions of a VM share on the Lua side, and how they enter and leave it.

use crate::chunks::Chunks;
use crate::compile::Program;
use crate::context::Contexts;
use crate::forms::{Failure, check};
use crate::kept::{Instance, Kept};
use crate::modules;
use crate::probe::Declared;
use crate::stack::{Pin, Position, Stack};

/// Values that the executions of a VM share; none of them can be changed by a script.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared {
    /// The globals between executions: the names without an environment.
    pub(crate) base: Pin,
    /// The metatable of environments.
    pub(crate) environment: Pin,
    /// The metatable of arrays.
    pub(crate) array: Pin,
    pub(crate) reseed: Pin,
    /// The table whose first element is the tasks of the running execution.
    pub(crate) now: Pin,
    pub(crate) drive: Pin,
    pub(crate) remember: Pin,
    pub(crate) restore: Pin,
    /// Makes the `require` of a package.
    pub(crate) requirer: Pin,
}

/// What executions use of their VM.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) shared: Shared,
    pub(crate) contexts: Contexts,
    pub(crate) chunks: Chunks,
    pub(crate) kept: Kept,
    pub(crate) spare: Spare,
    /// What the last script that was asked declares, until it is fetched.
    pub(crate) declared: Option<Declared>,
}

/// The main coroutine of the last execution that began. If nothing else came to know it, the next one gets it: making one
/// anew is a good part of what an execution costs.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    thread: Option<Pin>,
    /// Whether the running step uses it, or has tasks. If that still holds when it leaves, others may know the coroutine.
    pub(crate) used: bool,
}

impl Parts {
    /// Pushes the main coroutine of a new execution.
    pub(crate) fn push_thread(&mut self, stack: &mut Stack) -> Position {
        self.spare.used = true;
        if let Some(thread) = self.spare.thread {
            stack.push_pin(thread);
            stack.share_globals(stack.top());
        } else {
            let thread = stack.push_thread();
            stack.push_copy(thread);
            self.spare.thread = Some(stack.keep());
        }
        stack.top()
    }

    /// Lets go of an execution, so that all of it can be swept.
    pub(crate) fn leave(&mut self, stack: &mut Stack) {
        stack.clear();
        stack.push_pin(self.shared.base);
        stack.set_globals(Position::FIRST);
        if let Some(spare) = self.spare.thread {
            if self.spare.used {
                stack.let_go(spare);
                self.spare.thread = None;
            } else {
                stack.push_pin(spare);
                stack.renew_thread(stack.top());
            }
        }
        if self.spare.used {
            stack.push_pin(self.shared.now);
            let now = stack.top();
            stack.push_nil();
            stack.set_element(now, 1);
        }
        self.spare.used = false;
        stack.clear();
    }
}

impl Shared {
    pub(crate) fn seed(self, stack: &mut Stack, seed: u32) -> Result<(), Failure> {
        stack.push_pin(self.reseed);
        stack.push_number(f64::from(seed >> 1));
        check(stack.call(1), stack)
    }

    /// A table that holds `_G` and `input`, looks for all else among the names of `globals.rs`, and goes with the
    /// execution. That of a package also has its `require`.
    pub(crate) fn enter_fresh(
        self,
        stack: &mut Stack,
        program: &Program,
        input: Position,
    ) -> Result<Position, Failure> {
        let environment = stack.push_table(0, 4);
        stack.push_copy(environment);
        stack.set_field(environment, c"_G");
        stack.push_copy(input);
        stack.set_field(environment, c"input");
        modules::enter(stack, self.requirer, program, environment)?;
        stack.set_metatable(environment, self.environment);
        stack.set_globals(environment);
        Ok(environment)
    }

    /// The environment of an instance, with a new `input` and no `result`.
    pub(crate) fn enter_kept(self, stack: &mut Stack, instance: Instance, input: Position) -> Position {
        stack.push_pin(instance.environment);
        let environment = stack.top();
        stack.push_copy(input);
        stack.set_field(environment, c"input");
        if instance.founding {
            stack.push_nil();
            stack.set_field(environment, c"result");
        }
        stack.set_globals(environment);
        environment
    }
}
