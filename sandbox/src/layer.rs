//! What a middleware looks at, and where it stands among others: `middleware = { order, scripts, tenants }`.

/// The largest order, either way.
pub(crate) const ORDER_MAX: i32 = 1000;

/// Names or patterns of one list.
pub(crate) const PATTERNS_MAX: usize = 64;

/// Bytes of a pattern: as long as the longest name.
const PATTERN_BYTES_MAX: usize = contract::ids::NAME_BYTES_MAX;

/// What a middleware declares. The default looks at every call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    /// Layers of a higher order are further out; from -1000 to 1000.
    pub order: i32,
    /// Scripts whose calls it looks at; `None` = all.
    pub scripts: Option<Vec<NamePattern>>,
    /// Tenants whose calls it looks at, where it looks at those of several; `None` = all.
    pub tenants: Option<Vec<NamePattern>>,
}

impl Layer {
    /// Whether it looks at calls of this script.
    pub fn covers(&self, tenant: &str, script: &str) -> bool {
        let matches = |patterns: &Option<Vec<NamePattern>>, name: &str| {
            patterns.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(name)))
        };
        matches(&self.scripts, script) && matches(&self.tenants, tenant)
    }
}

/// A name, or the begin of names: `risk`, `loan-*`, `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    begin: String,
    /// Whether more may follow.
    open: bool,
}

impl NamePattern {
    /// Reads a pattern; `None` if no name could match it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (begin, open) = text.strip_suffix('*').map_or((text, false), |begin| (begin, true));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let possible = (open || !begin.is_empty()) && begin.len() <= PATTERN_BYTES_MAX && begin.chars().all(plain);
        possible.then(|| Self { begin: begin.to_owned(), open })
    }

    /// Whether `name` is the name, or one of the names.
    pub fn matches(&self, name: &str) -> bool {
        if self.open { name.starts_with(&self.begin) } else { name == self.begin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_the_begin_of_names() {
        let matching = |pattern: &str| {
            let pattern = NamePattern::parse(pattern).unwrap();
            ["risk", "risk-eu", "loan", "r"].into_iter().filter(|name| pattern.matches(name)).collect::<Vec<_>>()
        };

        assert_eq!(matching("risk"), ["risk"]);
        assert_eq!(matching("risk*"), ["risk", "risk-eu"]);
        assert_eq!(matching("*"), ["risk", "risk-eu", "loan", "r"]);
        for wrong in ["", "a*b", "**", "a/b", "@stack"] {
            assert_eq!(NamePattern::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_list_narrows_what_is_looked_at() {
        let layer = |scripts: Option<&[&str]>| Layer {
            scripts: scripts.map(|names| names.iter().filter_map(|name| NamePattern::parse(name)).collect()),
            tenants: NamePattern::parse("acme").map(|acme| vec![acme]),
            order: 0,
        };

        assert!(layer(None).covers("acme", "risk") && !layer(None).covers("zoo", "risk"));
        assert!(layer(Some(&["risk"])).covers("acme", "risk") && !layer(Some(&["risk"])).covers("acme", "loan"));
    }
}
