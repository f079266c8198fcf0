//! Reads typed values out of TOML and finds everything that is wrong in one go.
//!
//! A deserialiser stops at its first error. Here the key that it stopped at is noted, taken out, and the rest is read again.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

use crate::fault::{Fault, Source};

/// The tables of a TOML text; `None` if it is not TOML at all, with the faults in `faults`.
pub(crate) fn parse<'a>(source: &'a Arc<Source>, faults: &mut Vec<Fault>) -> Option<Spanned<DeTable<'a>>> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    if errors.is_empty() {
        return Some(table);
    }
    faults.extend(errors.iter().map(|err| fault(source, err, table.span())));
    None
}

/// Reads a `T` from a table. `None` if anything was wrong, which is then in `faults`.
pub(crate) fn read<T: DeserializeOwned>(
    source: &Arc<Source>,
    mut table: Spanned<DeTable<'_>>,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    let mut wrong: BTreeSet<String> = BTreeSet::new();
    loop {
        let err = match T::deserialize(Deserializer::from(table.clone())) {
            Ok(value) => return wrong.is_empty().then_some(value),
            Err(err) => err,
        };
        // What was taken out is missed now; that is no news.
        if !wrong.iter().any(|key| err.message() == format!("missing field `{key}`")) {
            faults.push(fault(source, &err, table.span()));
        }
        let key = err.span().and_then(|span| take_out(table.get_mut(), &span))?;
        wrong.insert(key);
    }
}

fn fault(source: &Arc<Source>, err: &Error, place: Range<usize>) -> Fault {
    let span = err.span().filter(|span| !span.is_empty()).unwrap_or(place);
    let message = err.message();
    match message.split_once(", expected ") {
        Some((what, expected)) => Fault::new(source, span, what).expected(expected.trim_start_matches("expected ")),
        None => Fault::new(source, span, message),
    }
}

/// Removes the innermost key whose name or value the span points at, and tells its name. The span of a table is its
/// header alone, so all tables are looked into.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let inner = table.iter_mut().find_map(|(_, value)| match value.get_mut() {
        DeValue::Table(inner) => take_out(inner, span),
        DeValue::Array(items) => items.iter_mut().find_map(|item| match item.get_mut() {
            DeValue::Table(inner) => take_out(inner, span),
            _ => None,
        }),
        _ => None,
    });
    let covers = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    if inner.is_some() {
        return inner;
    }
    let (key, _) = table.iter().find(|(key, value)| covers(key.span()) || covers(value.span()))?;
    let key = key.get_ref().to_string();
    table.remove(key.as_str()).map(|_| key)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        count: u8,
        inner: Inner,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        flags: Vec<bool>,
    }

    fn read_text(text: &str) -> Result<Outer, Vec<String>> {
        let source = Source::new("x.toml", text);
        let mut faults = Vec::new();
        let value = parse(&source, &mut faults).and_then(|table| read(&source, table, &mut faults));
        value.ok_or_else(|| {
            faults
                .iter()
                .map(|fault| {
                    let (line, column) = fault.position();
                    format!("{line}:{column}: {}", fault.message())
                })
                .collect()
        })
    }

    #[test]
    fn what_is_right_is_read() {
        let outer = read_text("name = 'a'\ncount = 1\n[inner]\nflags = [true]").unwrap();

        assert_eq!(outer, Outer { name: "a".into(), count: 1, inner: Inner { flags: vec![true] } });
    }

    #[test]
    fn everything_that_is_wrong_is_found_at_once() {
        let faults = read_text("name = 1\ncolour = 2\ncount = 300\n[inner]\nflags = [1]\nflag = 1").unwrap_err();

        insta::assert_debug_snapshot!(faults, @r#"
        [
            "2:1: unknown field `colour`",
            "3:9: invalid value: integer `300`",
            "6:1: unknown field `flag`",
            "5:10: invalid type: integer `1`",
            "1:8: invalid type: integer `1`",
        ]
        "#);
    }

    #[test]
    fn a_missing_key_is_said_at_its_table() {
        insta::assert_debug_snapshot!(read_text("name = 'a'\n[inner]\nflags = []").unwrap_err(), @r#"
        [
            "1:1: missing field `count`",
        ]
        "#);
    }

    #[test]
    fn what_is_no_toml_is_said_with_its_place() {
        insta::assert_debug_snapshot!(read_text("name = 'a\ncount = \n").unwrap_err(), @r#"
        [
            "1:1: invalid literal string",
            "1:1: string values must be quoted",
        ]
        "#);
    }
}
