//! Commands that need no manager: run, check and types.

use contract::Version;
use sandbox::{Execution, Level, LogLine};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::{Check, Run};
use crate::desk::{self, Script};
use crate::exit::Exit;
use crate::failure::{Body, Failure};
use crate::files;
use crate::output::{self, Output};
use crate::render::style::{DIM, ERROR, GOOD, WARN, clean, paint};

/// What `run --json` prints: `output` or `error`, and the log.
#[derive(Debug, Serialize)]
struct Ran<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Body<'a>>,
    log: Vec<Line<'a>>,
    log_dropped: u32,
    wall_ms: f64,
}

/// One line of the log.
#[derive(Debug, Serialize)]
struct Line<'a> {
    level: &'static str,
    message: &'a str,
}

/// `moonswarm run`: the result on stdout, the log on stderr.
pub(crate) fn run(run: &Run, output: Output) -> Result<Exit, Failure> {
    if files::is_stdin(&run.file) && run.input.as_deref().is_some_and(files::is_stdin) {
        return Err(Failure::new(Exit::Usage, "usage", "standard input cannot be both the script and its input")
            .hint("name a file for one of them"));
    }
    let input = match &run.input {
        Some(path) => files::named("input", path)?,
        None => Vec::new(),
    };
    let script = Script::read(&run.file)?;
    let Execution { outcome, log, log_dropped, wall } = desk::run(&script, &input)?;

    output.note(&log_text(&log, log_dropped));
    let (result, failure) = match outcome {
        Ok(outcome) => (Some(json_text(outcome.into_json())?), None),
        Err(fault) => (None, Some(desk::fault(&script, fault))),
    };
    let text = result.as_ref().map(|result| format!("{result}\n")).unwrap_or_default();
    let document = Ran {
        output: result.as_deref(),
        error: failure.as_ref().map(Failure::body),
        log: log.iter().map(|line| Line { level: line.level.as_str(), message: &line.message }).collect(),
        log_dropped,
        wall_ms: wall.as_secs_f64() * 1e3,
    };
    output.result(&text, &document)?;
    match failure {
        Some(failure) if output.json => Ok(failure.exit),
        Some(failure) => Err(failure),
        None => Ok(Exit::Done),
    }
}

/// What `check --json` prints.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    files: Vec<Verdict<'a>>,
}

/// One file, and what is wrong with it if anything is.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    file: &'a str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    /// How many of its own tests held.
    #[serde(skip_serializing_if = "Option::is_none")]
    tests: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Body<'a>>,
}

/// `moonswarm types`: for an editor to read, so `--json` changes nothing.
pub(crate) fn types() -> Result<Exit, Failure> {
    output::raw(sandbox::TYPES.as_bytes())?;
    Ok(Exit::Done)
}

/// `moonswarm check`: every file is looked at, whatever the first one holds.
pub(crate) fn check(check: &Check, output: Output) -> Result<Exit, Failure> {
    let mut results = Vec::new();
    for path in &check.files {
        let script = Script::read(path);
        let name = path.display().to_string();
        match script.and_then(|script| desk::check(&script).map(|manifest| (script, manifest.tests.len()))) {
            Ok((script, tests)) => {
                let version = Version::of(&script.source);
                let tested = match tests {
                    0 => String::new(),
                    1 => ", 1 test".to_owned(),
                    tests => format!(", {tests} tests"),
                };
                let (good, path) = (paint(GOOD, "ok"), clean(&script.path));
                results.push((
                    name,
                    format!("{good} {path} version {}{tested}\n", version.short()),
                    Ok((version, tests)),
                ));
            }
            Err(failure) => results.push((name, String::new(), Err(failure))),
        }
    }
    let text: String = results.iter().map(|(_, line, _)| line.as_str()).collect();
    let files = results.iter().map(|(file, _, result)| match result {
        Ok((version, tests)) => {
            Verdict { file, ok: true, version: Some(version.clone()), tests: Some(*tests), error: None }
        }
        Err(failure) => Verdict { file, ok: false, version: None, tests: None, error: Some(failure.body()) },
    });
    output.result(&text, &Checked { files: files.collect() })?;
    let mut exit = Exit::Done;
    for failure in results.iter().filter_map(|(_, _, result)| result.as_ref().err()) {
        output.note(&failure.text());
        // A script at fault is the news; a file that can't be read matters only if no script is.
        if exit != Exit::Script {
            exit = failure.exit;
        }
    }
    Ok(exit)
}

fn log_text(log: &[LogLine], dropped: u32) -> String {
    let mut text = String::new();
    for line in log {
        let style = match line.level {
            Level::Debug | Level::Info => DIM,
            Level::Warn => WARN,
            Level::Error => ERROR,
        };
        text += &format!("{}  {}\n", paint(style, &format!("{:5}", line.level.as_str())), clean(&line.message));
    }
    if dropped > 0 {
        text += &format!("{}  {dropped} more lines were dropped: the log is full\n", paint(WARN, "warn "));
    }
    text
}

/// The sandbox writes JSON; this is where the type says so.
fn json_text(bytes: Vec<u8>) -> Result<Box<RawValue>, Failure> {
    let text = String::from_utf8_lossy(&bytes).into_owned();
    RawValue::from_string(text).map_err(|err| {
        Failure::new(Exit::Other, "internal", format!("the sandbox gave a result that is no JSON: {err}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::style::plain;

    #[test]
    fn the_log_says_what_was_dropped() {
        let line = |level, message: &str| LogLine { level, message: message.into() };
        let log = [line(Level::Info, "score 7"), line(Level::Error, "no \u{1b}[31mcolor")];

        insta::assert_snapshot!(plain(&log_text(&log, 3)), @r"
        info   score 7
        error  no \u{1b}[31mcolor
        warn   3 more lines were dropped: the log is full
        ");
    }
}
