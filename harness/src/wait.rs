//! Waiting on facts: with a deadline, and telling the last state seen when it passes.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks. Small against everything that is waited for here, large against the cost of a look.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Asks `look` until it gives a value.
///
/// # Errors
/// `deadline` passed; the error names `what` and the last thing `look` said.
pub async fn wait_until<T, E: Display>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let patience = Patience::new(what, deadline);
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(last) => patience.again(last).await?,
        }
    }
}

/// A wait that has begun, for loops that may also end in other ways than [`wait_until`] knows.
#[derive(Debug)]
pub(crate) struct Patience {
    what: String,
    deadline: Duration,
    start: Instant,
}

impl Patience {
    pub(crate) fn new(what: impl Into<String>, deadline: Duration) -> Self {
        Self { what: what.into(), deadline, start: Instant::now() }
    }

    /// To be called after a look that did not show what is waited for, but `last`; returns when it is time to look again.
    pub(crate) async fn again(&self, last: impl Display) -> Result<()> {
        if self.start.elapsed() > self.deadline {
            bail!("waited {:?} for: {}; last seen: {last}", self.deadline, self.what);
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_look_is_told_when_the_deadline_is_over() {
        let error =
            wait_until("3 nodes are READY", Duration::ZERO, async || Err::<(), _>("n3: DOWN")).await.unwrap_err();

        insta::assert_snapshot!(error, @"waited 0ns for: 3 nodes are READY; last seen: n3: DOWN");
    }
}
