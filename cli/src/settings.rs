//! What the command line meant: whom to talk to, with which token, and how to speak.
//!
//! Resolves [`crate::cli`] once; everything else gets the result passed.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use reqwest::Url;

use crate::cli::{Call, Color, Globals};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::files;

/// A token is a line, not a file of megabytes given by mistake.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// Which kind of program is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Keeps releases.
    Manager,
    /// Runs scripts.
    Executor,
}

impl Peer {
    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Executor => "executor",
        }
    }

    /// The flag that says where it is.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::Manager => "--manager",
            Self::Executor => "--executor",
        }
    }

    /// The flag that says with which token to ask it.
    pub(crate) fn token_flag(self) -> &'static str {
        match self {
            Self::Manager => "--token-file",
            Self::Executor => "--executor-token-file",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a program answers, and how to ask it.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Which kind of program.
    pub(crate) peer: Peer,
    /// Its base address.
    pub(crate) url: Url,
    /// What it wants to be shown.
    pub(crate) token: Option<Token>,
    /// Longest time for one request, beyond what it was asked to wait.
    pub(crate) timeout: Duration,
}

impl Endpoint {
    /// The address as people write it: without the `/` at the end.
    pub(crate) fn address(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }
}

/// A bearer token. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// The value of the `authorization` header.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The manager that the flags name.
///
/// # Errors
/// A token file was named and cannot be used.
pub(crate) fn manager(globals: &Globals) -> Result<Endpoint, Failure> {
    let token = match (&globals.token_file, &globals.token) {
        (Some(file), _) => Some(token_of(file)?),
        (None, Some(text)) => Some(token(text, "MOONSWARM_TOKEN")?),
        (None, None) => None,
    };
    Ok(Endpoint { peer: Peer::Manager, url: globals.manager.clone(), token, timeout: globals.timeout })
}

/// The executor that the flags name.
///
/// # Errors
/// A token file was named and cannot be used.
pub(crate) fn executor(globals: &Globals, call: &Call) -> Result<Endpoint, Failure> {
    let token = call.executor_token_file.as_deref().map(token_of).transpose()?;
    Ok(Endpoint { peer: Peer::Executor, url: call.executor.clone(), token, timeout: globals.timeout })
}

/// Makes `--color` hold for everything that is printed from now on.
pub(crate) fn apply_color(color: Color) {
    match color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

fn token_of(file: &Path) -> Result<Token, Failure> {
    let fault = |message: String| Failure::new(Exit::Usage, "usage", message);
    let bytes = files::read(file, TOKEN_BYTES_MAX).map_err(|err| fault(format!("cannot use the token file: {err}")))?;
    token(&String::from_utf8_lossy(&bytes), &format!("token file `{}`", file.display()))
}

/// `text` without the white space around it, if a header can carry it.
fn token(text: &str, origin: &str) -> Result<Token, Failure> {
    let fault = |message: String| {
        Failure::new(Exit::Usage, "usage", message).hint("a token is one line of visible ASCII characters")
    };
    match text.trim() {
        "" => Err(fault(format!("{origin} is empty"))),
        text if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Token(text.to_owned())),
        _ => Err(fault(format!("{origin} holds characters that are not allowed in a token"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_trimmed_and_never_shown() {
        let token = token(" s3cret\n", "MOONSWARM_TOKEN").unwrap();

        assert_eq!(token.header(), "Bearer s3cret");
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn a_text_that_no_header_carries_is_refused_with_its_origin() {
        let message = |text| token(text, "MOONSWARM_TOKEN").unwrap_err().text();

        assert!(message("\n").contains("MOONSWARM_TOKEN is empty"));
        assert!(message("a\nb").contains("not allowed in a token"));
        assert!(!message("a\nb").contains("a\nb"));
    }
}
