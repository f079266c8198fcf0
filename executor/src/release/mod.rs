//! Releases in memory: what one holds ([`Active`]), how an offer becomes one ([`mod@prepare`]), and which one answers
//! ([`Serving`]).

mod active;
mod layers;
mod names;
mod offer;
mod prepare;
mod rate;
mod refusal;
mod serving;
mod settle;
mod tenant;
mod terms;
#[cfg(test)]
pub(crate) mod testing;

pub use active::{Active, Script, Served, Source, Workshop};
pub use layers::Around;
pub use names::Missing;
pub use offer::{Change, Content, Offer, Trust, Verified};
pub use prepare::{Known, prepare};
pub(crate) use rate::TooFast;
pub use refusal::Refusal;
pub use serving::Serving;
pub use tenant::Tenant;
pub(crate) use tenant::{sent, wanting};
pub use terms::Terms;
