//! From an answer that is no success to what the author is told: whose fault it is, what is true now, what to do next.

use contract::Code;

use crate::client::ClientError;
use crate::exit::Exit;
use crate::failure::{Failure, root_cause};
use crate::settings::Endpoint;

/// What was asked for when it failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deed<'a> {
    /// For the headline, after `cannot`: push `acme/risk`.
    pub(crate) doing: &'a str,
    /// Whom it was asked of.
    pub(crate) endpoint: &'a Endpoint,
    /// For a change: the command that shows whether it happened.
    pub(crate) look: Option<&'a str>,
}

impl Deed<'_> {
    /// The failure to tell.
    pub(crate) fn failed(&self, err: ClientError) -> Failure {
        let doing = self.doing;
        let Endpoint { peer, timeout, .. } = self.endpoint;
        let headline = match root_cause(&err) {
            cause if std::error::Error::source(&err).is_some() => format!("cannot {doing}: {err}: {cause}"),
            _ => format!("cannot {doing}: {err}"),
        };
        match err {
            ClientError::Problem(problem) => {
                let code = problem.code;
                let failure =
                    Failure::from_problem(exit_of(code), doing, *problem).fact(peer.name(), self.endpoint.address());
                match (code, self.look) {
                    (Code::Unauthenticated, _) => {
                        failure.hint(format!("name the file with the {peer}'s token with {}", peer.token_flag()))
                    }
                    (Code::Conflict, Some(look)) => failure.hint(format!("look at what runs now with {look}")),
                    _ => failure,
                }
            }
            ClientError::Unreachable { .. } => {
                let mut failure = Failure::new(Exit::Unreachable, "unreachable", headline);
                if self.look.is_some() {
                    failure = failure.fact("nothing was sent", "what ran still runs");
                }
                failure.hint(format!(
                    "is `cargo xtask dev` running? Otherwise say where the {peer} is with {}",
                    peer.flag()
                ))
            }
            ClientError::TimedOut { .. } => self
                .unknown(Failure::new(Exit::Unreachable, "timed_out", headline))
                .hint(format!("give it more time with --timeout; now it is {}", humantime::format_duration(*timeout))),
            ClientError::Lost { .. } => {
                self.unknown(Failure::new(Exit::Unreachable, "connection_lost", headline)).hint("try again")
            }
            ClientError::Foreign { status, .. } => {
                // A proxy in front says so when there is nobody behind it.
                let exit = if matches!(status.as_u16(), 502..=504) { Exit::Unreachable } else { Exit::Other };
                self.unknown(Failure::new(exit, "not_moonswarm", headline))
                    .hint(format!("check that {} names a Moonswarm {peer} of this release", peer.flag()))
            }
            ClientError::Setup(..) | ClientError::TooLong(_) => Failure::new(Exit::Other, "client", headline),
        }
    }

    /// A change that was sent and not answered may have happened: tell so, and how to find out.
    fn unknown(&self, failure: Failure) -> Failure {
        match self.look {
            Some(look) => {
                failure.fact("not known", "whether the change was made").hint(format!("find out with {look}"))
            }
            None => failure,
        }
    }
}

/// The exit code that goes with a problem.
pub(crate) fn exit_of(code: Code) -> Exit {
    match code {
        Code::Conflict => Exit::Conflict,
        Code::ScriptRefused
        | Code::ScriptError
        | Code::DeadlineExceeded
        | Code::MemoryExceeded
        | Code::OutputExceeded
        | Code::ResultInvalid => Exit::Script,
        _ => Exit::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use contract::Problem;

    use super::*;
    use crate::render::style::plain;
    use crate::settings::Peer;

    fn endpoint() -> Endpoint {
        Endpoint {
            peer: Peer::Manager,
            url: "http://127.0.0.1:7700".parse().unwrap(),
            token: None,
            timeout: Duration::from_secs(30),
        }
    }

    fn told(err: ClientError) -> String {
        let endpoint = endpoint();
        let deed = Deed {
            doing: "push `acme/risk`",
            endpoint: &endpoint,
            look: Some("`moonswarm versions risk --tenant acme`"),
        };
        let failure = deed.failed(err);
        format!("{}exit {}", plain(&failure.text()), failure.exit.number())
    }

    #[test]
    fn a_change_without_answer_may_have_happened() {
        let err =
            ClientError::TimedOut { peer: Peer::Manager, url: endpoint().address(), after: Duration::from_secs(60) };

        insta::assert_snapshot!(told(err), @"
        error: cannot push `acme/risk`: the manager at http://127.0.0.1:7700 gave no answer within 1m
          not known: whether the change was made

        hint: find out with `moonswarm versions risk --tenant acme`
        exit 6
        ");
    }

    #[test]
    fn a_conflict_says_who_and_where_to_look() {
        let problem = Problem::new(Code::Conflict, "generation 8 runs, not 7; pushed by bob");

        insta::assert_snapshot!(told(ClientError::Problem(Box::new(problem))), @"
        error: cannot push `acme/risk`: generation 8 runs, not 7; pushed by bob
          manager: http://127.0.0.1:7700

        hint: look at what runs now with `moonswarm versions risk --tenant acme`
        exit 4
        ");
    }

    #[test]
    fn a_missing_token_is_asked_for() {
        let problem = Problem::new(Code::Unauthenticated, "no token was shown");

        insta::assert_snapshot!(told(ClientError::Problem(Box::new(problem))), @"
        error: cannot push `acme/risk`: no token was shown
          manager: http://127.0.0.1:7700

        hint: name the file with the manager's token with --token-file
        exit 1
        ");
    }

    #[test]
    fn another_web_server_is_recognised() {
        let err = |status| ClientError::Foreign {
            peer: Peer::Manager,
            url: endpoint().address(),
            status,
            excerpt: "<html> It works!".into(),
        };

        insta::assert_snapshot!(told(err(reqwest::StatusCode::NOT_FOUND)), @"
        error: cannot push `acme/risk`: http://127.0.0.1:7700 answered 404 Not Found, but not as a Moonswarm manager does: <html> It works!
          not known: whether the change was made

        hint: find out with `moonswarm versions risk --tenant acme`
        exit 1
        ");
        assert!(told(err(reqwest::StatusCode::BAD_GATEWAY)).ends_with("exit 6"));
    }

    #[test]
    fn faults_of_a_script_are_kept_apart_from_faults_of_a_call() {
        assert_eq!(exit_of(Code::ScriptError), Exit::Script);
        assert_eq!(exit_of(Code::DeadlineExceeded), Exit::Script);
        assert_eq!(exit_of(Code::BadJson), Exit::Other);
        assert_eq!(exit_of(Code::UnknownScript), Exit::Other);
    }
}
