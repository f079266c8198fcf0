//! Bearer tokens: who may speak to the API and to the feed.
//!
//! A token is the trimmed content of a file. It is never logged and never repeated in an error.

use std::hint::black_box;

/// A shared secret.
#[derive(Clone)]
pub struct Token(String);

/// A file content that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing in it.
    #[error("the token is empty")]
    Empty,
    /// It could not travel in a header.
    #[error("the token has characters other than visible ASCII")]
    Characters,
}

impl Token {
    /// The token in a file's content.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Characters);
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether an `authorization` header shows this token. Takes equally long for every wrong token of one length.
    pub fn is_shown_in(&self, authorization: Option<&[u8]>) -> bool {
        let Some(shown) = authorization.and_then(|value| value.strip_prefix(b"Bearer ")) else {
            return false;
        };
        let (ours, shown) = (self.0.as_bytes(), shown.trim_ascii());
        if ours.len() != shown.len() {
            return false;
        }
        let difference = ours.iter().zip(shown).fold(0, |sum, (ours, shown)| black_box(sum | (ours ^ shown)));
        black_box(difference) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_opens() {
        let token = Token::parse("s3cret\n").unwrap();

        assert!(token.is_shown_in(Some(b"Bearer s3cret")));
        for wrong in [&b"Bearer s3creT"[..], b"Bearer s3cret2", b"Bearer ", b"Basic s3cret", b"s3cret", b""] {
            assert!(!token.is_shown_in(Some(wrong)), "{:?}", String::from_utf8_lossy(wrong));
        }
        assert!(!token.is_shown_in(None));
    }

    #[test]
    fn empty_and_odd_files_are_no_tokens_and_a_token_does_not_show_itself() {
        assert_eq!(Token::parse(" \n").unwrap_err(), TokenError::Empty);
        assert_eq!(Token::parse("a b").unwrap_err(), TokenError::Characters);
        assert_eq!(format!("{:?}", Token::parse("s3cret").unwrap()), "Token");
    }
}
