//! One step of an execution on the Lua stack: from its begin, or from where it waited, to where it waits or ends.
//!
//! Each execution has a Lua thread of its own, its main coroutine, whose globals are its environment. The host resumes
//! that one here, because how it ends is how the execution ends; all others are resumed by `tasks.luau`. An execution
//! that never waits and has no tasks is resumed twice: for its chunk, and for the function that the chunk returned.

use std::ffi::c_int;
use std::mem;
use std::time::Duration;

use crate::asks::Answer;
use crate::call::{Call, State};
use crate::compile::Program;
use crate::drive::Driven;
use crate::forms::{self, Failure, Form, Given, Wanted, check, message};
use crate::json;
use crate::kept::Instance;
use crate::limits::Limits;
use crate::modules;
use crate::parts::Parts;
use crate::rest::{Phase, Plan, Rest};
use crate::run::Outcome;
use crate::slot;
use crate::stack::{Kind, Pin, Position, Stack, Status};

/// What a step has come to.
#[derive(Debug)]
pub(crate) enum Turned {
    Ended(Outcome),
    /// With the time until a sleeper wakes, if one sleeps.
    Waiting(Rest, Option<Duration>),
}

/// Where the arguments of the function come from that is called when the chunk has returned.
enum Arguments<'a> {
    Call(&'a Call<'a>, Given),
    /// The last so many elements of the array at the position.
    Scene(Position, c_int),
}

/// What the main coroutine does.
enum Main {
    /// It is to be resumed with so many arguments.
    Ready(c_int),
    Waiting,
    /// It has returned, and the answer is there.
    Done(Position),
}

/// A step while it runs. Positions are on `stack`.
pub(crate) struct Turn<'a> {
    pub(crate) stack: &'a mut Stack,
    pub(crate) parts: &'a mut Parts,
    program: &'a Program,
    pub(crate) limits: &'a Limits,
    plan: Plan<'a>,
    arguments: Arguments<'a>,
    environment: Position,
    chunk: Position,
    pub(crate) thread: Position,
    phase: Phase,
    /// The pooled instance that this execution uses.
    instance: Option<Instance>,
}

/// Begins an execution. `seed` starts `math.random`.
pub(crate) fn begin(
    stack: &mut Stack,
    parts: &mut Parts,
    program: &Program,
    call: &Call<'_>,
    wanted: Wanted<'_>,
    seed: u32,
) -> Result<Turned, Failure> {
    let shared = parts.shared;
    let turned = shared.seed(stack, seed).and_then(|()| begin_seeded(stack, parts, program, call, wanted));
    parts.leave(stack);
    turned
}

fn begin_seeded(
    stack: &mut Stack,
    parts: &mut Parts,
    program: &Program,
    call: &Call<'_>,
    wanted: Wanted<'_>,
) -> Result<Turned, Failure> {
    let shared = parts.shared;
    let given = Given::push(stack, call, call.limits, shared.array)?;
    let found = if call.state == State::Fresh { None } else { parts.kept.find(stack, call) };
    let environment = match found {
        Some(instance) => shared.enter_kept(stack, instance, given.input),
        None => shared.enter_fresh(stack, program, given.input)?,
    };
    match found {
        Some(instance) => stack.push_pin(instance.body),
        None if parts.chunks.push(stack, program) => {}
        None => return Err(Failure::Load(message(stack))),
    }
    let chunk = stack.top();
    let turn = Turn {
        thread: parts.push_thread(stack),
        plan: Plan::of(call, wanted),
        arguments: Arguments::Call(call, given),
        limits: call.limits,
        instance: found.filter(|_| call.state == State::Pooled),
        phase: if found.is_some() { Phase::Founding } else { Phase::Chunk },
        stack,
        parts,
        program,
        environment,
        chunk,
    };
    match found {
        Some(Instance { founding: false, .. }) => turn.go(|turn| turn.enter(chunk), Vec::new()),
        _ => turn.go(|turn| Ok(turn.start()), Vec::new()),
    }
}

/// Goes on with an execution that waited.
pub(crate) fn resume(
    stack: &mut Stack,
    parts: &mut Parts,
    program: &Program,
    rest: Rest,
    answers: Vec<Answer>,
    limits: &Limits,
    seed: u32,
) -> Result<Turned, Failure> {
    let shared = parts.shared;
    let turned = shared.seed(stack, seed).and_then(|()| resume_seeded(stack, parts, program, rest, answers, limits));
    parts.leave(stack);
    turned
}

fn resume_seeded(
    stack: &mut Stack,
    parts: &mut Parts,
    program: &Program,
    rest: Rest,
    answers: Vec<Answer>,
    limits: &Limits,
) -> Result<Turned, Failure> {
    parts.spare.used = true;
    stack.push_pin(parts.shared.now);
    let now = stack.top();
    stack.push_pin(rest.tasks);
    stack.set_element(now, 1);
    stack.push_pin(rest.thread);
    let thread = stack.top();
    stack.push_pin(rest.scene);
    let scene = stack.top();
    for pin in [rest.thread, rest.tasks, rest.scene] {
        stack.let_go(pin);
    }
    let turn = Turn {
        environment: stack.push_element(scene, 1),
        chunk: stack.push_element(scene, 2),
        arguments: Arguments::Scene(scene, rest.arguments),
        plan: rest.plan,
        phase: rest.phase,
        instance: rest.instance,
        stack,
        parts,
        program,
        limits,
        thread,
    };
    turn.go(|_| Ok(Main::Waiting), answers)
}

impl<'a> Turn<'a> {
    /// Runs the main coroutine and the tasks until the execution waits or ends.
    fn go(
        mut self,
        first: impl FnOnce(&mut Self) -> Result<Main, Failure>,
        answers: Vec<Answer>,
    ) -> Result<Turned, Failure> {
        let turned = first(&mut self).and_then(|main| self.run(main, answers));
        // What a failed execution left in an instance is nobody's to know.
        if let Some(instance) = self.instance.take() {
            instance.let_go(self.stack);
        }
        turned
    }

    fn run(&mut self, mut main: Main, mut answers: Vec<Answer>) -> Result<Turned, Failure> {
        loop {
            while let Main::Ready(arguments) = main {
                main = self.resume_main(arguments)?;
            }
            if !self.has_tasks() {
                return match main {
                    Main::Done(answer) => self.end_alone(answer),
                    _ => Err(self.stuck()),
                };
            }
            match (self.drive(mem::take(&mut answers))?, &main) {
                (Driven::Main(arguments), _) => main = Main::Ready(arguments),
                (Driven::Idle { .. }, &Main::Done(answer)) => return self.end(answer),
                (Driven::Idle { .. }, _) if !self.stack.is_waiting(self.thread) => return Err(Failure::Lost),
                (Driven::Idle { wake_in: None, asking: false }, _) => return Err(self.stuck()),
                (Driven::Idle { wake_in, .. }, _) => return self.wait(wake_in),
            }
        }
    }

    fn resume_main(&mut self, arguments: c_int) -> Result<Main, Failure> {
        match self.stack.resume(self.thread, arguments) {
            Status::Yielded if slot::is_stopped() => Err(Failure::Stopped),
            Status::Yielded => Ok(Main::Waiting),
            Status::Returned => {
                let returned = self.stack.fetch(self.thread);
                match self.phase {
                    Phase::Chunk => self.loaded(returned),
                    Phase::Founding => self.enter(returned),
                    Phase::Body => Ok(Main::Done(returned)),
                }
            }
            failed => {
                self.stack.note_place(self.thread);
                match check(failed, self.stack) {
                    Err(Failure::Raised(text)) if self.rejects() => Err(Failure::Rejected(text)),
                    Err(failure) => Err(failure),
                    Ok(()) => Err(Failure::Lost),
                }
            }
        }
    }

    /// Only what `before` itself raises refuses a call: a chunk that fails is a broken script.
    fn rejects(&self) -> bool {
        self.phase == Phase::Body && matches!(self.plan.wanted, Wanted::Before)
    }

    /// Has the main coroutine run the chunk.
    fn start(&mut self) -> Main {
        self.stack.push_copy(self.chunk);
        self.stack.send(self.thread, 1);
        Main::Ready(0)
    }

    /// The chunk has returned for the first time.
    fn loaded(&mut self, returned: Position) -> Result<Main, Failure> {
        if self.plan.state != State::Fresh {
            self.keep(returned)?;
        }
        self.enter(returned)
    }

    /// Calls what is wanted of what the chunk returned, or reads it.
    fn enter(&mut self, returned: Position) -> Result<Main, Failure> {
        let function = match forms::form(self.stack, self.program.file(), returned, &self.plan.wanted)? {
            Form::Function(function) => function,
            Form::Founding => return self.founding_answer(),
            Form::Declared(declared) => {
                self.parts.declared = Some(declared);
                self.stack.push_nil();
                return Ok(Main::Done(self.stack.top()));
            }
        };
        self.phase = Phase::Body;
        self.stack.push_copy(function);
        let arguments = self.push_arguments()?;
        self.stack.send(self.thread, 1 + arguments);
        Ok(Main::Ready(arguments))
    }

    fn push_arguments(&mut self) -> Result<c_int, Failure> {
        match self.arguments {
            Arguments::Call(call, given) => {
                given.push_arguments(self.stack, &mut self.parts.contexts, call, &self.plan.wanted)
            }
            Arguments::Scene(scene, count) => {
                for index in 1..=count {
                    self.stack.push_element(scene, 2 + index);
                }
                Ok(count)
            }
        }
    }

    fn founding_answer(&mut self) -> Result<Main, Failure> {
        forms::founding_result(self.stack, self.program.file(), self.environment).map(Main::Done)
    }

    /// Makes an instance of the script for later executions. A tenant's serves them from now on, a pooled one when this
    /// execution has ended.
    fn keep(&mut self, returned: Position) -> Result<(), Failure> {
        let founding = self.stack.kind(returned) == Kind::Nil;
        let first = match self.plan.state {
            State::Fresh | State::Tenant => None,
            State::Pooled => Some(self.remember(founding)?),
        };
        self.stack.push_copy(self.environment);
        let environment = self.stack.keep();
        self.stack.push_copy(if founding { self.chunk } else { returned });
        let body = self.stack.keep();
        let instance = Instance { environment, body, founding, first };
        if first.is_some() {
            self.instance = Some(instance);
        } else {
            self.parts.kept.keep_tenant(self.stack, &self.plan.script, &self.plan.version, instance);
        }
        Ok(())
    }

    /// A copy of the environment to go back to. What a founding script has set is of its execution and not of its chunk;
    /// that may be `require`, so a package gets a new one.
    fn remember(&mut self, founding: bool) -> Result<Pin, Failure> {
        if founding {
            let first = self.stack.push_table(0, 1);
            self.stack.push_copy(self.environment);
            self.stack.set_field(first, c"_G");
            modules::enter(self.stack, self.parts.shared.requirer, self.program, first)?;
        } else {
            self.stack.push_pin(self.parts.shared.remember);
            self.stack.push_copy(self.environment);
            check(self.stack.call(1), self.stack)?;
        }
        Ok(self.stack.keep())
    }

    fn stuck(&mut self) -> Failure {
        self.stack.note_place(self.thread);
        Failure::Stuck
    }

    /// Ends an execution that had no tasks, whose main coroutine is therefore known to nobody.
    fn end_alone(&mut self, answer: Position) -> Result<Turned, Failure> {
        let turned = self.end(answer)?;
        self.parts.spare.used = false;
        Ok(turned)
    }

    /// Writes the answer, and gives a pooled instance back as its chunk left it.
    fn end(&mut self, answer: Position) -> Result<Turned, Failure> {
        let outcome = match self.stack.kind(answer) {
            Kind::Nil => Outcome::Nothing,
            _ => json::take(self.stack, answer, self.limits, self.parts.shared.array)
                .map(Outcome::Value)
                .map_err(Failure::Output)?,
        };
        if let Some(instance) = self.instance
            && let Some(first) = instance.first
        {
            self.stack.push_pin(self.parts.shared.restore);
            self.stack.push_copy(self.environment);
            self.stack.push_pin(first);
            check(self.stack.call(2), self.stack)?;
            self.instance = None;
            self.parts.kept.keep_pooled(self.stack, &self.plan.script, &self.plan.version, instance);
        }
        Ok(Turned::Ended(outcome))
    }

    fn wait(&mut self, wake_in: Option<Duration>) -> Result<Turned, Failure> {
        let scene = self.stack.push_table(2, 0);
        for (index, position) in [(1, self.environment), (2, self.chunk)] {
            self.stack.push_copy(position);
            self.stack.set_element(scene, index);
        }
        let mut arguments = 0;
        if self.phase == Phase::Chunk {
            arguments = self.push_arguments()?;
            for index in (1..=arguments).rev() {
                self.stack.set_element(scene, 2 + index);
            }
        }
        let scene = self.stack.keep();
        self.stack.push_pin(self.parts.shared.now);
        let now = self.stack.top();
        self.stack.push_element(now, 1);
        let tasks = self.stack.keep();
        self.stack.push_copy(self.thread);
        let thread = self.stack.keep();
        let (phase, instance) = (self.phase, self.instance.take());
        let plan = self.plan.clone().into_owned();
        Ok(Turned::Waiting(Rest { thread, tasks, scene, arguments, phase, plan, instance }, wake_in))
    }
}
