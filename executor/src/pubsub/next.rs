//! What becomes of a message whose execution did not succeed. Pure.

use std::time::Duration;

use contract::Code;

/// How long a message is kept for an executor that can't take it now. The lease is extended meanwhile; what is above
/// this is not a moment of load, and another executor may have room.
const KEPT_MAX: Duration = Duration::from_secs(120);

/// Before a message is given back over a fault of ours: so that it does not come back at once, again and again.
const RETURN_AFTER: Duration = Duration::from_secs(1);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Try again here, after a moment.
    Again,
    /// Give it back to Pub/Sub, after this long.
    Return(Duration),
    /// Acknowledge it: nothing would ever come of it.
    Drop,
}

/// Decides for a message that has been kept for `kept`. `dead_letters`: the subscription moves messages on that were
/// given back too often.
pub(super) fn next(code: Code, dead_letters: bool, kept: Duration) -> Next {
    match code {
        Code::Overloaded | Code::NotReady if kept < KEPT_MAX => Next::Again,
        Code::Overloaded | Code::NotReady => Next::Return(Duration::ZERO),
        Code::Internal | Code::Suspended => Next::Return(RETURN_AFTER),
        _ if dead_letters => Next::Return(Duration::ZERO),
        _ => Next::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_waited_for_without_using_an_attempt() {
        for code in [Code::Overloaded, Code::NotReady] {
            for dead_letters in [true, false] {
                assert_eq!(next(code, dead_letters, Duration::ZERO), Next::Again);
                assert_eq!(next(code, dead_letters, KEPT_MAX), Next::Return(Duration::ZERO));
            }
        }
    }

    #[test]
    fn what_is_our_fault_or_switched_off_is_never_dropped() {
        for code in [Code::Internal, Code::Suspended] {
            for dead_letters in [true, false] {
                assert_eq!(next(code, dead_letters, Duration::ZERO), Next::Return(RETURN_AFTER));
            }
        }
    }

    #[test]
    fn what_stays_wrong_goes_to_the_dead_letters_or_away() {
        let stays = [
            Code::UnknownTenant,
            Code::UnknownScript,
            Code::BadJson,
            Code::BadRequest,
            Code::TooLarge,
            Code::ScriptError,
            Code::DeadlineExceeded,
            Code::MemoryExceeded,
            Code::OutputExceeded,
            Code::ResultInvalid,
            Code::RejectedByMiddleware,
        ];
        for code in stays {
            assert_eq!(next(code, true, Duration::ZERO), Next::Return(Duration::ZERO), "{code}");
            assert_eq!(next(code, false, Duration::ZERO), Next::Drop, "{code}");
        }
    }
}
