//! `cargo xtask doctor`: what is installed, reachable and wrong on this machine, each fault with the command that mends it.
//!
//! [`probe`] looks; [`findings`] judges what was seen, without looking itself; this file prints.

mod findings;
mod probe;

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::DoctorOptions;

/// Something that is needed by a command is wrong.
const WRONG: u8 = 1;

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// There, and as it should be.
    Fine,
    /// Not there, and only what its finding names goes without it.
    Without,
    /// Something fails until it is mended.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The thing, `docker engine`.
    pub(crate) subject: String,
    pub(crate) state: State,
    /// What is true now: a version, a number, or what does not work.
    pub(crate) detail: String,
    /// What mends it, a command where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

impl Finding {
    fn fine(subject: &str, detail: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), state: State::Fine, detail: detail.into(), mend: None }
    }

    fn without(subject: &str, detail: impl Into<String>) -> Self {
        Self { state: State::Without, ..Self::fine(subject, detail) }
    }

    fn wrong(subject: &str, detail: impl Into<String>) -> Self {
        Self { state: State::Wrong, ..Self::fine(subject, detail) }
    }

    fn mend(self, how: impl Into<String>) -> Self {
        Self { mend: Some(how.into()), ..self }
    }
}

pub(crate) fn run(options: &DoctorOptions) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = findings::all(&runtime.block_on(probe::look()));
    if options.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        println!("{}", text(&found));
    }
    let wrong = found.iter().any(|finding| finding.state == State::Wrong);
    Ok(if wrong { ExitCode::from(WRONG) } else { ExitCode::SUCCESS })
}

/// One line a finding, what mends it under it, and a sentence that sums up.
fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.subject.len()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for finding in findings {
        let word = match finding.state {
            State::Fine => "fine",
            State::Without => "without",
            State::Wrong => "WRONG",
        };
        lines.push(format!("{word:<8} {:<width$}  {}", finding.subject, finding.detail));
        lines.extend(finding.mend.iter().map(|how| format!("{:9}{:width$}  mend: {how}", "", "")));
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    lines.push(match (count(State::Wrong), count(State::Without)) {
        (0, 0) => "\nEverything is there.".to_owned(),
        (0, some) => format!("\nNothing is wrong; {some} optional things are not there."),
        (wrong, _) => format!("\n{wrong} of {} things are wrong.", findings.len()),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_stands_out_and_says_what_mends_it() {
        let found = [
            Finding::fine("rust", "1.95.0"),
            Finding::without("cargo-deny", "`cargo xtask ci` skips the check of dependencies")
                .mend("cargo install cargo-deny --locked"),
            Finding::wrong("docker engine", "no Docker engine answers").mend("sudo systemctl start docker"),
        ];
        insta::assert_snapshot!(text(&found), @r"
        fine     rust           1.95.0
        without  cargo-deny     `cargo xtask ci` skips the check of dependencies
                                mend: cargo install cargo-deny --locked
        WRONG    docker engine  no Docker engine answers
                                mend: sudo systemctl start docker

        1 of 3 things are wrong.
        ");
    }

    #[test]
    fn things_that_are_only_missing_are_no_fault() {
        let found = [Finding::fine("rust", "1.95.0"), Finding::without("nginx", "bench leaves it out")];

        assert!(text(&found).ends_with("Nothing is wrong; 1 optional things are not there."));
    }
}
