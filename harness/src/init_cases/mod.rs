//! `cargo xtask init-cases`: the supervisor as the first process of real containers, side by side with tini and dumb-init.
//!
//! Each case is a container of an image that has nothing but the first process and a program that misbehaves. What the
//! other two can't do is shown, not counted; what they can do and ours can't is a failure.

mod cases;
mod figures;
mod image;
mod stage;

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

pub use figures::Figures;
pub use stage::Init;

use crate::rig::Engine;
use stage::Stage;

/// What became of one case under one first process.
#[derive(Debug)]
pub struct Row {
    /// What must happen, as a sentence.
    pub case: &'static str,
    /// Under which first process.
    pub init: Init,
    /// What happened instead; `None` if it happened.
    pub fault: Option<String>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    /// First processes that were not there to be compared with, and why.
    skipped: Vec<(Init, String)>,
    figures: Option<Figures>,
    seconds: f64,
}

/// Builds the programs and an image, and runs every case. `cache` is a folder for the packages of the other two.
///
/// # Errors
/// The programs can't be built, the engine refuses the image, or a container can't be run at all.
pub async fn run(engine: &Engine, cache: &Path, told: &(dyn Fn(&str) + Sync)) -> Result<Report> {
    let begin = Instant::now();
    let (stage, skipped) = Stage::set(engine, cache).await?;
    let mut report = Report { skipped, ..Report::default() };
    for case in cases::SHARED {
        for &init in stage.inits() {
            report.add(case.name, init, (case.run)(&stage, init), told);
        }
    }
    for case in cases::OWN {
        report.add(case.name, Init::Moonswarm, (case.run)(&stage, Init::Moonswarm), told);
    }
    report.figures = Some(Figures::take(&stage)?);
    report.seconds = begin.elapsed().as_secs_f64();
    Ok(report)
}

impl Report {
    fn add(&mut self, case: &'static str, init: Init, result: Result<()>, told: &dyn Fn(&str)) {
        let fault = result.err().map(|err| format!("{err:#}"));
        told(&format!("{:<8} {init:<14} {case}", if fault.is_none() { "passed" } else { "FAILED" }));
        self.rows.push(Row { case, init, fault });
    }

    /// Whether ours passed everything and keeps to its size.
    pub fn passed(&self) -> bool {
        let ours = |row: &&Row| row.init == Init::Moonswarm;
        self.rows.iter().filter(ours).all(|row| row.fault.is_none()) && self.figures.as_ref().is_some_and(Figures::fit)
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let inits = [Init::Moonswarm, Init::Tini, Init::DumbInit];
        let mut text = format!("{:<84}{}\n", "case", inits.map(|init| format!("{init:<16}")).concat());
        let mut names: Vec<_> = self.rows.iter().map(|row| row.case).collect();
        names.dedup();
        for name in names {
            let word = |init: Init| match self.rows.iter().find(|row| row.case == name && row.init == init) {
                Some(Row { fault: None, .. }) => "passed",
                Some(_) if init == Init::Moonswarm => "FAILED",
                Some(_) => "can't",
                None => "-",
            };
            text += &format!("{name:<84}{}\n", inits.map(|init| format!("{:<16}", word(init))).concat());
        }
        for (init, why) in &self.skipped {
            text += &format!("SKIPPED {init}: {why}\n");
        }
        for row in self.rows.iter().filter(|row| row.fault.is_some()) {
            text += &format!("{}: {}: {}\n", row.init, row.case, row.fault.as_deref().unwrap_or_default());
        }
        if let Some(figures) = &self.figures {
            text += &format!("\n{figures}");
        }
        text + &format!("{:.0} s\n", self.seconds)
    }
}
