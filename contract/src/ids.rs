//! Names of tenants, scripts and versions: what is allowed, and where their objects lie in the bucket.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// Longest name of a tenant or script, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// First character of names that the product itself gives a meaning. They name things in the bucket and in releases, and
/// nothing that a caller could run.
const RESERVED: char = '@';

/// Whether a text would be a reserved name.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED)
}

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("{what} name is empty")]
    Empty {
        /// `tenant`, `script` or `event`.
        what: &'static str,
    },
    /// Above [`NAME_BYTES_MAX`].
    #[error("{what} name has {bytes} bytes, the longest allowed is {NAME_BYTES_MAX}")]
    TooLong {
        /// `tenant`, `script` or `event`.
        what: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// A character outside `[A-Za-z0-9._-]`, or a first one outside `[A-Za-z0-9]`.
    #[error(
        "{what} name `{name}` has {character:?} at position {position}; names are letters, digits, `.`, `_`, `-`, and start with a letter or digit"
    )]
    Character {
        /// `tenant`, `script` or `event`.
        what: &'static str,
        /// The whole text, escaped for display.
        name: String,
        /// The first character that is not allowed.
        character: char,
        /// Its place, from 1.
        position: usize,
    },
    /// `@` in front, and none of the names that mean something there.
    #[error("{what} name `{name}` begins with `@`: such names are reserved, and this one means nothing")]
    Reserved {
        /// `tenant`, `script` or `event`.
        what: &'static str,
        /// The whole text, escaped for display.
        name: String,
    },
    /// `..` anywhere: such a name would read like a path.
    #[error("{what} name `{name}` has `..` in it; names must not look like paths")]
    DotDot {
        /// `tenant`, `script` or `event`.
        what: &'static str,
        /// The whole text.
        name: String,
    },
}

fn check(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { what, bytes: name.len() });
    }
    if name.starts_with(RESERVED) {
        let known = matches!((what, name), ("tenant", TenantName::STACK) | ("script", ScriptName::POLICY));
        let name = name.escape_debug().to_string();
        return if known { Ok(()) } else { Err(NameError::Reserved { what, name }) };
    }
    let allowed = |index: usize, c: char| c.is_ascii_alphanumeric() || (index > 0 && matches!(c, '.' | '_' | '-'));
    if let Some((index, character)) = name.chars().enumerate().find(|&(index, c)| !allowed(index, c)) {
        let name = name.escape_debug().to_string();
        return Err(NameError::Character { what, name, character, position: index + 1 });
    }
    if name.contains("..") {
        return Err(NameError::DotDot { what, name: name.to_owned() });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                check($what, name)?;
                Ok(Self(name.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                check($what, &name)?;
                Ok(Self(name))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        // Not by way of `String`, which would copy each name of thousands.
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        // Lets maps keyed by names be asked with text that came from a request path.
        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A tenant: a party that must not see or hurt another. 1 to 64 of `[A-Za-z0-9._-]`, for example `acme`; or the
    /// reserved `@stack`.
    TenantName,
    "tenant"
);

name!(
    /// A script of a tenant. 1 to 64 of `[A-Za-z0-9._-]`, for example `risk`; or the reserved `@policy`.
    ScriptName,
    "script"
);

name!(
    /// An event that scripts may want. 1 to 64 of `[A-Za-z0-9._-]`, for example `order.created`.
    EventName,
    "event"
);

impl EventName {
    /// Whether it is a name of the life cycle: `On` and a capital letter. Such events happen, nobody sends them.
    pub fn is_life_cycle(&self) -> bool {
        self.0.strip_prefix("On").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    }
}

impl TenantName {
    /// The reserved tenant whose scripts are the operator's: `@stack`.
    pub const STACK: &str = "@stack";

    /// Whether this is [`TenantName::STACK`].
    pub fn is_stack(&self) -> bool {
        self.0 == Self::STACK
    }

    /// [`TenantName::STACK`] as a name.
    pub fn stack() -> Self {
        Self(Self::STACK.to_owned())
    }

    /// Whether it is a reserved one.
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.0)
    }
}

impl ScriptName {
    /// The reserved script that says on which terms the tenant's others run: `@policy`.
    pub const POLICY: &str = "@policy";

    /// [`ScriptName::POLICY`] as a name.
    pub fn policy() -> Self {
        Self(Self::POLICY.to_owned())
    }

    /// Whether it is a reserved one.
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.0)
    }
}

/// One immutable content of a script: the lower-case hex SHA-256 of its bytes, 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Version(String);

impl Version {
    /// The version of these bytes.
    pub fn of(source: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, source);
        Self(data_encoding::HEXLOWER.encode(digest.as_ref()))
    }

    /// All 64 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 characters, enough for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

/// A text that is no lower-case hex SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version `{0}` is not a SHA-256 in 64 lower-case hex digits")]
pub struct VersionError(String);

impl TryFrom<String> for Version {
    type Error = VersionError;
    fn try_from(text: String) -> Result<Self, VersionError> {
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() == 64 && text.bytes().all(hex) { Ok(Self(text)) } else { Err(VersionError(text)) }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The object at the bucket's root that the founding convention calls the script: tenant `default`, script `latest`.
pub const FOUNDING_OBJECT: &str = "latest.lua";

/// What the bytes of a script are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Luau text.
    Luau,
    /// A package of modules as a zip file.
    Zip,
    /// A package of modules as a tar file.
    Tar,
}

impl Form {
    /// Endings of objects and files that hold scripts, each with its form; the first of a form is the one that is made.
    pub const ENDINGS: [(&str, Self); 4] =
        [(".luau", Self::Luau), (".lua", Self::Luau), (".zip", Self::Zip), (".tar", Self::Tar)];

    /// The form of these bytes, told by their magic numbers: `PK` of a zip file's first record (APPNOTE.TXT §4.3), and
    /// `ustar` in the header of a tar file's first entry (POSIX `pax`), or the block of zeros that ends one without
    /// entries. Neither can begin a Luau text.
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
            Self::Zip
        } else if bytes.get(..512).is_some_and(|block| block.contains(&0) && is_tar(block)) {
            Self::Tar
        } else {
            Self::Luau
        }
    }

    /// The form that an object's or file's ending promises.
    pub fn named(file: &str) -> Option<Self> {
        Self::ENDINGS.iter().find(|(ending, _)| file.ends_with(ending)).map(|&(_, form)| form)
    }

    /// `.luau`, `.zip`, `.tar`.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Luau => ".luau",
            Self::Zip => ".zip",
            Self::Tar => ".tar",
        }
    }
}

fn is_tar(block: &[u8]) -> bool {
    block[257..].starts_with(b"ustar") || block.iter().all(|&byte| byte == 0)
}

/// The bucket object in which a script of this form lives: `tenants/TENANT/scripts/SCRIPT.luau`, or [`FOUNDING_OBJECT`].
pub fn object_of(tenant: &TenantName, script: &ScriptName, form: Form) -> String {
    if form == Form::Luau && tenant.as_str() == "default" && script.as_str() == "latest" {
        return FOUNDING_OBJECT.to_owned();
    }
    format!("tenants/{tenant}/scripts/{script}{}", form.ending())
}

/// Which script an object of the bucket holds: files with one of [`Form::ENDINGS`] in the place of [`object_of`], and
/// [`FOUNDING_OBJECT`].
///
/// `Ok(None)`: the object is none of ours (another place or another ending).
///
/// # Errors
/// The object lies where scripts lie, but its tenant or script name is not allowed.
pub fn script_of(object: &str) -> Result<Option<(TenantName, ScriptName)>, NameError> {
    if object == FOUNDING_OBJECT {
        return Ok(Some((TenantName("default".into()), ScriptName("latest".into()))));
    }
    let Some((tenant, file)) = object.strip_prefix("tenants/").and_then(|rest| rest.split_once("/scripts/")) else {
        return Ok(None);
    };
    let Some(script) = Form::ENDINGS.iter().find_map(|(ending, _)| file.strip_suffix(ending)) else {
        return Ok(None);
    };
    Ok(Some((tenant.parse()?, script.parse()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(name: &str) -> String {
        name.parse::<ScriptName>().expect_err("the name should be refused").to_string()
    }

    #[test]
    fn ordinary_names_are_taken() {
        for name in ["risk", "a", "Risk-2.v1_b", &"x".repeat(64)] {
            assert_eq!(name.parse::<ScriptName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_name_of_65_bytes_is_refused_with_both_numbers() {
        assert_eq!(refused(&"x".repeat(65)), "script name has 65 bytes, the longest allowed is 64");
    }

    #[test]
    fn names_that_look_like_paths_are_refused() {
        assert_eq!(refused("a..b"), "script name `a..b` has `..` in it; names must not look like paths");
        assert!(refused("../etc").contains("has '.' at position 1"));
        assert!(refused("a/b").contains("has '/' at position 2"));
    }

    #[test]
    fn of_reserved_names_only_those_with_a_meaning_are_taken() {
        assert!("@stack".parse::<TenantName>().unwrap().is_reserved());
        assert!("@policy".parse::<ScriptName>().unwrap().is_reserved());
        assert_eq!(
            script_of("tenants/@stack/scripts/@policy.luau"),
            Ok(Some((TenantName::stack(), ScriptName::policy())))
        );
        assert_eq!(
            refused("@stack"),
            "script name `@stack` begins with `@`: such names are reserved, and this one means nothing"
        );
        assert!("@policy".parse::<TenantName>().is_err() && "@policy".parse::<EventName>().is_err());
    }

    #[test]
    fn odd_characters_are_shown_escaped() {
        assert!(refused("a\u{202e}b").contains("\\u{202e}"));
        assert_eq!(refused(""), "script name is empty");
    }

    #[test]
    fn a_script_and_its_object_name_each_other() {
        let (tenant, script) = ("acme".parse().unwrap(), "risk".parse().unwrap());
        for (form, ending) in [(Form::Luau, "luau"), (Form::Zip, "zip"), (Form::Tar, "tar")] {
            let object = format!("tenants/acme/scripts/risk.{ending}");
            assert_eq!(object_of(&tenant, &script, form), object);
            assert_eq!(script_of(&object), Ok(Some((tenant.clone(), script.clone()))));
            assert_eq!(Form::named(&object), Some(form));
        }
        assert_eq!(script_of("tenants/acme/scripts/risk.lua"), Ok(Some((tenant, script))));
    }

    #[test]
    fn the_founding_object_is_default_latest() {
        let (tenant, script) = script_of("latest.lua").unwrap().unwrap();
        assert_eq!((tenant.as_str(), script.as_str()), ("default", "latest"));
        assert_eq!(object_of(&tenant, &script, Form::Luau), "latest.lua");
        assert_eq!(object_of(&tenant, &script, Form::Tar), "tenants/default/scripts/latest.tar");
    }

    #[test]
    fn the_form_is_told_by_the_bytes_and_text_is_never_taken_for_a_package() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");

        assert_eq!(Form::of(&tar), Form::Tar);
        assert_eq!(Form::of(&[0; 1024]), Form::Tar);
        assert_eq!(Form::of(b"PK\x03\x04..."), Form::Zip);
        assert_eq!(Form::of(b"return function() end"), Form::Luau);
        assert_eq!(Form::of(b""), Form::Luau);
        assert_eq!(Form::of(format!("--{}ustar{}", "-".repeat(255), "-".repeat(300)).as_bytes()), Form::Luau);
    }

    #[test]
    fn other_objects_are_not_scripts_and_bad_names_are_told() {
        assert_eq!(script_of("releases/current.json"), Ok(None));
        assert_eq!(script_of("tenants/acme/scripts/notes.txt"), Ok(None));
        assert!(script_of("tenants/acme/scripts/a/b.luau").is_err());
        assert!(script_of("tenants/../scripts/b.luau").is_err());
    }

    #[test]
    fn a_version_is_the_sha256_of_the_bytes() {
        let version = Version::of(b"abc");
        assert_eq!(version.as_str(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(version.short(), "ba7816bf8f01");
        assert!(Version::try_from("BA78".to_owned()).is_err());
    }
}
