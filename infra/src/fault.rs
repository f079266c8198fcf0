//! What is wrong with a file, shown at the place where it is wrong.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A text that faults can point into: a stack file, a template, or what a template became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As a person knows it, e.g. `infra/stacks/local.toml`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A text under a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }
}

/// One thing that is wrong at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    source: Arc<Source>,
    span: Range<usize>,
    message: String,
    expected: Option<String>,
}

impl Fault {
    /// `message` is about the bytes `span` of `source`.
    pub fn new(source: &Arc<Source>, span: Range<usize>, message: impl Into<String>) -> Self {
        let end = source.text.len();
        let span = span.start.min(end)..span.end.min(end);
        Self { source: Arc::clone(source), span, message: message.into(), expected: None }
    }

    /// Says how it should look: `a name like `production``.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Line and column, both from 1; the column counts characters.
    pub fn position(&self) -> (usize, usize) {
        let before = &self.source.text[..self.span.start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut annotation = AnnotationKind::Primary.span(self.span.clone());
        if let Some(expected) = &self.expected {
            annotation = annotation.label(format!("expected {expected}"));
        }
        let snippet = Snippet::source(&self.source.text).path(&self.source.name).annotation(annotation);
        let report = [Level::ERROR.primary_title(self.message.as_str()).element(snippet)];
        f.write_str(&Renderer::plain().render(&report))
    }
}

/// Everything that is wrong with the files of a stack, found in one run. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// In the order of the files, for a person who mends them from the top.
    pub(crate) fn sorted(mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| (a.file(), a.span.start).cmp(&(b.file(), b.span.start)));
        Self(faults)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "{fault}\n")?;
        }
        let count = self.0.len();
        write!(f, "{count} fault{}: nothing was read or changed in the cloud", if count == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_shows_file_line_column_caret_and_the_expected_form() {
        let source = Source::new("infra/stacks/x.toml", "name = \"x\"\nzones = 3\n");

        let fault = Fault::new(&source, 19..20, "`zones` is a number").expected("a list of zones");

        assert_eq!(fault.position(), (2, 9));
        insta::assert_snapshot!(fault, @r"
        error: `zones` is a number
         --> infra/stacks/x.toml:2:9
          |
        2 | zones = 3
          |         ^ expected a list of zones
        ");
    }

    #[test]
    fn columns_count_characters() {
        let source = Source::new("x", "äö = 1");

        assert_eq!(Fault::new(&source, 7..8, "x").position(), (1, 6));
    }
}
