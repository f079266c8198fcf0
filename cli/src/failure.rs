//! A command that failed, ready to be told: to people as `error: …`, facts and `hint: …`, to programs as JSON.
//!
//! Errors of the modules become a [`Failure`] in the command that knows what was being done to what.

use std::error::Error;

use contract::{Code, Diagnostic, Problem};
use serde::Serialize;

use crate::exit::Exit;
use crate::render::snippet;
use crate::render::style::{ERROR, HINT, clean, paint};

/// Everything that is told of an error.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// On the heap, because this travels in every `Result`.
    words: Box<Words>,
}

#[derive(Debug)]
struct Words {
    /// For programs, where no [`Problem`] has a code of its own: `unreachable`, `usage`, `file`, …
    code: String,
    /// What failed, on which thing, and why.
    message: String,
    /// What is true now: label and value.
    facts: Vec<(&'static str, String)>,
    /// What to do next.
    hint: Option<String>,
    /// Status of the HTTP answer, where there was one.
    status: Option<u16>,
    /// The id under which the other side's log tells more.
    request_id: String,
    /// Where in the script.
    diagnostics: Vec<Diagnostic>,
    /// The files they point into: name and text.
    sources: Vec<(String, String)>,
}

impl Words {
    fn source_of(&self, file: &str) -> Option<&str> {
        match &self.sources[..] {
            [(_, only)] => Some(only),
            sources => sources.iter().find(|(name, _)| name == file).map(|(_, source)| source.as_str()),
        }
    }
}

impl Failure {
    /// A failure without facts and hint.
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        let words = Words {
            code: code.to_owned(),
            message: message.into(),
            facts: Vec::new(),
            hint: None,
            status: None,
            request_id: String::new(),
            diagnostics: Vec::new(),
            sources: Vec::new(),
        };
        Self { exit, words: Box::new(words) }
    }

    /// What the other side answered to `doing`, for example `push acme/risk`.
    pub(crate) fn from_problem(exit: Exit, doing: &str, problem: Problem) -> Self {
        let mut failure = Self::new(exit, problem.code.as_str(), format!("cannot {doing}: {}", problem.detail));
        failure.words.hint = problem.hint;
        failure.words.status = Some(problem.status);
        failure.words.diagnostics = problem.diagnostics;
        failure.words.request_id = problem.request_id;
        failure
    }

    /// True if the code is this one.
    pub(crate) fn is(&self, code: Code) -> bool {
        self.words.code == code.as_str()
    }

    /// With another end.
    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// With one more thing that is true now.
    pub(crate) fn fact(mut self, label: &'static str, value: impl Into<String>) -> Self {
        self.words.facts.push((label, value.into()));
        self
    }

    /// With what to do next, unless somebody who knew better already said it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.words.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Pointing into a script.
    pub(crate) fn diagnostics(mut self, diagnostics: Vec<Diagnostic>) -> Self {
        self.words.diagnostics = diagnostics;
        self
    }

    /// With the names and texts of the files that the diagnostics point into. An only one is meant whatever its name.
    pub(crate) fn sources(mut self, sources: Vec<(String, String)>) -> Self {
        self.words.sources = sources;
        self
    }

    /// For people: headline, places in the script, facts, hint. Ends with a line break.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}: {}\n", paint(ERROR, "error"), clean(&self.words.message));
        for diagnostic in &self.words.diagnostics {
            let is_told = self.words.message.ends_with(&diagnostic.message);
            text += &snippet::render(diagnostic, self.words.source_of(&diagnostic.file), is_told);
        }
        for (label, value) in &self.words.facts {
            text += &format!("  {label}: {}\n", clean(value));
        }
        if !self.words.request_id.is_empty() {
            text += &format!("  request: {}\n", clean(&self.words.request_id));
        }
        if let Some(hint) = &self.words.hint {
            text += &format!("\n{}: {}\n", paint(HINT, "hint"), clean(hint));
        }
        text
    }

    /// For programs: the fields of a [`Problem`], under `error`.
    pub(crate) fn document(&self) -> Document<'_> {
        Document { error: self.body() }
    }

    /// The fields of a [`Problem`].
    pub(crate) fn body(&self) -> Body<'_> {
        Body {
            kind: format!("urn:moonswarm:problem:{}", self.words.code),
            code: &self.words.code,
            status: self.words.status,
            detail: &self.words.message,
            hint: self.words.hint.as_deref(),
            request_id: &self.words.request_id,
            diagnostics: &self.words.diagnostics,
            exit_code: self.exit.number(),
        }
    }
}

/// What `--json` prints in place of a result.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    error: Body<'a>,
}

/// A [`Problem`] that may also have happened on the desk: there is no HTTP status then, and the code is one of ours.
#[derive(Debug, Serialize)]
pub(crate) struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    diagnostics: &'a [Diagnostic],
    exit_code: u8,
}

/// The innermost cause: for a broken connection that is what the operating system said.
pub(crate) fn root_cause(err: &dyn Error) -> String {
    let mut cause = err;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::style::plain;

    #[test]
    fn a_problem_is_told_with_place_request_and_hint() {
        let mut problem =
            Problem::new(Code::ScriptRefused, "`risk.luau` has a syntax error").with_diagnostics(vec![Diagnostic {
                file: "risk.luau".into(),
                line: 2,
                column: None,
                message: "Expected identifier".into(),
            }]);
        problem.request_id = "0197".into();

        let failure = Failure::from_problem(Exit::Script, "push `acme/risk`", problem)
            .sources(vec![("risk.luau".into(), "return function(input)\n  local = 1\nend\n".into())])
            .fact("manager", "http://127.0.0.1:7700")
            .hint("correct it and push again");

        insta::assert_snapshot!(plain(&failure.text()), @"
        error: cannot push `acme/risk`: `risk.luau` has a syntax error
          --> risk.luau:2
          |
        2 |   local = 1
          |   ^^^^^^^^^ Expected identifier
          manager: http://127.0.0.1:7700
          request: 0197

        hint: correct it and push again
        ");
        insta::assert_snapshot!(serde_json::to_string_pretty(&failure.document()).unwrap(), @r#"
        {
          "error": {
            "type": "urn:moonswarm:problem:script_refused",
            "code": "script_refused",
            "status": 422,
            "detail": "cannot push `acme/risk`: `risk.luau` has a syntax error",
            "hint": "correct it and push again",
            "request_id": "0197",
            "diagnostics": [
              {
                "file": "risk.luau",
                "line": 2,
                "message": "Expected identifier"
              }
            ],
            "exit_code": 3
          }
        }
        "#);
    }

    #[test]
    fn the_other_sides_hint_wins() {
        let problem = Problem::new(Code::Conflict, "generation is 7").with_hint("theirs");

        let failure = Failure::from_problem(Exit::Conflict, "push `acme/risk`", problem).hint("ours");

        assert!(failure.text().contains("theirs"));
        assert!(!failure.text().contains("ours"));
    }

    #[test]
    fn control_characters_of_others_do_not_reach_the_terminal() {
        let failure = Failure::new(Exit::Other, "internal", "a\u{1b}[2Jb");

        assert!(plain(&failure.text()).contains(r"a\u{1b}[2Jb"));
    }
}
