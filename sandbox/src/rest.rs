//! What an execution that waits keeps, to go on with.

use std::borrow::Cow;
use std::ffi::c_int;

use crate::call::{Call, State};
use crate::forms::Wanted;
use crate::kept::Instance;
use crate::stack::Pin;

/// What an execution that waits keeps in the VM.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) thread: Pin,
    pub(crate) tasks: Pin,
    /// An array: the environment, the chunk, and if that has not returned yet, the arguments of what is called then.
    pub(crate) scene: Pin,
    pub(crate) arguments: c_int,
    pub(crate) phase: Phase,
    pub(crate) plan: Plan<'static>,
    pub(crate) instance: Option<Instance>,
}

impl Rest {
    pub(crate) fn pins(self) -> impl Iterator<Item = Pin> {
        [self.thread, self.tasks, self.scene].into_iter().chain(self.instance.into_iter().flat_map(Instance::pins))
    }
}

/// What the main coroutine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The script's chunk, for the first time.
    Chunk,
    /// The chunk of a founding script once more.
    Founding,
    /// What was called of the script.
    Body,
}

/// What the execution is about.
#[derive(Debug, Clone)]
pub(crate) struct Plan<'a> {
    pub(crate) wanted: Wanted<'a>,
    pub(crate) state: State,
    pub(crate) script: Cow<'a, str>,
    pub(crate) version: Cow<'a, str>,
}

impl<'a> Plan<'a> {
    pub(crate) fn of(call: &Call<'a>, wanted: Wanted<'a>) -> Self {
        Self { wanted, state: call.state, script: Cow::Borrowed(call.script), version: Cow::Borrowed(call.version) }
    }

    pub(crate) fn into_owned(self) -> Plan<'static> {
        Plan {
            wanted: self.wanted.into_owned(),
            state: self.state,
            script: Cow::Owned(self.script.into_owned()),
            version: Cow::Owned(self.version.into_owned()),
        }
    }
}
