//! What a Lua pattern costs.
//!
//! Luau looks at its interrupt each time it tries an item of a pattern, but not while `*`, `+`, `-` or `%b` run through
//! the subject with one item. That loop costs what the item costs, for each byte of the subject.

/// Nanoseconds that Luau takes to compare one byte with a character, a class such as `%w`, a set. Measured, and rounded
/// up.
const CHARACTER: f64 = 0.5;
const CLASS: f64 = 3.0;
const SET: f64 = 3.0;
const MEMBER: f64 = 1.0;

/// What the most expensive item of `pattern` costs for each byte that it is compared with, in nanoseconds.
pub(crate) fn heaviest(pattern: &[u8]) -> f64 {
    let mut heaviest = CHARACTER;
    let mut rest = pattern;
    while let Some(&first) = rest.first() {
        let (cost, length) = match first {
            b'%' => (CLASS, 2),
            b'[' => set(rest),
            _ => (CHARACTER, 1),
        };
        heaviest = heaviest.max(cost);
        rest = rest.get(length..).unwrap_or_default();
    }
    heaviest
}

/// Cost and length of the set at the beginning of `pattern`. One without an end, which Luau refuses, reaches to the end.
fn set(pattern: &[u8]) -> (f64, usize) {
    let mut at = 1;
    if pattern.get(at) == Some(&b'^') {
        at += 1;
    }
    let first = at;
    let mut cost = SET;
    loop {
        match pattern.get(at) {
            None => return (cost, pattern.len()),
            // The first one is a member.
            Some(b']') if at > first => return (cost, at + 1),
            Some(b'%') => {
                cost += CLASS;
                at += 2;
            }
            // A range is counted as three members and is less.
            Some(_) => {
                cost += MEMBER;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_costs_what_its_members_cost() {
        for (pattern, nanoseconds) in [
            ("", CHARACTER),
            ("abc", CHARACTER),
            ("a.-b", CHARACTER),
            ("%w+%s*", CLASS),
            ("[a]", SET + MEMBER),
            ("[^a]", SET + MEMBER),
            ("[%w_]*=(.*)", SET + CLASS + MEMBER),
            ("x[]a]y", SET + 2.0 * MEMBER),
            ("[%]a]", SET + CLASS + MEMBER),
        ] {
            assert!((heaviest(pattern.as_bytes()) - nanoseconds).abs() < 0.01, "{pattern}");
        }
    }

    #[test]
    fn a_long_set_is_heavy_and_what_is_no_pattern_does_no_harm() {
        assert!(heaviest(format!("^[{}a]*c", "b".repeat(1000)).as_bytes()) > 1000.0);
        for broken in ["[", "[^", "[]", "%", "a%", "[%", "[a%"] {
            assert!(heaviest(broken.as_bytes()) > 0.0, "{broken}");
        }
    }
}
