//! The forms of a script, and what of it an execution calls.

use std::borrow::Cow;
use std::ffi::c_int;

use contract::Code;

use crate::call::{Call, Entry};
use crate::compile::Program;
use crate::context::Contexts;
use crate::fault::{Fault, clip};
use crate::json::{self, Refused};
use crate::limits::Limits;
use crate::probe::{self, Declared};
use crate::stack::{Kind, Pin, Position, Stack, Status};
use crate::trace;

/// Bytes of an error message that are looked at.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The input is not usable JSON.
    Input(serde_json::Error),
    /// Luau refused our own bytecode.
    Load(String),
    /// The script raised an error.
    Raised(String),
    /// `before` raised an error: that is how it refuses.
    Rejected(String),
    /// The memory limit was hit.
    Memory,
    /// What the script is or left behind does not have what is called.
    Form(String),
    /// The answer was not written.
    Output(Refused),
    /// A limit of time was hit; which, the slot tells.
    Stopped,
    /// The main coroutine yielded, and nothing can resume it.
    Stuck,
    /// The script itself resumed or ended its main coroutine.
    Lost,
}

impl Failure {
    /// What the host is told about a failure of `program`, under a limit of `memory` bytes.
    pub(crate) fn fault(self, program: &Program, memory: usize) -> Fault {
        let raised = |code, message: &str| Fault::raised(code, program, message, &trace::place());
        match self {
            Self::Input(error) => Fault::bad_json(&error),
            Self::Load(error) => Fault::internal(&format!("Luau refused compiled code: {error}")),
            Self::Raised(message) => raised(Code::ScriptError, &message),
            Self::Rejected(message) => raised(Code::RejectedByMiddleware, &message),
            Self::Memory => Fault::memory(memory, program, &trace::place()),
            Self::Form(detail) => Fault::new(Code::ResultInvalid, detail),
            Self::Output(refused) if refused.is_limit() => Fault::new(Code::OutputExceeded, refused.sentence("result")),
            Self::Output(refused) => Fault::new(Code::ResultInvalid, refused.sentence("result")),
            Self::Stopped => Fault::internal("an execution was stopped that is within its limits"),
            Self::Stuck => raised(
                Code::ScriptError,
                "the script waits for nothing: its main coroutine yielded, and no task, wait or call is there to resume it",
            ),
            Self::Lost => {
                raised(Code::ScriptError, "the script resumed or ended its own main coroutine, so its answer is lost")
            }
        }
    }
}

/// What is wanted of what a script's chunk returns: mostly one of its functions.
#[derive(Debug, Clone)]
pub(crate) enum Wanted<'a> {
    Handle,
    Event(Cow<'a, str>),
    Before,
    After,
    /// The test of that name.
    Test(Cow<'a, str>),
    /// No function, only what the table declares.
    Declared,
}

impl<'a> Wanted<'a> {
    pub(crate) fn of(entry: Entry<'a>) -> Self {
        match entry {
            Entry::Handle => Self::Handle,
            Entry::Event(name) => Self::Event(Cow::Borrowed(name)),
            Entry::Before => Self::Before,
            Entry::After { .. } => Self::After,
        }
    }

    pub(crate) fn into_owned(self) -> Wanted<'static> {
        match self {
            Self::Handle => Wanted::Handle,
            Self::Event(name) => Wanted::Event(Cow::Owned(name.into_owned())),
            Self::Before => Wanted::Before,
            Self::After => Wanted::After,
            Self::Test(name) => Wanted::Test(Cow::Owned(name.into_owned())),
            Self::Declared => Wanted::Declared,
        }
    }
}

/// What a chunk has come to.
pub(crate) enum Form {
    /// This function is to be called.
    Function(Position),
    /// The chunk was all: its answer is in the global `result`.
    Founding,
    /// The table has been read, and that was all.
    Declared(Declared),
}

/// Finds what is `wanted` in what the chunk returned, at `returned`.
pub(crate) fn form(stack: &mut Stack, file: &str, returned: Position, wanted: &Wanted<'_>) -> Result<Form, Failure> {
    let kind = stack.kind(returned);
    match (kind, wanted) {
        (Kind::Function, Wanted::Handle) => return Ok(Form::Function(returned)),
        (Kind::Nil, Wanted::Handle) => return Ok(Form::Founding),
        _ => {}
    }
    let name = match wanted {
        Wanted::Handle => c"handle",
        Wanted::Event(_) => c"on",
        Wanted::Before => c"before",
        Wanted::After => c"after",
        Wanted::Test(name) => return probe::test(stack, returned, name).map(Form::Function),
        Wanted::Declared => return Ok(Form::Declared(probe::read(stack, returned))),
    };
    let field = name.to_string_lossy();
    let refused = |detail: String| Err(Failure::Form(detail));
    match kind {
        Kind::Table => {}
        Kind::Function => {
            return refused(format!("`{file}` is a handler and has no `{field}`; return a table with `{field}`"));
        }
        Kind::Nil => {
            return refused(format!("`{file}` returns nothing and has no `{field}`; return a table with `{field}`"));
        }
        other => {
            return refused(format!(
                "`{file}` returns {}; return a function `handler(input, ctx)`, or a table with `{field}`",
                other.name()
            ));
        }
    }
    let member = stack.push_field(returned, name);
    if let Wanted::Event(event) = wanted {
        if stack.kind(member) != Kind::Table {
            let what = stack.kind(member).name();
            return refused(format!(
                "`{file}` returns a table whose `on` is {what}, not a table of functions by event"
            ));
        }
        let function = stack.push_entry(member, event.as_bytes());
        return match stack.kind(function) {
            Kind::Function => Ok(Form::Function(function)),
            other => {
                refused(format!("`{file}` has no function for the event `{event}`: `on` has {} there", other.name()))
            }
        };
    }
    match stack.kind(member) {
        Kind::Function => Ok(Form::Function(member)),
        other => refused(format!("`{file}` returns a table whose `{field}` is {}, not a function", other.name())),
    }
}

/// Pushes the global `result` that a founding script left in `environment`.
pub(crate) fn founding_result(stack: &mut Stack, file: &str, environment: Position) -> Result<Position, Failure> {
    let result = stack.push_field(environment, c"result");
    match stack.kind(result) {
        Kind::Table => Ok(result),
        other => Err(Failure::Form(format!(
            "`{file}` returns nothing, and its global `result` is {}; return a function `handler(input, ctx)`, or set \
             `result = {{ output = … }}`",
            other.name()
        ))),
    }
}

/// Values of a call on the stack, from which arguments are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    pub(crate) input: Position,
    /// Of [`Entry::After`], otherwise the input again.
    pub(crate) result: Position,
}

impl Given {
    /// Pushes the values of a call.
    pub(crate) fn push(stack: &mut Stack, call: &Call<'_>, limits: &Limits, array: Pin) -> Result<Self, Failure> {
        json::push(stack, call.input, limits.depth, array).map_err(Failure::Input)?;
        let input = stack.top();
        if let Entry::After { result } = call.entry {
            json::push(stack, result, limits.depth, array).map_err(Failure::Input)?;
        }
        Ok(Self { input, result: stack.top() })
    }

    /// Pushes the arguments for what is wanted, and gives their number.
    pub(crate) fn push_arguments(
        self,
        stack: &mut Stack,
        contexts: &mut Contexts,
        call: &Call<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<c_int, Failure> {
        match wanted {
            Wanted::Handle => {
                stack.push_copy(self.input);
                contexts.push(stack, call)?;
                Ok(2)
            }
            Wanted::Event(name) => {
                let event = stack.push_table(0, 2);
                stack.push_bytes(name.as_bytes());
                stack.set_field(event, c"name");
                stack.push_copy(self.input);
                stack.set_field(event, c"data");
                contexts.push(stack, call)?;
                Ok(2)
            }
            Wanted::Before => {
                contexts.push(stack, call)?;
                stack.push_copy(self.input);
                push_callee(stack, call);
                Ok(3)
            }
            Wanted::After => {
                contexts.push(stack, call)?;
                stack.push_copy(self.result);
                stack.push_copy(self.input);
                push_callee(stack, call);
                Ok(4)
            }
            Wanted::Test(name) => {
                probe::push_argument(stack, contexts, call, name)?;
                Ok(1)
            }
            Wanted::Declared => Ok(0),
        }
    }
}

/// Pushes `{ tenant, script, version, event }` of the call that a middleware looks at.
fn push_callee(stack: &mut Stack, call: &Call<'_>) {
    let Some(callee) = call.callee else { return stack.push_nil() };
    let table = stack.push_table(0, 4);
    let fields = [(c"tenant", callee.tenant), (c"script", callee.script), (c"version", callee.version)];
    for (name, value) in fields.into_iter().chain(callee.event.map(|event| (c"event", event))) {
        stack.push_bytes(value.as_bytes());
        stack.set_field(table, name);
    }
}

pub(crate) fn check(status: Status, stack: &mut Stack) -> Result<(), Failure> {
    match status {
        Status::Returned | Status::Yielded => Ok(()),
        Status::OutOfMemory => Err(Failure::Memory),
        Status::Raised => Err(Failure::Raised(message(stack))),
    }
}

/// The error on top of the stack in words, without running any code of the script's.
pub(crate) fn message(stack: &mut Stack) -> String {
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
