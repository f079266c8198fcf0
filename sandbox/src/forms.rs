//! One execution on the Lua stack: fresh environment, input, the script's form, its answer.

use crate::compile::Program;
use crate::context::{self, Members};
use crate::fault::clip;
use crate::json::{self, Refused};
use crate::limits::Limits;
use crate::modules;
use crate::probe::{self, Probe};
use crate::stack::{Kind, Pin, Position, Stack, Status};
use crate::vm::Call;

/// Bytes of an error message that are looked at.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Values that the executions of a VM share; none of them can be changed by a script.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared {
    /// The globals between executions: the names without an environment.
    pub(crate) base: Pin,
    pub(crate) environment: Pin,
    pub(crate) array: Pin,
    pub(crate) members: Members,
    pub(crate) requirer: Pin,
    pub(crate) reseed: Pin,
    pub(crate) locate: Pin,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The input is not usable JSON.
    Input(serde_json::Error),
    /// Luau refused our own bytecode.
    Load(String),
    /// The script raised an error.
    Raised(String),
    /// The memory limit was hit.
    Memory,
    /// What the script is or left behind is none of the three forms.
    Form(String),
    /// The answer was not written.
    Output(Refused),
}

/// Runs `program` in a fresh environment and gives its answer as JSON text, or none if it answers to a `probe`. `seed`
/// starts `math.random`.
pub(crate) fn run(
    stack: &mut Stack,
    shared: Shared,
    program: &Program,
    call: &Call<'_>,
    probe: Option<Probe<'_>>,
    limits: &Limits,
    seed: u32,
) -> Result<Vec<u8>, Failure> {
    let answer = answer(stack, shared, program, call, probe, limits, seed);
    // Lets go of the environment, so that all of it can be swept.
    stack.clear();
    stack.push_pin(shared.base);
    stack.set_globals(stack.top());
    stack.clear();
    answer
}

fn answer(
    stack: &mut Stack,
    shared: Shared,
    program: &Program,
    call: &Call<'_>,
    probe: Option<Probe<'_>>,
    limits: &Limits,
    seed: u32,
) -> Result<Vec<u8>, Failure> {
    stack.push_pin(shared.locate);
    let locate = stack.top();

    stack.push_pin(shared.reseed);
    stack.push_number(f64::from(seed >> 1));
    check(stack.call(1, locate), stack)?;
    stack.pop();

    json::push(stack, call.input, limits.depth, shared.array).map_err(Failure::Input)?;
    let input = stack.top();
    let environment = enter_environment(stack, shared, input);
    check(modules::enter(stack, shared.requirer, program, environment, locate), stack)?;

    if !stack.load(program) {
        return Err(Failure::Load(message(stack)));
    }
    check(stack.call(0, locate), stack)?;
    let chunk = stack.top();
    if let Some(probe) = probe {
        return probe::run(stack, shared, locate, chunk, call, probe).map(|()| Vec::new());
    }
    let answer = match stack.kind(chunk) {
        Kind::Function => handle(stack, shared, locate, chunk, input, call)?,
        Kind::Table => {
            let handler = stack.push_field(chunk, c"handle");
            if stack.kind(handler) != Kind::Function {
                let what = stack.kind(handler).name();
                return Err(Failure::Form(format!(
                    "`{}` returns a table whose `handle` is {what}, not a function",
                    program.file()
                )));
            }
            handle(stack, shared, locate, handler, input, call)?
        }
        Kind::Nil => {
            let result = stack.push_field(environment, c"result");
            if stack.kind(result) != Kind::Table {
                return Err(Failure::Form(format!(
                    "`{}` returns nothing, and its global `result` is {}; return a function `handler(input, ctx)`, or \
                     set `result = {{ output = … }}`",
                    program.file(),
                    stack.kind(result).name()
                )));
            }
            result
        }
        other => {
            return Err(Failure::Form(format!(
                "`{}` returns {}; return a function `handler(input, ctx)`, or a table with `handle`",
                program.file(),
                other.name()
            )));
        }
    };
    json::take(stack, answer, limits, shared.array).map_err(Failure::Output)
}

/// A table that holds `_G` and `input`, looks for all else among the names of `globals.rs`, and goes with the execution.
fn enter_environment(stack: &mut Stack, shared: Shared, input: Position) -> Position {
    let environment = stack.push_table(0, 4);
    stack.push_copy(environment);
    stack.set_field(environment, c"_G");
    stack.push_copy(input);
    stack.set_field(environment, c"input");
    stack.set_metatable(environment, shared.environment);
    stack.set_globals(environment);
    environment
}

/// Calls `handler(input, ctx)`.
fn handle(
    stack: &mut Stack,
    shared: Shared,
    locate: Position,
    handler: Position,
    input: Position,
    call: &Call<'_>,
) -> Result<Position, Failure> {
    stack.push_copy(handler);
    stack.push_copy(input);
    context::push(stack, call, shared.members);
    check(stack.call(2, locate), stack)?;
    Ok(stack.top())
}

pub(crate) fn check(status: Status, stack: &mut Stack) -> Result<(), Failure> {
    match status {
        Status::Returned => Ok(()),
        Status::OutOfMemory => Err(Failure::Memory),
        Status::Raised => Err(Failure::Raised(message(stack))),
    }
}

/// The error on top of the stack in words, without running any code of the script's.
fn message(stack: &mut Stack) -> String {
    let error = stack.top();
    match stack.kind(error) {
        Kind::String => text(stack, error),
        Kind::Number => stack.number(error).to_string(),
        Kind::Table => {
            let field = stack.push_field(error, c"message");
            match stack.kind(field) {
                Kind::String => text(stack, field),
                _ => "raised a table without a text `message`".to_owned(),
            }
        }
        other => format!("raised {}", other.name()),
    }
}

fn text(stack: &Stack, position: Position) -> String {
    let bytes = stack.bytes(position);
    clip(&String::from_utf8_lossy(&bytes[..bytes.len().min(MESSAGE_BYTES_MAX)]), MESSAGE_BYTES_MAX)
}
