//! Numbers with units, as people read them.

use std::time::Duration;

use jiff::Timestamp;

/// A duration with three figures where they mean something: `0.4 ms`, `38 ms`, `1.24 s`, `2 min 5 s`.
pub(crate) fn elapsed(ms: f64) -> String {
    match ms {
        ..9.95 => format!("{:.1} ms", ms.max(0.0)),
        ..999.5 => format!("{ms:.0} ms"),
        ..9_995.0 => format!("{:.2} s", ms / 1e3),
        ..59_950.0 => format!("{:.1} s", ms / 1e3),
        _ => {
            let seconds = Duration::from_secs_f64((ms / 1e3).min(1e9)).as_secs();
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
    }
}

/// A time in UTC to the second, and how long ago: `2026-11-21T23:19:00Z (3 min ago)`.
pub(crate) fn when(ms: i64, now: Timestamp) -> String {
    match Timestamp::from_second(ms.div_euclid(1000)) {
        Ok(then) => format!("{then} ({})", age(now.as_millisecond().saturating_sub(ms))),
        Err(_) => format!("{ms} ms since 1970"),
    }
}

/// How long ago; a clock that is behind ours by less than it takes to notice is `now`.
fn age(ms: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let seconds = ms.div_euclid(1000);
    if seconds < -MINUTE {
        "in the future".into()
    } else if seconds < 1 {
        "now".into()
    } else if seconds < MINUTE {
        format!("{seconds} s ago")
    } else if seconds < HOUR {
        format!("{} min ago", seconds / MINUTE)
    } else if seconds < DAY {
        format!("{} h ago", seconds / HOUR)
    } else {
        format!("{} d ago", seconds / DAY)
    }
}

/// A size: `812 B`, `1.2 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    if bytes < KIB {
        format!("{bytes} B")
    } else if bytes < MIB {
        format!("{} KiB", tenths(KIB))
    } else {
        format!("{} MiB", tenths(MIB))
    }
}

/// `1 script`, `2 scripts`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_the_figures_that_matter() {
        let texts = [0.04, 0.42, 9.96, 38.2, 999.6, 1240.0, 38_200.0, 125_000.0].map(elapsed);
        assert_eq!(texts, ["0.0 ms", "0.4 ms", "10 ms", "38 ms", "1.00 s", "1.24 s", "38.2 s", "2 min 5 s"]);
    }

    #[test]
    fn times_are_utc_with_their_age() {
        let now: Timestamp = "2026-11-21T23:19:00Z".parse().unwrap();
        let ago = |seconds: i64| when(now.as_millisecond() - seconds * 1000, now);

        assert_eq!(ago(0), "2026-11-21T23:19:00Z (now)");
        assert_eq!(ago(59), "2026-11-21T23:18:01Z (59 s ago)");
        assert_eq!(ago(3 * 60), "2026-11-21T23:16:00Z (3 min ago)");
        assert_eq!(ago(7200), "2026-11-21T21:19:00Z (2 h ago)");
        assert_eq!(ago(86_400 * 3), "2026-11-18T23:19:00Z (3 d ago)");
        assert_eq!(ago(-5), "2026-11-21T23:19:05Z (now)");
        assert_eq!(ago(-3600), "2026-11-22T00:19:00Z (in the future)");
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!([0, 1023, 1024, 262_144, 1_572_864].map(size), ["0 B", "1023 B", "1.0 KiB", "256.0 KiB", "1.5 MiB"]);
    }
}
