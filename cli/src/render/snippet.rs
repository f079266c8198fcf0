//! A place in a script: file and line, the line itself, and a mark under it.

use std::fmt::Write;

use contract::Diagnostic;

use super::style::{ERROR, HINT, clean, is_harmful, paint};

/// Longest part of a source line that is shown, in characters; scripts made by programs have lines of megabytes.
const LINE_CHARS_MAX: usize = 120;

/// `diagnostic`, with the line it points at if `source` is at hand and has that line. Each line ended.
///
/// Luau tells no columns; without one, the whole line is marked. `is_told`: the message stands above already.
pub(crate) fn render(diagnostic: &Diagnostic, source: Option<&str>, is_told: bool) -> String {
    let message = if is_told { "".into() } else { clean(&diagnostic.message) };
    let line = source.and_then(|source| line_of(source, diagnostic.line)).filter(|line| !line.trim().is_empty());
    let arrow = paint(HINT, "-->");
    let number = diagnostic.line.to_string();
    let place = match (diagnostic.line, diagnostic.column) {
        (0, _) => diagnostic.file.clone(),
        (_, Some(column)) => format!("{}:{number}:{column}", diagnostic.file),
        (_, None) => format!("{}:{number}", diagnostic.file),
    };
    let Some(line) = line else {
        let colon = if message.is_empty() { "" } else { ": " };
        return format!("  {arrow} {}{colon}{message}\n", clean(&place));
    };

    let margin = " ".repeat(number.len());
    let bar = paint(HINT, "|");
    let (shown, start, length) = mark(line, diagnostic.column);
    let carets = paint(ERROR, &"^".repeat(length));

    let mut text = format!("{margin} {arrow} {}\n", clean(&place));
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{margin} {bar}");
    let _ = writeln!(text, "{} {bar} {shown}", paint(HINT, &number));
    let mark = format!("{margin} {bar} {}{carets} {message}", " ".repeat(start));
    let _ = writeln!(text, "{}", mark.trim_end());
    text
}

/// The line with number `line`, from 1.
fn line_of(source: &str, line: u32) -> Option<&str> {
    let index = usize::try_from(line).ok()?.checked_sub(1)?;
    source.lines().nth(index)
}

/// What is shown of a line, and where the mark starts and how long it is, in characters.
fn mark(line: &str, column: Option<u32>) -> (String, usize, usize) {
    // One cell for each character, a tab too, so that the mark stays under its place.
    let cell = |c| match c {
        '\t' => ' ',
        c if is_harmful(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let cells: Vec<char> = line.chars().map(cell).collect();
    let indent = cells.iter().take_while(|c| c.is_whitespace()).count();
    let end = cells.iter().rposition(|c| !c.is_whitespace()).map_or(0, |last| last + 1);

    // Long lines are shown from a little before the mark.
    let target = column.and_then(|column| usize::try_from(column).ok()).map(|column| column.saturating_sub(1).min(end));
    let from = match target {
        Some(target) if target >= LINE_CHARS_MAX => target - LINE_CHARS_MAX / 2,
        _ => 0,
    };
    let to = end.min(from + LINE_CHARS_MAX);
    let (left, right) = (if from > 0 { "…" } else { "" }, if to < end { "…" } else { "" });
    let shown = format!("{left}{}{right}", cells[from..to].iter().collect::<String>());
    match target {
        Some(target) => (shown, target - from + left.chars().count(), 1),
        None => (shown, indent.min(to), to.saturating_sub(indent).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::style::plain;
    use super::*;

    const SOURCE: &str = "return function(input)\n\tlocal score = = 1\n\n  return score\nend\n";

    fn at(line: u32, column: Option<u32>) -> Diagnostic {
        Diagnostic { file: "risk.luau".into(), line, column, message: "expected identifier, got '='".into() }
    }

    #[test]
    fn a_column_is_pointed_at() {
        insta::assert_snapshot!(plain(&render(&at(2, Some(16)), Some(SOURCE), false)), @"
          --> risk.luau:2:16
          |
        2 |  local score = = 1
          |                ^ expected identifier, got '='
        ");
    }

    #[test]
    fn without_a_column_the_line_is_marked() {
        insta::assert_snapshot!(plain(&render(&at(4, None), Some(SOURCE), false)), @"
          --> risk.luau:4
          |
        4 |   return score
          |   ^^^^^^^^^^^^ expected identifier, got '='
        ");
    }

    #[test]
    fn without_a_line_to_show_the_place_is_named() {
        insta::assert_snapshot!(plain(&render(&at(2, None), None, false)), @"  --> risk.luau:2: expected identifier, got '='");
        insta::assert_snapshot!(plain(&render(&at(0, None), Some(SOURCE), false)), @"  --> risk.luau: expected identifier, got '='");
        insta::assert_snapshot!(plain(&render(&at(99, None), Some(SOURCE), false)), @"  --> risk.luau:99: expected identifier, got '='");
        insta::assert_snapshot!(plain(&render(&at(3, None), Some(SOURCE), false)), @"  --> risk.luau:3: expected identifier, got '='");
    }

    #[test]
    fn a_message_that_was_told_is_not_repeated() {
        insta::assert_snapshot!(plain(&render(&at(5, None), Some(SOURCE), true)), @"
          --> risk.luau:5
          |
        5 | end
          | ^^^
        ");
        insta::assert_snapshot!(plain(&render(&at(5, None), None, true)), @"  --> risk.luau:5");
    }

    #[test]
    fn a_very_long_line_is_shown_around_the_mark() {
        let source = "x".repeat(100_000);

        let text = plain(&render(&at(1, Some(5_000)), Some(&source), false));

        let lines: Vec<&str> = text.lines().collect();
        let caret = lines[3].chars().position(|c| c == '^').unwrap();
        assert!(lines[2].chars().count() < 130, "{text}");
        assert_eq!(lines[2].chars().nth(caret), Some('x'));
    }

    #[test]
    fn a_column_beyond_the_line_points_at_its_end() {
        assert!(plain(&render(&at(5, Some(900)), Some(SOURCE), false)).contains("|    ^ "));
    }
}
