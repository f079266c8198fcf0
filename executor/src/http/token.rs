//! The token of the HTTP API and of the feed: `authorization: Bearer TOKEN`.

use std::fmt;
use std::hint::black_box;

use http::HeaderValue;

/// A shared secret. It is never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token in the text of its file; `None` unless that is one line of visible ASCII.
    pub fn parse(text: &str) -> Option<Self> {
        let token = text.trim();
        (!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(token.to_owned()))
    }

    /// What a client sends.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether `header` shows this token. Takes the same time for every wrong token of the same length.
    pub fn is_shown_by(&self, header: Option<&HeaderValue>) -> bool {
        let shown = header.and_then(|value| value.as_bytes().split_at_checked("Bearer ".len()));
        shown.is_some_and(|(scheme, token)| scheme.eq_ignore_ascii_case(b"Bearer ") && same(token, self.0.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Compares without a branch on the content; `black_box` keeps the compiler from adding one.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differing, (a, b)| black_box(differing | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_taken() {
        let token = Token::parse(" s3cret\n").unwrap();

        for (header, taken) in [
            (Some("Bearer s3cret"), true),
            (Some("bearer s3cret"), true),
            (Some("Bearer s3cre"), false),
            (Some("Bearer s3crets"), false),
            (Some("Basic s3cret"), false),
            (Some("s3cret"), false),
            (None, false),
        ] {
            let value = header.map(HeaderValue::from_static);
            assert_eq!(token.is_shown_by(value.as_ref()), taken, "{header:?}");
        }
    }

    #[test]
    fn a_token_is_never_printed_and_never_empty() {
        assert_eq!(format!("{:?}", Token::parse("s3cret")), "Some(Token(..))");
        assert!(Token::parse(" \n").is_none());
        assert!(Token::parse("two words").is_none());
    }
}
