//! Times and sizes as people write them: `20ms`, `8MiB`.

use std::fmt;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A time, written as `20ms`, `1s`, `2min`. At least a millisecond: no watchdog looks oftener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// A number of bytes, written as `512B`, `64KiB`, `8MiB`. At least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Units of sizes, the largest first, with their powers of two. `B` last: the others end in it, too.
const UNITS: [(&str, u32); 4] = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

impl Time {
    /// From a number of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Reads `20ms`; `None` for what is no time, or less than a millisecond.
    pub fn parse(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok().filter(|time| *time >= Duration::from_millis(1)).map(Self)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Size {
    /// Reads `8MiB`; `None` for what is no size, or nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, shift) = UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))?;
        let number: u64 = number.trim_end().parse().ok()?;
        let bytes = number.checked_shl(shift).filter(|bytes| bytes >> shift == number)?;
        Some(Self(bytes)).filter(|size| size.0 > 0)
    }

    /// As a length in memory.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = UNITS.iter().find(|(_, shift)| self.0.is_multiple_of(1 << shift)).expect("1 divides all");
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

/// A value in the words of the JSON that it came in, shortened.
pub(crate) fn given(value: &Value) -> String {
    match value {
        Value::Object(_) => "a table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Null => "nothing".to_owned(),
        Value::String(text) => format!("{:?}", text.chars().take(64).collect::<String>()),
        other => other.to_string(),
    }
}

/// The error of a value that is not of the `expected` form.
pub(crate) fn wrong<E: Error>(value: &Value, expected: &str) -> E {
    E::custom(format!("is {}; expected {expected}", given(value)))
}

macro_rules! as_text {
    ($type:ident, $expected:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = Value::deserialize(deserializer)?;
                value.as_str().and_then(Self::parse).ok_or_else(|| wrong(&value, $expected))
            }
        }
    };
}

as_text!(Time, "a text such as \"20ms\" or \"1s\", at least 1ms");
as_text!(Size, "a text such as \"512KiB\" or \"8MiB\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit_and_written_with_the_largest_that_fits() {
        let read = ["8MiB", "512 KiB", "100B", "1GiB", "8MB", "8", "0B", "-1MiB", "99999999999GiB"].map(Size::parse);
        let sizes = [8 << 20, 512 << 10, 100, 1 << 30].map(|bytes| Some(Size(bytes)));

        assert_eq!(read[..4], sizes);
        assert_eq!(read[4..], [None; 5]);
        assert_eq!(sizes.map(|size| size.unwrap().to_string()), ["8MiB", "512KiB", "100B", "1GiB"]);
        assert_eq!(Size(1536 << 10).to_string(), "1536KiB");
    }

    #[test]
    fn times_are_read_and_written_as_people_do() {
        let read = ["50ms", "1s", "2min", "1us", "5", "soon"].map(Time::parse);

        assert_eq!(
            read.map(|time| time.map(|time| time.to_string())),
            [Some("50ms".to_owned()), Some("1s".to_owned()), Some("2m".to_owned()), None, None, None]
        );
    }

    #[test]
    fn what_is_none_is_told_with_what_was_expected() {
        let fault = |json: &str| serde_json::from_str::<Time>(json).unwrap_err().to_string();

        assert_eq!(fault("50"), r#"is 50; expected a text such as "20ms" or "1s", at least 1ms"#);
        assert_eq!(fault("\"50\""), r#"is "50"; expected a text such as "20ms" or "1s", at least 1ms"#);
    }
}
