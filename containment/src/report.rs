//! What is told about many cases.

use std::fmt::Write;

use serde::Serialize;

use crate::case::Case;
use crate::seen::Seen;
use crate::verdict::{Verdict, judge, milliseconds};

/// One case on one path.
#[derive(Debug, Serialize)]
pub struct Row {
    /// `class/name`.
    pub case: String,
    /// `library` or `http`.
    pub path: &'static str,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What was seen.
    pub seen: Seen,
}

/// All of them.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// In the order they ran.
    pub rows: Vec<Row>,
    /// Figures of a whole path: what became of the process that ran all cases.
    pub notes: Vec<String>,
}

/// How far over their deadline executions ended, in microseconds.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Overruns {
    /// How many executions.
    pub count: usize,
    /// Half of them are below.
    pub p50: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// The largest.
    pub max: u64,
}

impl Overruns {
    /// Of executions that were over their deadline; `None` if none was.
    pub fn of(mut samples: Vec<u64>) -> Option<Self> {
        samples.sort_unstable();
        let rank = |per_mille: usize| samples.get((samples.len() * per_mille).div_ceil(1000).max(1) - 1).copied();
        Some(Self { count: samples.len(), p50: rank(500)?, p99: rank(990)?, p999: rank(999)?, max: rank(1000)? })
    }
}

impl Row {
    /// Judges what was seen.
    pub fn new(case: &Case, path: &'static str, seen: Seen) -> Self {
        Self { case: case.name.clone(), path, verdict: judge(case, &seen), seen }
    }

    /// One line: verdict, case, path, longest run, overrun, how it ended.
    pub fn line(&self) -> String {
        let wall = self.seen.runs.iter().map(|run| run.wall_us).max().unwrap_or_default();
        let overrun = self.seen.runs.iter().map(|run| run.overrun_us).max().unwrap_or_default();
        let end = match &self.verdict {
            Verdict::Contained => self.seen.runs.first().map(|run| run.end.to_string()).unwrap_or_default(),
            other => other.why().to_owned(),
        };
        format!(
            "{:<13} {:<40} {:<7} {:>7.1} ms {:>6.1} ms over  {end}",
            self.verdict.word(),
            self.case,
            self.path,
            milliseconds(wall),
            milliseconds(overrun),
        )
    }
}

impl Report {
    /// Whether every case was contained; a late one was not.
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.verdict == Verdict::Contained)
    }

    /// Overruns on a path.
    pub fn overruns(&self, path: &str) -> Option<Overruns> {
        let runs = self.rows.iter().filter(|row| row.path == path).flat_map(|row| &row.seen.runs);
        Overruns::of(runs.map(|run| run.overrun_us).filter(|&us| us > 0).collect())
    }

    /// Some lines for people: how many of each verdict on each path, and the overruns.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for path in ["library", "http"] {
            let of_path: Vec<_> = self.rows.iter().filter(|row| row.path == path).collect();
            if of_path.is_empty() {
                continue;
            }
            let count = |word: &str| of_path.iter().filter(|row| row.verdict.word() == word).count();
            let [contained, late, not] = ["contained", "late", "not contained"].map(count);
            let _ = writeln!(
                text,
                "{path}: {} cases, {contained} contained, {late} late, {not} not contained",
                of_path.len()
            );
            if let Some(Overruns { count, p50, p99, p999, max }) = self.overruns(path) {
                let [p50, p99, p999, max] = [p50, p99, p999, max].map(milliseconds);
                let _ = writeln!(
                    text,
                    "{path}: {count} executions over their deadline, by p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} \
                     ms, max {max:.2} ms"
                );
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_samples_themselves() {
        assert_eq!(Overruns::of(Vec::new()), None);
        assert_eq!(Overruns::of(vec![7]), Some(Overruns { count: 1, p50: 7, p99: 7, p999: 7, max: 7 }));
        let many = Overruns::of((1..=2000).rev().collect()).unwrap();
        assert_eq!(many, Overruns { count: 2000, p50: 1000, p99: 1980, p999: 1998, max: 2000 });
    }

    #[test]
    fn a_report_with_a_late_case_has_not_passed() {
        let row = |verdict| Row { case: "cpu/x".into(), path: "library", verdict, seen: Seen::default() };
        let mut report = Report { rows: vec![row(Verdict::Contained)], notes: vec!["executor: 31 MiB".into()] };
        assert!(report.passed());

        report.rows.push(row(Verdict::Late("ended 12.0 ms after its deadline".into())));

        assert!(!report.passed());
        insta::assert_snapshot!(report.rows[1].line(), @"late          cpu/x                                    library     0.0 ms    0.0 ms over  ended 12.0 ms after its deadline");
        insta::assert_snapshot!(report.summary(), @r"
        library: 2 cases, 1 contained, 1 late, 0 not contained
        executor: 31 MiB
        ");
    }
}
