//! The cloud resources of a stack: templates that say what should be, and an engine that plans and applies.

pub mod cloud;
pub mod engine;
pub mod events;
pub mod fault;
pub mod google;
pub mod plan;
mod read;
pub mod render;
pub mod resource;
pub mod stack;
pub mod store;
