//! Chunks that are loaded once per VM instead of once per execution.
//!
//! What Luau makes of bytecode never changes after it is loaded, but for hints where to look in a table first. So a
//! chunk is loaded once, bound to the [*nowhere*](Chunks::new): an empty, read-only environment in which nothing runs.
//! Each execution gets a copy of the main function that is bound to its own environment; all functions within are
//! bound to the one of the function that makes them. The names of libraries, which Luau resolves when it loads, are
//! found from nowhere as from everywhere.
//!
//! Not for packages: their modules find their own `require` and each other's globals in their environment, and these
//! would be resolved for good.

use crate::compile::Program;
use crate::stack::{Pin, Stack};

/// Chunks that are kept.
const KEPT_MAX: usize = 16;

/// Bytecode of a chunk that is worth keeping. It takes a few times as much in the VM, which is the tenant's memory.
const BYTES_MAX: usize = 32 << 10;

/// The chunks of one VM.
#[derive(Debug)]
pub(crate) struct Chunks {
    nowhere: Pin,
    /// The longest kept first.
    kept: Vec<(Program, Pin)>,
}

impl Chunks {
    /// None yet. `nowhere` is a table without entries that has the metatable of environments.
    pub(crate) fn new(nowhere: Pin) -> Self {
        Self { nowhere, kept: Vec::new() }
    }

    /// Pushes the chunk of `program`, bound to this thread's globals; false if Luau refused, with its message on top.
    pub(crate) fn push(&mut self, stack: &mut Stack, program: &Program) -> bool {
        let module = program.entry();
        if program.is_package() || module.bytecode.len() > BYTES_MAX {
            return stack.load(module);
        }
        if let Some((_, chunk)) = self.kept.iter().find(|(kept, _)| kept.is(program)) {
            stack.push_pin(*chunk);
        } else {
            let before = stack.push_globals();
            stack.push_pin(self.nowhere);
            stack.set_globals(stack.top());
            let loaded = stack.load(module);
            stack.set_globals(before);
            if !loaded {
                return false;
            }
            stack.push_copy(stack.top());
            if self.kept.len() >= KEPT_MAX {
                let (_, oldest) = self.kept.remove(0);
                stack.let_go(oldest);
            }
            let chunk = stack.keep();
            self.kept.push((program.clone(), chunk));
        }
        stack.push_rebound(stack.top());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, Engine, Limits, Outcome, compile};

    /// What executions of `source` in one VM answer, one after the other.
    fn answers(source: &str, count: usize) -> Vec<String> {
        let (engine, limits) = (Engine::start().unwrap(), Limits::default());
        let mut vm = engine.vm(&limits).unwrap();
        let program = compile("x.luau", source.as_bytes(), &limits).unwrap();
        let call = Call::new("a", "x", "v", "e", &limits);
        let answer = |execution: crate::Execution| match execution.outcome.unwrap() {
            Outcome::Value(json) => String::from_utf8(json).unwrap(),
            Outcome::Nothing => "nothing".to_owned(),
        };
        (0..count).map(|_| answer(vm.run(&program, &call))).collect()
    }

    #[test]
    fn globals_upvalues_and_functions_of_a_kept_chunk_are_each_executions_own() {
        let source = "
            count = (count or 0) + 1
            local calls = 0
            local function counted() calls += 1 total = (total or 0) + calls return total end
            local nested = function() return function() seen = (seen or 0) + 1 return seen end end
            return function() return { count, counted(), counted(), nested()(), nested()() } end";
        assert_eq!(answers(source, 3), ["[1,1,3,1,2]"; 3]);
    }

    #[test]
    fn libraries_that_one_execution_replaces_are_there_for_the_next() {
        let source = "
            local before = math.floor(1.5)
            _G.math = { floor = function() return 7 end }
            rawset(_G, 'tostring', function() return 'mine' end)
            return function() return { before, _G.math.floor(1.5), string.upper('a') } end";
        assert_eq!(answers(source, 3), [r#"[1,7,"A"]"#; 3]);
    }

    #[test]
    fn what_a_chunk_sets_by_another_name_is_not_resolved_for_the_next() {
        let source = "
            local seen = helper and helper.value
            rawset(_G, 'helper', { value = 5 })
            return function() return { tostring(seen), helper.value } end";
        assert_eq!(answers(source, 3), [r#"["nil",5]"#; 3]);
    }

    #[test]
    fn the_chunks_of_more_programs_than_are_kept_still_run() {
        let (engine, limits) = (Engine::start().unwrap(), Limits::default());
        let mut vm = engine.vm(&limits).unwrap();
        for round in 0..3 {
            for number in 0..2 * KEPT_MAX {
                let source = format!("return function() return {number} end");
                let program = compile("x.luau", source.as_bytes(), &limits).unwrap();
                let outcome = vm.run(&program, &Call::new("a", "x", "v", "e", &limits)).outcome;
                assert_eq!(outcome, Ok(Outcome::Value(number.to_string().into_bytes())), "round {round}");
            }
        }
    }
}
