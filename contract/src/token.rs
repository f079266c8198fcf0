//! The shared secret that callers of an HTTP face or of the feed show: `authorization: Bearer TOKEN` (RFC 6750 §2.1).
//!
//! A token is the trimmed content of a file. It is never logged and never repeated in an error.

use std::fmt;
use std::hint::black_box;

/// What comes before the token in a header, in any case (RFC 9110 §11.1).
const SCHEME: &[u8] = b"Bearer ";

/// A shared secret. It is never printed.
#[derive(Clone)]
pub struct Token(String);

/// A file content that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing in it.
    #[error("the token is empty; expected one line, such as a long random word")]
    Empty,
    /// It could not travel in a header.
    #[error("the token has characters other than visible ASCII; expected one line, such as a long random word")]
    Characters,
}

impl Token {
    /// The token in a file's content.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let token = text.trim();
        if token.is_empty() {
            return Err(TokenError::Empty);
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Characters);
        }
        Ok(Self(token.to_owned()))
    }

    /// The value of the header `authorization` that shows this token.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether the value of a header `authorization` shows this token. Takes equally long for every wrong token of one
    /// length.
    pub fn is_shown_in(&self, authorization: Option<&[u8]>) -> bool {
        let shown = authorization.and_then(|value| value.split_at_checked(SCHEME.len()));
        shown.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(SCHEME) && same(token.trim_ascii(), self.0.as_bytes())
        })
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
    fn only_the_very_token_opens() {
        let token = Token::parse(" s3cret\n").unwrap();

        for right in ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret"] {
            assert!(token.is_shown_in(Some(right.as_bytes())), "{right}");
        }
        for wrong in ["Bearer s3creT", "Bearer s3cre", "Bearer s3crets", "Bearer ", "Basic s3cret", "s3cret", ""] {
            assert!(!token.is_shown_in(Some(wrong.as_bytes())), "{wrong}");
        }
        assert!(!token.is_shown_in(None));
    }

    #[test]
    fn what_is_sent_is_what_opens() {
        let token = Token::parse("s3cret").unwrap();
        assert!(token.is_shown_in(Some(token.bearer().as_bytes())));
    }

    #[test]
    fn empty_and_odd_files_are_no_tokens_and_a_token_does_not_show_itself() {
        assert_eq!(Token::parse(" \n").unwrap_err(), TokenError::Empty);
        assert_eq!(Token::parse("two words").unwrap_err(), TokenError::Characters);
        assert_eq!(format!("{:?}", Token::parse("s3cret").unwrap()), "Token(..)");
    }
}
