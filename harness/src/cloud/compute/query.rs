//! What lists take: `filter`, `orderBy`, `maxResults`, `pageToken`. What can't be read is refused, never ignored.
//!
//! Filters: <https://cloud.google.com/compute/docs/reference/rest/v1/instances/list>: comparisons (`=`, `!=`, `eq`, `ne`,
//! `:`) with `AND`, `OR`, `NOT` and brackets; two comparisons side by side mean AND.

use regex::Regex;
use serde_json::Value;

use super::error::ComputeError;
use crate::cloud::parameters::Parameters;

/// Google's default and most.
const RESULTS_MAX: usize = 500;

/// A page that is asked for.
#[derive(Debug)]
pub(super) struct ListQuery {
    filter: Option<Filter>,
    results: usize,
    from: usize,
    newest_first: bool,
}

impl ListQuery {
    pub(super) fn read(parameters: &mut Parameters) -> Result<Self, ComputeError> {
        let results = parameters.value::<usize>("maxResults")?.unwrap_or(RESULTS_MAX);
        let token = parameters.text("pageToken").unwrap_or_default();
        let from = if token.is_empty() { Some(0) } else { token.strip_prefix("after-").and_then(|n| n.parse().ok()) };
        let from = from.ok_or_else(|| parameter("pageToken", &token, "This server never gave this token."))?;
        let order = parameters.text("orderBy").unwrap_or_default();
        if !matches!(order.as_str(), "" | "name" | "creationTimestamp desc") {
            return Err(parameter("orderBy", &order, "Must be `name` or `creationTimestamp desc`."));
        }
        let filter = parameters.text("filter").filter(|text| !text.trim().is_empty());
        let read = |text: &String| Filter::parse(text).map_err(|why| parameter("filter", text, &why));
        let filter = filter.as_ref().map(read).transpose()?;
        let newest_first = order == "creationTimestamp desc";
        Ok(Self { filter, results: results.min(RESULTS_MAX), from, newest_first })
    }

    /// The page, and the token of the next one.
    pub(super) fn page(&self, mut items: Vec<Value>) -> (Vec<Value>, Option<String>) {
        items.retain(|item| self.filter.as_ref().is_none_or(|filter| filter.holds(item)));
        if self.newest_first {
            items.sort_by(|a, b| text_of(&b["creationTimestamp"]).cmp(&text_of(&a["creationTimestamp"])));
        }
        let until = self.from.saturating_add(self.results);
        let next = (items.len() > until).then(|| format!("after-{until}"));
        (items.into_iter().skip(self.from).take(self.results).collect(), next)
    }
}

fn parameter(field: &str, value: &str, rule: &str) -> ComputeError {
    ComputeError::Invalid { field: field.to_owned(), value: value.to_owned(), rule: rule.to_owned() }
}

/// A filter that was read.
#[derive(Debug)]
enum Filter {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Equals { field: String, value: String },
    Matches { field: String, pattern: Regex },
    Has { field: String, value: String },
}

impl Filter {
    fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut rest = tokens.as_slice();
        let filter = any(&mut rest)?;
        if rest.is_empty() { Ok(filter) } else { Err(format!("Unexpected `{}`.", rest[0])) }
    }

    fn holds(&self, item: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(item)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(item)),
            Self::Not(part) => !part.holds(item),
            Self::Equals { field, value } => values(item, field).iter().any(|found| found == value),
            Self::Matches { field, pattern } => values(item, field).iter().any(|found| pattern.is_match(found)),
            Self::Has { field, value } if value == "*" => !values(item, field).is_empty(),
            Self::Has { field, value } => values(item, field).iter().any(|found| found.contains(value)),
        }
    }
}

fn any(rest: &mut &[String]) -> Result<Filter, String> {
    let mut parts = vec![all(rest)?];
    while rest.first().is_some_and(|token| token == "OR") {
        *rest = &rest[1..];
        parts.push(all(rest)?);
    }
    Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Any(parts) })
}

fn all(rest: &mut &[String]) -> Result<Filter, String> {
    let mut parts = vec![one(rest)?];
    while let Some(next) = rest.first().filter(|token| !matches!(token.as_str(), "OR" | ")")) {
        if next == "AND" {
            *rest = &rest[1..];
        }
        parts.push(one(rest)?);
    }
    Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::All(parts) })
}

fn one(rest: &mut &[String]) -> Result<Filter, String> {
    let mut take = || {
        let (first, others) = rest.split_first().ok_or("The filter ends too early.")?;
        *rest = others;
        Ok::<_, String>(first.clone())
    };
    let first = take()?;
    if first == "NOT" || first == "-" {
        return one(rest).map(|part| Filter::Not(Box::new(part)));
    }
    if first == "(" {
        let inner = any(rest)?;
        return match rest.split_first() {
            Some((close, others)) if close == ")" => {
                *rest = others;
                Ok(inner)
            }
            _ => Err("A bracket is not closed.".to_owned()),
        };
    }
    let (operator, value) = (take()?, take()?);
    let field = first;
    let pattern = |value: &str| Regex::new(&format!("^(?:{value})$")).map_err(|error| error.to_string());
    let equals = |field, value: String| Filter::Equals { field, value };
    Ok(match operator.as_str() {
        "=" => equals(field, value),
        "!=" => Filter::Not(Box::new(equals(field, value))),
        "eq" => Filter::Matches { pattern: pattern(&value)?, field },
        "ne" => Filter::Not(Box::new(Filter::Matches { pattern: pattern(&value)?, field })),
        ":" => Filter::Has { field, value },
        other => return Err(format!("The operator `{other}` is not implemented here.")),
    })
}

/// Words, quoted texts, brackets and operators.
fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => {
                let end = rest[1..].find(first).ok_or("A quote is not closed.")?;
                tokens.push(rest[1..=end].to_owned());
                rest = rest[end + 2..].trim_start();
                continue;
            }
            '(' | ')' | ':' | '=' => 1,
            '!' | '<' | '>' if rest[1..].starts_with('=') => 2,
            _ => rest.find(|c: char| c.is_whitespace() || "()=:!<>\"".contains(c)).unwrap_or(rest.len()).max(1),
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// The texts at a field, `labels.env` or `networkInterfaces.networkIP`; lists are looked into.
fn values(item: &Value, field: &str) -> Vec<String> {
    if let Value::Array(items) = item {
        return items.iter().flat_map(|item| values(item, field)).collect();
    }
    let (part, rest) = field.split_once('.').unwrap_or((field, ""));
    match item.get(part.trim_end_matches("[]")) {
        None => Vec::new(),
        Some(found) if rest.is_empty() => leaves(found),
        Some(found) => values(found, rest),
    }
}

fn leaves(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(leaves).collect(),
        Value::Object(_) => vec![value.to_string()],
        other => vec![text_of(other)],
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(filter: &str) -> bool {
        let item = json!({
            "name": "manager-1", "status": "RUNNING", "labels": { "stack": "dev" }, "priority": 1000,
            "networkInterfaces": [{ "networkIP": "10.0.0.5" }],
        });
        Filter::parse(filter).unwrap().holds(&item)
    }

    #[test]
    fn filters_compare_match_and_combine() {
        for yes in [
            "name = manager-1",
            "(name eq \"manager-.*\")",
            "labels.stack=dev status=RUNNING",
            "labels.stack:*",
            "name=x OR status=RUNNING",
            "NOT name=x",
            "(labels.stack = dev) AND (name != \"x\")",
            "networkInterfaces.networkIP = 10.0.0.5",
            "priority = 1000",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in ["name eq manager", "labels.stack=prod", "labels.owner:*", "name=manager-1 AND status=TERMINATED"] {
            assert!(!holds(no), "{no}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_refused() {
        for bad in ["name", "name =", "(name = a", "name ~ b", "name = a )", "name eq \"[\"", "priority > 5"] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pages_follow_each_other() {
        let items = |count: usize| (0..count).map(|number| json!({ "name": number })).collect::<Vec<_>>();
        let page = |query: &str| ListQuery::read(&mut Parameters::parse(Some(query))).unwrap().page(items(3));

        let (first, next) = page("maxResults=2");
        let (second, end) = page(&format!("maxResults=2&pageToken={}", next.unwrap()));

        assert_eq!((first.len(), second.len(), end), (2, 1, None));
    }
}
