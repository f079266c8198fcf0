//! Releases in memory: what one holds ([`Active`]), how an offer becomes one ([`mod@prepare`]), and which one answers
//! ([`Serving`]).

mod active;
mod layers;
mod offer;
mod prepare;
mod refusal;
mod serving;
#[cfg(test)]
pub(crate) mod testing;

pub use active::{Active, Missing, Script, Served, Source, Tenant, Workshop};
pub(crate) use active::{sent, wanting};
pub use layers::Around;
pub use offer::{Change, Content, Offer, Trust, Verified};
pub use prepare::{Known, prepare};
pub use refusal::Refusal;
pub use serving::Serving;
