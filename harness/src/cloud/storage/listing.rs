//! Lists of objects, page by page: prefix, delimiter, versions, bounds. Pure.
//!
//! A page token names the last thing that was shown, so pages stay right while objects come and go.

use std::ops::Bound;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;

use super::bucket::Bucket;
use super::error::StorageError;
use super::object::Object;

/// Google's bound on a page, objects and prefixes together.
const PAGE_MAX: usize = 1000;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct ListQuery {
    pub(super) prefix: String,
    /// Empty = no grouping.
    pub(super) delimiter: String,
    /// Show an object whose name ends with the delimiter beside its prefix.
    pub(super) include_trailing_delimiter: bool,
    /// Noncurrent generations too.
    pub(super) versions: bool,
    /// First name that may be shown; empty = the first of all.
    pub(super) start: String,
    /// First name that may not be shown; empty = none.
    pub(super) end: String,
    /// 0 = [`PAGE_MAX`].
    pub(super) page_size: usize,
    /// Empty = the first page.
    pub(super) page_token: String,
}

/// One page.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) objects: Vec<Arc<Object>>,
    pub(super) prefixes: Vec<String>,
    /// `None` on the last page.
    pub(super) next: Option<String>,
}

/// The last thing of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    Object { name: String, generation: i64 },
    Prefix(String),
}

impl Mark {
    fn token(&self) -> String {
        let text = match self {
            Self::Object { name, generation } => format!("o{generation}:{name}"),
            Self::Prefix(prefix) => format!("p:{prefix}"),
        };
        BASE64URL_NOPAD.encode(text.as_bytes())
    }

    fn parse(token: &str) -> Result<Self, StorageError> {
        let read = || {
            let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (head, name) = text.split_once(':')?;
            match head.strip_prefix('o') {
                Some(generation) => Some(Self::Object { name: name.into(), generation: generation.parse().ok()? }),
                None => (head == "p").then(|| Self::Prefix(name.into())),
            }
        };
        read().ok_or_else(|| StorageError::invalid(format!("Invalid page token: {token}")))
    }

    fn name(&self) -> &str {
        match self {
            Self::Object { name, .. } | Self::Prefix(name) => name,
        }
    }

    fn covers(&self, object: &Object) -> bool {
        match self {
            Self::Object { name, generation } => object.name == *name && object.generation <= *generation,
            Self::Prefix(prefix) => object.name.starts_with(prefix),
        }
    }
}

/// Cuts one page out of a bucket.
pub(super) fn list(bucket: &Bucket, query: &ListQuery) -> Result<Page, StorageError> {
    let page_size = if query.page_size == 0 { PAGE_MAX } else { query.page_size.min(PAGE_MAX) };
    let after = if query.page_token.is_empty() { None } else { Some(Mark::parse(&query.page_token)?) };
    let first = [query.prefix.as_str(), query.start.as_str(), after.as_ref().map_or("", Mark::name)]
        .into_iter()
        .max()
        .unwrap_or_default();

    let mut page = Page::default();
    let mut last: Option<Mark> = None;
    let names = bucket.objects.range::<str, _>((Bound::Included(first), Bound::Unbounded));
    for (name, versions) in names {
        if !name.starts_with(&query.prefix) || (!query.end.is_empty() && name.as_str() >= query.end.as_str()) {
            break;
        }
        let group = group_of(name, query);
        for object in versions.all().filter(|object| query.versions || object.deleted.is_none()) {
            if after.as_ref().is_some_and(|mark| mark.covers(object)) {
                continue;
            }
            let new_group = group.filter(|group| page.prefixes.last().map(String::as_str) != Some(group));
            let shown = group.is_none() || (query.include_trailing_delimiter && group == Some(name.as_str()));
            let wanted = usize::from(new_group.is_some()) + usize::from(shown);
            if wanted == 0 {
                continue;
            }
            // A prefix and the object of the same name stay together, even if that makes the page one too long.
            if page.objects.len() + page.prefixes.len() >= page_size {
                page.next = last.as_ref().map(Mark::token);
                return Ok(page);
            }
            if let Some(group) = new_group {
                page.prefixes.push(group.to_owned());
            }
            if shown {
                page.objects.push(Arc::clone(object));
            }
            last = Some(match group {
                Some(group) => Mark::Prefix(group.to_owned()),
                None => Mark::Object { name: name.clone(), generation: object.generation },
            });
        }
    }
    Ok(page)
}

/// The part of the name up to the first delimiter behind the prefix.
fn group_of<'a>(name: &'a str, query: &ListQuery) -> Option<&'a str> {
    if query.delimiter.is_empty() {
        return None;
    }
    let rest = name.get(query.prefix.len()..)?;
    let end = rest.find(&query.delimiter)? + query.delimiter.len();
    name.get(..query.prefix.len() + end)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{put, state_with_bucket};
    use super::*;

    fn pages(names: &[&str], query: ListQuery) -> Vec<String> {
        let mut state = state_with_bucket(true);
        for name in names {
            put(&mut state, name, "x");
        }
        let mut query = query;
        let mut told = Vec::new();
        loop {
            let page = list(state.bucket("scripts").unwrap(), &query).unwrap();
            let objects: Vec<_> = page.objects.iter().map(|object| object.name.as_str()).collect();
            told.push(format!("{} | {}", objects.join(" "), page.prefixes.join(" ")));
            match page.next {
                Some(next) => query.page_token = next,
                None => return told,
            }
        }
    }

    #[test]
    fn pages_show_every_name_once_in_order() {
        let query = ListQuery { page_size: 2, ..ListQuery::default() };

        assert_eq!(pages(&["b", "a", "d", "c", "e"], query), ["a b | ", "c d | ", "e | "]);
    }

    #[test]
    fn a_full_last_page_has_no_next_page() {
        let query = ListQuery { page_size: 2, ..ListQuery::default() };

        assert_eq!(pages(&["a", "b"], query), ["a b | "]);
    }

    #[test]
    fn a_delimiter_groups_names_across_pages() {
        let names = ["t/a/1", "t/a/2", "t/b", "t/c/1", "u"];
        let query =
            |page_size| ListQuery { prefix: "t/".into(), delimiter: "/".into(), page_size, ..ListQuery::default() };

        assert_eq!(pages(&names, query(0)), ["t/b | t/a/ t/c/"]);
        assert_eq!(pages(&names, query(1)), [" | t/a/", "t/b | ", " | t/c/"]);
    }

    #[test]
    fn generations_of_one_name_are_paged_oldest_first() {
        let query = ListQuery { versions: true, page_size: 2, ..ListQuery::default() };

        assert_eq!(pages(&["a", "a", "a", "b"], query), ["a a | ", "a b | "]);
    }

    #[test]
    fn bounds_cut_the_names() {
        let query = ListQuery { start: "b".into(), end: "d".into(), ..ListQuery::default() };

        assert_eq!(pages(&["a", "b", "c", "d"], query), ["b c | "]);
    }

    #[test]
    fn a_foreign_page_token_is_refused() {
        let state = state_with_bucket(true);
        let query = ListQuery { page_token: "17".into(), ..ListQuery::default() };

        let refused = list(state.bucket("scripts").unwrap(), &query).unwrap_err();

        assert_eq!(refused.http_status(), 400);
    }
}
