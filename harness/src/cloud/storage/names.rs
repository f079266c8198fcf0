//! Names of buckets and objects, and what Google allows in them.
//!
//! Rules: <https://cloud.google.com/storage/docs/buckets#naming> and <https://cloud.google.com/storage/docs/objects#naming>.

/// Why a text is no name of a bucket or an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A bucket's name is against the rules.
    #[error("Invalid bucket name: '{name}': {rule}")]
    Bucket {
        /// The text.
        name: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// An object's name is against the rules.
    #[error("Invalid object name: '{name}': {rule}")]
    Object {
        /// The text, escaped.
        name: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// gRPC names buckets as `projects/_/buckets/NAME`.
    #[error("Invalid bucket resource name: '{name}': it must be projects/_/buckets/BUCKET")]
    Resource {
        /// The text.
        name: String,
    },
}

/// Checks the name of a bucket that is to be made.
pub(super) fn check_bucket(name: &str) -> Result<(), NameError> {
    let broken = |rule| Err(NameError::Bucket { name: name.to_owned(), rule });
    let longest = if name.contains('.') { 222 } else { 63 };
    if name.len() < 3 || name.len() > longest {
        return broken("it must have 3 to 63 characters, with dots up to 222");
    }
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    if !name.chars().all(|letter| plain(letter) || matches!(letter, '-' | '_' | '.')) {
        return broken("only lowercase letters, digits, `-`, `_` and `.` are allowed");
    }
    if !name.starts_with(plain) || !name.ends_with(plain) {
        return broken("it must start and end with a letter or digit");
    }
    if name.split('.').any(|part| part.is_empty() || part.len() > 63) {
        return broken("each part between dots must have 1 to 63 characters");
    }
    if name.starts_with("goog") || name.contains("google") {
        return broken("`goog` at the start and `google` anywhere are reserved");
    }
    if name.parse::<std::net::Ipv4Addr>().is_ok() {
        return broken("it must not look like an IP address");
    }
    Ok(())
}

/// Checks the name of an object that is to be written.
pub(super) fn check_object(name: &str) -> Result<(), NameError> {
    let broken = |rule| Err(NameError::Object { name: name.escape_debug().to_string(), rule });
    if name.is_empty() || name.len() > 1024 {
        return broken("it must have 1 to 1024 bytes");
    }
    if name.contains(['\r', '\n']) {
        return broken("carriage return and line feed are not allowed");
    }
    if name == "." || name == ".." {
        return broken("`.` and `..` are not allowed");
    }
    if name.starts_with(".well-known/acme-challenge/") {
        return broken("`.well-known/acme-challenge/` is reserved");
    }
    Ok(())
}

/// `projects/_/buckets/NAME` → `NAME`.
pub(super) fn bucket_of_resource(resource: &str) -> Result<String, NameError> {
    match resource.strip_prefix("projects/_/buckets/") {
        Some(name) if !name.is_empty() && !name.contains('/') => Ok(name.to_owned()),
        _ => Err(NameError::Resource { name: resource.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_googles_rules() {
        for good in ["abc", "a-b_c.d", "scripts-2", "moonswarm-dev"] {
            assert_eq!(check_bucket(good), Ok(()), "{good}");
        }
        for bad in ["ab", "Abc", "-abc", "abc-", "a..b", "goog-x", "my-google", "10.0.0.1", "a/b", &"a".repeat(64)] {
            assert!(check_bucket(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn object_names_follow_googles_rules() {
        for good in ["a", "tenants/acme/scripts/risk.luau", "spaces and #?%", "ünïcode", &"a".repeat(1024)] {
            assert_eq!(check_object(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a\nb", "a\rb", ".well-known/acme-challenge/x", &"a".repeat(1025)] {
            assert!(check_object(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn resource_names_carry_one_bucket() {
        assert_eq!(bucket_of_resource("projects/_/buckets/scripts").unwrap(), "scripts");
        assert!(bucket_of_resource("scripts").is_err());
        assert!(bucket_of_resource("projects/p/buckets/scripts").is_err());
        assert!(bucket_of_resource("projects/_/buckets/a/b").is_err());
    }
}
