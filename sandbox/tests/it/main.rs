//! The sandbox from outside: what scripts get, what they do not get, and where they are stopped.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test, and clippy knows only the test functions")]

mod bounds;
mod capabilities;
mod declaring;
mod entries;
mod examples;
mod forms;
mod gate;
mod isolation;
mod limits;
mod logging;
mod names;
mod packages;
mod policies;
mod require;
mod state;
mod tasks;
mod values;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use sandbox::{Call, Engine, Entry, Execution, Fault, Grants, Limits, Program, State, Step, Vm, Waiting, compile};

/// An engine and one VM, on a thread with the stack that executions need.
struct Desk {
    engine: Arc<Engine>,
    limits: Limits,
    vm: Vm,
}

/// Limits that a busy test machine does not reach by accident.
fn roomy() -> Limits {
    Limits { cpu: Duration::from_secs(20), wall: Duration::from_secs(60), ..Limits::default() }
}

/// Runs `test` with a desk under `limits`.
fn at_desk(limits: Limits, test: impl FnOnce(&mut Desk) + Send) {
    let body = || {
        let engine = Engine::start().unwrap();
        let vm = engine.vm(&limits).unwrap();
        test(&mut Desk { engine, limits, vm });
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(8 << 20).spawn_scoped(scope, body).unwrap();
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Desk {
    #[track_caller]
    fn compile(&self, source: &str) -> Program {
        compile("rule.luau", source.as_bytes(), &self.limits).unwrap()
    }

    #[track_caller]
    fn run(&mut self, source: &str, input: &str) -> Execution {
        let program = self.compile(source);
        self.run_program(&program, input)
    }

    fn run_program(&mut self, program: &Program, input: &str) -> Execution {
        let limits = self.limits.clone();
        self.vm.run(program, &call(&limits, input))
    }

    fn renew(&mut self) {
        self.vm = self.engine.vm(&self.limits).unwrap();
    }

    /// The answer, with the keys of objects in order.
    #[track_caller]
    fn answer(&mut self, source: &str, input: &str) -> String {
        sorted(&self.run(source, input).outcome.unwrap().into_json())
    }

    #[track_caller]
    fn fault(&mut self, source: &str, input: &str) -> Fault {
        self.run(source, input).outcome.unwrap_err()
    }

    /// What an expression is for a script.
    #[track_caller]
    fn value(&mut self, expression: &str) -> String {
        self.answer(&format!("return function(input, ctx) return {expression} end"), "")
    }
}

/// The execution as it waits.
#[track_caller]
fn waiting(step: Step) -> Waiting {
    match step {
        Step::Waiting(waiting) => waiting,
        Step::Ended(execution) => panic!("it ended: {:?}", execution.outcome),
    }
}

/// The answer of an execution that ended.
#[track_caller]
fn ended(step: Step) -> String {
    sorted(&execution(step).outcome.unwrap().into_json())
}

/// The execution that ended.
#[track_caller]
fn execution(step: Step) -> Execution {
    match step {
        Step::Ended(execution) => execution,
        Step::Waiting(waiting) => panic!("it waits: {waiting:?}"),
    }
}

/// A call of the handler of a script that keeps nothing.
fn call<'a>(limits: &'a Limits, input: &'a str) -> Call<'a> {
    Call {
        tenant: "acme",
        script: "rule",
        version: "v1",
        execution_id: "e1",
        input: input.as_bytes(),
        entry: Entry::Handle,
        limits,
        grants: GRANTS,
        state: State::Fresh,
        callee: None,
    }
}

/// All capabilities.
const GRANTS: &Grants = &Grants::ALL;

/// Runs in a new VM under roomy limits.
#[track_caller]
fn answer(source: &str, input: &str) -> String {
    let mut answer = None;
    at_desk(roomy(), |desk| answer = Some(desk.run(source, input).outcome));
    sorted(&answer.unwrap().unwrap().into_json())
}

/// `CODE: DETAIL` of the fault in a new VM under roomy limits.
#[track_caller]
fn fault(source: &str, input: &str) -> String {
    let mut outcome = None;
    at_desk(roomy(), |desk| outcome = Some(desk.run(source, input).outcome));
    let fault = outcome.unwrap().unwrap_err();
    format!("{}: {}", fault.code, fault.detail)
}

#[track_caller]
fn sorted(json: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(json).unwrap().to_string()
}
