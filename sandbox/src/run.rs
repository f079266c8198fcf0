//! An execution between its steps.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::asks::Ask;
use crate::compile::Program;
use crate::fault::Fault;
use crate::life::Life;
use crate::log::LogLine;
use crate::rest::Rest;
use crate::stack::Pin;

/// What an execution has come to.
#[derive(Debug)]
pub enum Step {
    /// It is over.
    Ended(Execution),
    /// It goes on when it gets an answer or its time has come.
    Waiting(Waiting),
}

/// An execution that waits.
#[derive(Debug)]
pub struct Waiting {
    /// For [`Vm::resume`](crate::Vm::resume) or [`Vm::cancel`](crate::Vm::cancel).
    pub run: Run,
    /// What it asked for since its last step.
    pub asks: Vec<Ask>,
    /// When to resume it even if no answer has come; never after [`Run::ends`]. `None` if only answers are awaited, and
    /// then it is to be resumed at [`Run::ends`].
    pub wake_at: Option<Instant>,
}

/// What an execution left.
#[derive(Debug)]
pub struct Execution {
    /// The answer, or why there is none.
    pub outcome: Result<Outcome, Fault>,
    /// What the script logged, oldest first.
    pub log: Vec<LogLine>,
    /// Log lines dropped for the budget.
    pub log_dropped: u32,
    /// Wall time from begin to end, waits included.
    pub wall: Duration,
}

/// What a script answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// JSON text.
    Value(Vec<u8>),
    /// It returned nil or nothing: to a caller that is `null`, for [`Entry::Before`](crate::Entry::Before) and
    /// [`Entry::After`](crate::Entry::After) it means "unchanged".
    Nothing,
}

impl Outcome {
    /// As JSON text, which for nothing is `null`.
    pub fn into_json(self) -> Vec<u8> {
        match self {
            Self::Value(json) => json,
            Self::Nothing => b"null".to_vec(),
        }
    }
}

/// An execution that waits, outside of its VM. Dropping it ends the execution and frees what it had there.
pub struct Run {
    /// `None` once it has been taken for the next step.
    own: Option<Box<Own>>,
    program: Program,
    ends: Instant,
    home: Rc<Home>,
}

/// What an execution has.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) life: Life,
    pub(crate) rest: Rest,
}

/// What a VM and its waiting executions know of each other.
#[derive(Debug, Default)]
pub(crate) struct Home {
    pub(crate) waiting: Cell<usize>,
    /// Of runs that were dropped; let go at the next step.
    pub(crate) dropped: RefCell<Vec<Pin>>,
}

impl Run {
    pub(crate) fn new(own: Own, program: Program, home: Rc<Home>) -> Self {
        home.waiting.set(home.waiting.get() + 1);
        Self { ends: own.life.ends, own: Some(Box::new(own)), program, home }
    }

    /// When the wall time of the execution is over.
    pub fn ends(&self) -> Instant {
        self.ends
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    pub(crate) fn is_of(&self, home: &Rc<Home>) -> bool {
        Rc::ptr_eq(&self.home, home)
    }

    /// What the execution has, for its next step.
    pub(crate) fn into_own(mut self) -> Own {
        *self.own.take().expect("only this takes it, and it takes the run")
    }

    /// What is left of an execution that is over.
    pub(crate) fn into_life(self) -> Life {
        let home = Rc::clone(&self.home);
        let Own { life, rest } = self.into_own();
        home.dropped.borrow_mut().extend(rest.pins());
        life
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.home.waiting.set(self.home.waiting.get() - 1);
        if let Some(own) = self.own.take() {
            self.home.dropped.borrow_mut().extend(own.rest.pins());
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("program", &self.program).finish_non_exhaustive()
    }
}
