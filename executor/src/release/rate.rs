//! How often executions may begin.

use std::num::NonZeroU32;
use std::time::Duration;

use contract::policy::{Layer, Rate, Set};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// Counts executions against a [`Rate`]. One number that is exchanged atomically, however many threads ask.
pub(crate) struct Limiter<C: Clock = DefaultClock> {
    rate: Set<Rate>,
    clock: C,
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
}

/// An execution that may not begin yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TooFast {
    /// How often it may.
    pub(crate) rate: Rate,
    /// Who says so.
    pub(crate) from: Layer,
    /// When the next may.
    pub(crate) after: Duration,
}

impl Limiter {
    /// A new one, with the whole burst to spend.
    pub(crate) fn new(rate: Set<Rate>) -> Self {
        Self::with_clock(rate, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limiter<C> {
    fn with_clock(rate: Set<Rate>, clock: C) -> Self {
        let period = Duration::from_secs_f64(rate.value.per_second.recip());
        let burst = NonZeroU32::new(rate.value.burst).unwrap_or(NonZeroU32::MIN);
        // One each period, not a burst each period.
        let quota = Quota::with_period(period).expect("a policy has no rate above a million").allow_burst(burst);
        Self { rate, limiter: RateLimiter::direct_with_clock(quota, clock.clone()), clock }
    }

    /// What it counts against.
    pub(crate) fn rate(&self) -> Set<Rate> {
        self.rate
    }

    /// Counts one.
    ///
    /// # Errors
    /// [`TooFast`]; then it is not counted.
    pub(crate) fn admit(&self) -> Result<(), TooFast> {
        self.limiter.check().map_err(|until| {
            let after = until.wait_time_from(self.clock.now());
            TooFast { rate: self.rate.value, from: self.rate.from, after }
        })
    }
}

impl<C: Clock> std::fmt::Debug for Limiter<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Limiter({})", self.rate)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limiter(per_second: f64, burst: u32) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let rate = Set { value: Rate { per_second, burst }, from: Layer::Tenant };
        (Limiter::with_clock(rate, clock.clone()), clock)
    }

    fn admitted(limiter: &Limiter<FakeRelativeClock>) -> usize {
        std::iter::from_fn(|| limiter.admit().ok()).take(10_000).count()
    }

    #[test]
    fn a_burst_passes_and_then_so_many_per_second() {
        let (limiter, clock) = limiter(10.0, 3);
        assert_eq!(admitted(&limiter), 3);

        clock.advance(Duration::from_millis(100));
        assert_eq!(admitted(&limiter), 1);
        clock.advance(Duration::from_millis(250));
        assert_eq!(admitted(&limiter), 2);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(admitted(&limiter), 3);
    }

    #[test]
    fn who_is_refused_is_told_when_the_next_may_begin() {
        let (limiter, clock) = limiter(0.5, 1);
        limiter.admit().unwrap();
        clock.advance(Duration::from_millis(500));

        let refused = limiter.admit().unwrap_err();

        assert_eq!((refused.after, refused.from), (Duration::from_millis(1500), Layer::Tenant));
        clock.advance(refused.after);
        assert_eq!(admitted(&limiter), 1);
    }
}
