//! The format of a case, and reading a folder of them.
//!
//! ```text
//! -- promise: what holds, in one sentence
//! -- expect: deadline_exceeded, script_error     how it may end: problem codes, `answer` for an answer
//! -- answer: "contained"                          if it answers, then this (JSON); may be left out
//! -- input: {"n":1}                               may be left out
//! return function(input) … end
//! -- probe: "contained"                           may be left out, with all that follows: a second script that runs after
//! return function(input) … end                   the first, for the same tenant and for another, and answers this
//! ```
//!
//! A file without a promise is read in the form in which such collections are often kept: chunks that return a text, with
//! `--@ probe` between the script of one tenant and that of another. A text that begins with `ESCAPED` or `LEAK` tells
//! that the attack succeeded; there is no other expectation.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use contract::Code;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One attack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// `class/name` without suffix.
    pub name: String,
    /// What is tried, as the sandbox takes it.
    pub source: String,
    /// JSON.
    pub input: String,
    /// What runs afterwards.
    pub probe: Option<Probe>,
    /// How it may end; `None` for a case that says so itself, see above.
    pub expected: Option<Expected>,
}

/// A second script, which looks for what the first left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// As the sandbox takes it.
    pub source: String,
    /// What it must answer; `None`: no tell-tale text.
    pub answer: Option<Value>,
}

/// How a case may end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// It may answer.
    pub answer: bool,
    /// And then this, if given.
    pub exactly: Option<Value>,
    /// It may end with one of these.
    pub codes: BTreeSet<Code>,
}

impl Case {
    /// Reads the text of a case.
    ///
    /// # Errors
    /// A header that is not known, or that is no code or no JSON.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        if text.starts_with("-- promise: ") { promised(name, text) } else { Ok(told(name, text)) }
    }
}

/// All `.lua` and `.luau` files of a folder and its folders, in order of their names.
///
/// # Errors
/// A file that can't be read or is no case, and a folder without any.
pub fn read_folder(folder: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    collect(folder, "", &mut cases)?;
    if cases.is_empty() {
        bail!("there are no `.lua` or `.luau` files in `{}`", folder.display());
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

fn collect(folder: &Path, prefix: &str, cases: &mut Vec<Case>) -> Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = |part: Option<&std::ffi::OsStr>| format!("{prefix}{}", part.unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            collect(&path, &format!("{}/", name(path.file_name())), cases)?;
        } else if path.extension().is_some_and(|suffix| suffix == "lua" || suffix == "luau") {
            let text = String::from_utf8_lossy(&fs_err::read(&path)?).into_owned();
            let case = Case::parse(&name(path.file_stem()), &text);
            cases.push(case.with_context(|| format!("read case `{}`", path.display()))?);
        }
    }
    Ok(())
}

fn promised(name: &str, text: &str) -> Result<Case> {
    const PROBE: &str = "\n-- probe: ";
    let (first, second) = match text.split_once(PROBE) {
        Some((first, second)) => (first, Some(second)),
        None => (text, None),
    };
    let mut case = Case { name: name.into(), source: first.into(), input: String::new(), probe: None, expected: None };
    let mut expected = Expected::default();
    for line in first.lines().map_while(|line| line.strip_prefix("-- ")) {
        let (key, value) = line.split_once(": ").unwrap_or((line, ""));
        match key {
            "promise" => {}
            "expect" => {
                for word in value.split(", ") {
                    match code(word) {
                        Some(code) => drop(expected.codes.insert(code)),
                        None if word == "answer" => expected.answer = true,
                        None => bail!("`{word}` is neither a problem code nor `answer`"),
                    }
                }
            }
            "answer" => expected.exactly = Some(json("answer", value)?),
            "input" => value.clone_into(&mut case.input),
            _ => bail!("`-- {key}` is not known; use promise, expect, answer, input"),
        }
    }
    if !expected.answer && expected.codes.is_empty() {
        bail!("`-- expect: ` is missing");
    }
    case.expected = Some(expected);
    if let Some(second) = second {
        let (answer, source) = second.split_once('\n').unwrap_or((second, ""));
        case.probe = Some(Probe { source: source.into(), answer: Some(json("probe", answer)?) });
    }
    Ok(case)
}

fn told(name: &str, text: &str) -> Case {
    // A chunk that returns a text is no handler yet. On a line of its own: the script may begin or end with a comment.
    let handler = |chunk: &str| format!("return function(...)\n{chunk}\nend\n");
    let (first, second) = match text.split_once("--@ probe") {
        Some((first, second)) => (first, Some(second.split_once('\n').map_or("", |(_, chunk)| chunk))),
        None => (text, None),
    };
    Case {
        name: name.into(),
        source: handler(first),
        input: String::new(),
        probe: second.map(|chunk| Probe { source: handler(chunk), answer: None }),
        expected: None,
    }
}

fn code(word: &str) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| code.as_str() == word)
}

fn json(key: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("`-- {key}: {text}` is not JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_with_its_headers_and_its_probe() {
        let text =
            "-- promise: globals stay\n-- expect: answer, script_error\n-- answer: 1\n-- input: [2]\n-- a remark: no\n";
        assert!(Case::parse("c/x", text).is_err());

        let text = "-- promise: globals stay\n-- expect: answer, script_error\n-- answer: 1\n-- input: [2]\n\
                    leak = 1\n-- probe: \"clean\"\nreturn function() return leak end\n";
        let case = Case::parse("c/x", text).unwrap();

        let expected = case.expected.unwrap();
        assert_eq!((expected.answer, expected.exactly, case.input.as_str()), (true, Some(1.into()), "[2]"));
        assert_eq!(expected.codes.into_iter().collect::<Vec<_>>(), [Code::ScriptError]);
        assert!(case.source.ends_with("leak = 1"));
        let probe = case.probe.unwrap();
        assert_eq!(
            (probe.source.as_str(), probe.answer),
            ("return function() return leak end\n", Some("clean".into()))
        );
    }

    #[test]
    fn a_header_that_is_not_known_is_told() {
        let error = |text: &str| Case::parse("x", text).unwrap_err().to_string();

        insta::assert_snapshot!(error("-- promise: x\n-- expect: fine\n"), @"`fine` is neither a problem code nor `answer`");
        insta::assert_snapshot!(error("-- promise: x\n-- expected: answer\n"), @"`-- expected` is not known; use promise, expect, answer, input");
        insta::assert_snapshot!(error("-- promise: x\nreturn 1"), @"`-- expect: ` is missing");
    }

    #[test]
    fn chunks_that_return_a_text_become_handlers() {
        let case = Case::parse("a01", "-- expect: io is absent\nreturn 1 -- end\n--@ probe\nreturn 2").unwrap();

        assert_eq!(case.source, "return function(...)\n-- expect: io is absent\nreturn 1 -- end\n\nend\n");
        assert_eq!(case.probe.unwrap().source, "return function(...)\nreturn 2\nend\n");
        assert_eq!(case.expected, None);
    }
}
