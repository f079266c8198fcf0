//! The cloud resources of a stack: templates that say what should be, and an engine that plans and applies.

pub mod fault;
mod read;
pub mod render;
pub mod resource;
pub mod stack;
