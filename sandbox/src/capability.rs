//! What an execution may do beyond computing: named permissions, denied unless granted.

use std::fmt;

/// A permission of a script, by the name that scripts and releases use for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// `ctx.log`; without it, what a script prints or logs goes nowhere.
    Log,
    /// `ctx.time`: the wall clock with fractions of a second. The global `os.time` is there without it.
    Time,
    /// `ctx.random`: random numbers. The global `math.random` is there without it.
    Random,
    /// `ctx.json`: the global library `json` once more.
    Json,
    /// `ctx.hash`: SHA-256, HMAC-SHA-256 and CRC-32 of strings.
    Hash,
    /// `ctx.run`: runs another script. Answered by the host, see [`crate::Ask`].
    Run,
    /// `ctx.http`: calls other services. Answered by the host, see [`crate::Ask`].
    Http,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Log, Self::Time, Self::Random, Self::Json, Self::Hash, Self::Run, Self::Http];

    /// The name in `ctx.capabilities`: `log`, `time`, `random`, `json`, `hash`, `run`, `http`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Time => "time",
            Self::Random => "random",
            Self::Json => "json",
            Self::Hash => "hash",
            Self::Run => "run",
            Self::Http => "http",
        }
    }

    /// The capability of that name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.as_str() == name)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The capabilities of one execution. By default those that reach nothing outside the sandbox: `log`, `time`, `random`,
/// `json` and `hash`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grants(u8);

impl Grants {
    /// No capability at all.
    pub const NONE: Self = Self(0);

    /// Those that reach nothing outside the sandbox.
    pub const HARMLESS: Self = Self(
        Capability::Log.bit()
            | Capability::Time.bit()
            | Capability::Random.bit()
            | Capability::Json.bit()
            | Capability::Hash.bit(),
    );

    /// Every capability.
    pub const ALL: Self = Self((1 << Capability::ALL.len()) - 1);

    /// The same and one more.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | capability.bit())
    }

    /// What both grant.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether `capability` is granted.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & capability.bit() != 0
    }

    /// What is granted.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |&capability| self.contains(capability))
    }
}

impl Default for Grants {
    fn default() -> Self {
        Self::HARMLESS
    }
}

impl FromIterator<Capability> for Grants {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        capabilities.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Capability::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_found_by_its_name() {
        for capability in Capability::ALL {
            assert_eq!(Capability::named(capability.as_str()), Some(capability));
        }
        assert_eq!(Capability::named("files"), None);
    }

    #[test]
    fn what_reaches_outside_is_not_granted_by_default() {
        insta::assert_debug_snapshot!(Grants::default(), @r#"
        {
            "log",
            "time",
            "random",
            "json",
            "hash",
        }
        "#);
        assert!(Grants::default().with(Capability::Http).contains(Capability::Http));
    }
}
