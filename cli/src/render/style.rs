//! Colors, and the guard between a terminal and texts that others wrote.
//!
//! Texts are always painted; [`crate::output`] takes the paint off where it is not wanted.

use std::borrow::Cow;

use clap::builder::styling::{AnsiColor, Color, Effects, Style};

/// `error`
pub(crate) const ERROR: Style = color(AnsiColor::Red).effects(Effects::BOLD);
/// `hint`, and what points at things
pub(crate) const HINT: Style = color(AnsiColor::Cyan).effects(Effects::BOLD);
/// What went well
pub(crate) const GOOD: Style = color(AnsiColor::Green).effects(Effects::BOLD);
/// What needs a look
pub(crate) const WARN: Style = color(AnsiColor::Yellow).effects(Effects::BOLD);
/// Heads of tables
pub(crate) const HEAD: Style = Style::new().effects(Effects::BOLD);
/// What is there but seldom wanted
pub(crate) const DIM: Style = Style::new().effects(Effects::DIMMED);

const fn color(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(color)))
}

/// `text` in a style.
pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// `text` with control characters made visible: names, reasons and logs come from others, and an escape sequence in
/// them must not move the reader's cursor. Line breaks stay; what would reorder text (Unicode bidi controls) does not.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| is_harmful(c) && c != '\n' && c != '\t';
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if harmful(c) { cleaned.extend(c.escape_debug()) } else { cleaned.push(c) }
    }
    Cow::Owned(cleaned)
}

/// A control character, or one that reorders the text around it.
pub(crate) fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` without paint, as a file or pipe gets it.
#[cfg(test)]
pub(crate) fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_is_left_alone() {
        assert_eq!(clean("naïve\tüber\nzwei"), "naïve\tüber\nzwei");
    }

    #[test]
    fn escapes_and_reordering_become_visible() {
        assert_eq!(clean("a\u{1b}[31m\r\u{202e}"), r"a\u{1b}[31m\r\u{202e}");
    }
}
