//! What a host says about an execution: what is called, what it may use, and what stays of it.

use crate::capability::Grants;
use crate::limits::Limits;

/// One execution: what is called, and what it may use.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Whose script.
    pub tenant: &'a str,
    /// Which.
    pub script: &'a str,
    /// Its version. With [`State::Pooled`] and [`State::Tenant`], two programs of one script must not share one.
    pub version: &'a str,
    /// Id of this execution.
    pub execution_id: &'a str,
    /// JSON text; empty = `null`.
    pub input: &'a [u8],
    /// What of the script is called.
    pub entry: Entry<'a>,
    /// Limits of this execution. Memory is the VM's: an execution may get less of it but not more, and all that the VM
    /// holds counts, also what [kept](State) scripts and waiting executions hold.
    pub limits: &'a Limits,
    /// What it may do beyond computing.
    pub grants: &'a Grants,
    /// What stays of the script between executions.
    pub state: State,
    /// For [`Entry::Before`] and [`Entry::After`]: the call that they look at. Scripts get it as last argument.
    pub callee: Option<Callee<'a>>,
}

/// The call that a middleware looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Callee<'a> {
    /// Whose script is called.
    pub tenant: &'a str,
    /// Which.
    pub script: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The event that it is called for, if it is called for one.
    pub event: Option<&'a str>,
}

impl<'a> Call<'a> {
    /// A call of `handle` with what a script has by default: harmless capabilities, and nothing kept.
    pub fn new(tenant: &'a str, script: &'a str, version: &'a str, execution_id: &'a str, limits: &'a Limits) -> Self {
        Self {
            tenant,
            script,
            version,
            execution_id,
            input: b"",
            entry: Entry::Handle,
            limits,
            grants: &Grants::HARMLESS,
            state: State::Fresh,
            callee: None,
        }
    }
}

/// What of a script an execution calls. Scripts that are no table have only `handle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// `handle(input, ctx)`, the handler or the founding script.
    Handle,
    /// `on[name]({ name = …, data = input }, ctx)`.
    Event(&'a str),
    /// `before(ctx, input, call)`: nothing lets the call pass, a value replaces the input, an error refuses the call
    /// (`rejected_by_middleware`).
    Before,
    /// `after(ctx, result, input, call)`: nothing leaves the result as it is, a value replaces it.
    After {
        /// JSON text of the result.
        result: &'a [u8],
    },
}

/// What stays of a script in its VM when an execution ends. Nothing outlives the VM, and a call of another version of the
/// script drops what was kept of the former one.
///
/// | | chunk runs | globals that an execution sets | locals of the chunk, and tables they hold |
/// |---|---|---|---|
/// | `Fresh` | for each execution | are gone | are gone |
/// | `Pooled` | once per instance | are gone: each global is as the chunk left it | stay with the instance |
/// | `Tenant` | once per VM | stay | stay |
///
/// An instance of a `Pooled` script serves one execution at a time, and which one a caller gets is not foreseeable: what
/// it keeps can only be a cache. After a fault it is dropped. Restoring is shallow: a table in a global is the same table,
/// with what was written into it. A `Tenant` script has one environment, so executions that wait interleave in it: a
/// global may have changed after each wait, `input` included; handlers should use their arguments. The chunk of the
/// founding form is its handler and runs for each execution in any mode. Libraries are read-only in any mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Nothing.
    #[default]
    Fresh,
    /// The loaded chunk, as a cache.
    Pooled,
    /// The environment and the loaded chunk.
    Tenant,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fresh, Self::Pooled, Self::Tenant];

    /// The name that scripts and policies use for it: `fresh`, `pooled`, `tenant`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Pooled => "pooled",
            Self::Tenant => "tenant",
        }
    }
}
