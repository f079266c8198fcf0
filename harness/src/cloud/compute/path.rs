//! Names of Compute Engine resources: where a resource lives, its link, and the many ways in which clients write one.

use std::fmt;

/// What every link starts with, whatever endpoint the client used: links are names, not places.
const LINK_BASE: &str = "https://www.googleapis.com/compute/v1/";

/// The part of a project that a resource belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cloud) enum Scope {
    Global,
    Region(String),
    Zone(String),
}

impl Scope {
    /// `global`, `regions/R` or `zones/Z`.
    pub(in crate::cloud) fn text(&self) -> String {
        match self {
            Self::Global => "global".to_owned(),
            Self::Region(region) => format!("regions/{region}"),
            Self::Zone(zone) => format!("zones/{zone}"),
        }
    }

    /// The region that this scope is in; `None` for global.
    pub(in crate::cloud) fn region(&self) -> Option<&str> {
        match self {
            Self::Global => None,
            Self::Region(region) => Some(region),
            Self::Zone(zone) => Some(zone.rsplit_once('-').map_or(zone.as_str(), |(region, _)| region)),
        }
    }
}

/// The full name of a resource. Orders by project, scope, collection and name, as lists are told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cloud) struct Path {
    pub(in crate::cloud) project: String,
    pub(in crate::cloud) scope: Scope,
    /// Plural, as in URLs: `instances`.
    pub(in crate::cloud) collection: String,
    pub(in crate::cloud) name: String,
}

impl Path {
    pub(in crate::cloud) fn new(project: &str, scope: &Scope, collection: &str, name: &str) -> Self {
        Self {
            project: project.to_owned(),
            scope: scope.clone(),
            collection: collection.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The `selfLink`.
    pub(in crate::cloud) fn link(&self) -> String {
        format!("{LINK_BASE}{self}")
    }

    /// Reads what a client wrote for a resource of one collection: a link at any endpoint, `projects/P/…`, a name within
    /// `from`'s project (`zones/Z/…`, `global/…`), or the name alone, which is then in `scope`.
    pub(super) fn parse(text: &str, from: &Self, collection: &str, scope: &Scope) -> Option<Self> {
        let partial = match text.split_once("/compute/v1/") {
            Some((base, partial)) if base.starts_with("http://") || base.starts_with("https://") => partial,
            Some(_) => return None,
            None => text.trim_start_matches('/'),
        };
        let parts: Vec<&str> = partial.split('/').collect();
        let (project, rest) = match parts.as_slice() {
            ["projects", project, rest @ ..] => (*project, rest),
            rest => (from.project.as_str(), rest),
        };
        let (scope, rest) = match rest {
            ["global", rest @ ..] => (Scope::Global, rest),
            ["regions", region, rest @ ..] => (Scope::Region((*region).to_owned()), rest),
            ["zones", zone, rest @ ..] => (Scope::Zone((*zone).to_owned()), rest),
            rest => (scope.clone(), rest),
        };
        let name = match rest {
            [name] => (*name).to_owned(),
            [found, name] if *found == collection => (*name).to_owned(),
            ["images", "family", name] if collection == "images" => format!("family/{name}"),
            _ => return None,
        };
        (!name.is_empty()).then(|| Self::new(project, &scope, collection, &name))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "projects/{}/{}/{}/{}", self.project, self.scope.text(), self.collection, self.name)
    }
}

/// The link of a scope itself, or of the project: `regions/R` and `zones/Z` are resources without a collection.
pub(super) fn scope_link(project: &str, scope: &Scope) -> String {
    match scope {
        Scope::Global => format!("{LINK_BASE}projects/{project}"),
        other => format!("{LINK_BASE}projects/{project}/{}", other.text()),
    }
}

/// Whether a text is a name by RFC 1035 as Compute Engine wants it: 1 to 63 of `a-z0-9-`, first a letter, last no dash.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_resource_is_found_by_all_its_spellings() {
        let zone = Scope::Zone("us-central1-a".into());
        let from = Path::new("p", &zone, "instances", "i");
        let expected = Path::new("p", &Scope::Region("us-central1".into()), "subnetworks", "s");
        for text in [
            "https://www.googleapis.com/compute/v1/projects/p/regions/us-central1/subnetworks/s",
            "http://127.0.0.1:4443/compute/v1/projects/p/regions/us-central1/subnetworks/s",
            "projects/p/regions/us-central1/subnetworks/s",
            "regions/us-central1/subnetworks/s",
        ] {
            assert_eq!(Path::parse(text, &from, "subnetworks", &zone), Some(expected.clone()), "{text}");
        }
        assert_eq!(Path::parse("global/networks/n/x", &from, "networks", &Scope::Global), None);
        assert_eq!(Path::parse("ftp://x/compute/v1/global/networks/n", &from, "networks", &Scope::Global), None);
    }

    #[test]
    fn a_bare_name_is_in_the_given_scope() {
        let zone = Scope::Zone("z-a".into());
        let from = Path::new("p", &zone, "instances", "i");

        assert_eq!(Path::parse("d", &from, "disks", &zone).unwrap().to_string(), "projects/p/zones/z-a/disks/d");
    }

    #[test]
    fn names_are_those_of_hosts() {
        for good in ["a", "manager-1", "n0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "1a", "A", "a-", "a_b", "a.b", &"a".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
