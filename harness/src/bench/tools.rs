//! The programs that a run needs, built as they are delivered.

use std::path::PathBuf;

use anyhow::{Context, Result};
use deploy::image::{Program, build_static};

use super::generator::Generator;
use crate::programs::{Programs, cargo};

/// What a run starts.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub(super) programs: Programs,
    pub(super) generator: Generator,
    pub(super) cost: PathBuf,
}

impl Tools {
    /// Builds them with the profile `dist`; minutes the first time, then a second.
    ///
    /// # Errors
    /// As [`build_static`].
    pub(super) async fn build() -> Result<Self> {
        // The product as the images have it; in one build with the instruments it would have other features of its crates.
        let mut built = build_static(cargo, &[Program::EXECUTOR, Program::MANAGER]).await?;
        built.extend(build_static(cargo, &[Program::LOADGEN, Program::COST]).await?);
        let find = |program: Program| built.get(program.binary).cloned().context(program.binary);
        let (executor, manager) = (find(Program::EXECUTOR)?, find(Program::MANAGER)?);
        // Nothing here runs the authors' program.
        let programs = Programs { manager, executor, moonswarm: PathBuf::new() };
        Ok(Self { programs, generator: Generator { program: find(Program::LOADGEN)? }, cost: find(Program::COST)? })
    }
}
