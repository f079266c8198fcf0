//! The seam to the cloud: one resource at a time, by its id.

#[cfg(test)]
pub(crate) mod memory;

use uuid::Uuid;

use crate::resource::{Id, Resource, Spec};

/// A resource as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// In the same words as what it should be. What the cloud filled in by itself is not here.
    pub spec: Spec,
    /// Whose it is.
    pub owner: Owner,
}

/// Whose a resource is, by the marks it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This stack's.
    Us,
    /// It carries no mark of ours, or another stack's.
    Other(String),
    /// Things of its kind can't carry marks; what it is says enough.
    Unmarked,
}

/// What the engine asks of a cloud. Every call may be repeated: a second `create` with the same request makes nothing
/// new, a `delete` of what is gone is done.
pub trait Cloud: Send + Sync + 'static {
    /// The resource as it is; `None` if there is none. `resource` says under which name, and what it is attached to.
    fn read(&self, resource: &Resource) -> impl Future<Output = Result<Option<Live>, CloudError>> + Send;

    /// Makes it and marks it as ours. `request` is the same in every attempt at the same step.
    fn create(&self, resource: &Resource, request: Uuid) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// Changes these fields of what is there; a machine is stopped and started again where a field asks for that.
    fn update(
        &self,
        resource: &Resource,
        fields: &[String],
        request: Uuid,
    ) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// Deletes it. A bucket is emptied first.
    fn delete(&self, resource: &Resource, request: Uuid) -> impl Future<Output = Result<(), CloudError>> + Send;
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody there, too busy, not yet effective: worth another attempt.
    Passing,
    /// There is one already.
    Exists,
    /// More than the project may have.
    Quota,
    /// Not allowed to.
    Denied,
    /// Anything else: asking again won't help.
    Refused,
}

/// A call that did not do what it should.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation} {id}: {reason}{}", self.hint())]
pub struct CloudError {
    /// What was asked for: `make`, `read`.
    pub operation: &'static str,
    /// Of which resource.
    pub id: Id,
    /// What kind of failure it is.
    pub fault: Fault,
    /// In the cloud's words.
    pub reason: String,
}

impl CloudError {
    fn hint(&self) -> &'static str {
        match self.fault {
            Fault::Passing => " (this passes: run the command again)",
            Fault::Exists => " (somebody else made it: give the stack another name)",
            Fault::Quota => " (ask for more quota, then run the command again: it goes on where it stopped)",
            Fault::Denied => " (ask the owner of the project for the right to do this)",
            Fault::Refused => "",
        }
    }
}
