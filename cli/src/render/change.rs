//! What a push, a rollback or a removal did.

use contract::api::{Activation, ChangeAnswer, Laggard, Live};

use super::style::{GOOD, clean, paint};
use super::units::{count, elapsed};

/// Laggards told one by one; a stack that has more has one common cause.
const LAGGARDS_MAX: usize = 20;

/// A change that is done: live everywhere, or committed and not waited for.
pub(crate) fn done(answer: &ChangeAnswer) -> String {
    let release = format!("release {}", answer.release);
    let first = match &answer.live {
        Some(live) => format!(
            "{} live on {}/{} in {}{}",
            paint(GOOD, &release),
            live.acknowledged,
            count(live.executors as usize, "executor"),
            elapsed(live.elapsed_ms),
            mode(answer)
        ),
        None if answer.unchanged => format!("{} unchanged", paint(GOOD, &release)),
        None => format!("{} committed{}", paint(GOOD, &release), mode(answer)),
    };
    format!("{first}\n  {}\n", content(answer))
}

/// How far a change came that is committed, but not live everywhere: one sentence.
pub(crate) fn not_live(answer: &ChangeAnswer, live: &Live) -> String {
    if live.executors == 0 {
        return format!("release {} is committed, but no executor is connected that could run it", answer.release);
    }
    format!(
        "release {} is committed, but live on only {} of {} after {}{}",
        answer.release,
        live.acknowledged,
        count(live.executors as usize, "executor"),
        elapsed(live.elapsed_ms),
        mode(answer)
    )
}

/// What runs now: `acme/risk version ba7816bf8f01, generation 7`.
pub(crate) fn content(answer: &ChangeAnswer) -> String {
    let script = format!("{}/{}", answer.tenant, answer.script);
    match (&answer.version, answer.generation) {
        (Some(version), Some(generation)) => {
            let already = if answer.unchanged { "already runs " } else { "" };
            format!("{script} {already}version {}, generation {generation}", version.short())
        }
        _ => format!("{script} is not in the release"),
    }
}

/// Who does not run it and why, one line each.
pub(crate) fn laggards(laggards: &[Laggard]) -> Vec<String> {
    let mut lines: Vec<String> = laggards
        .iter()
        .take(LAGGARDS_MAX)
        .map(|laggard| clean(&format!("{} on {}: {}", laggard.executor, laggard.node, laggard.reason)).into_owned())
        .collect();
    if laggards.len() > LAGGARDS_MAX {
        lines.push(format!("and {} more", laggards.len() - LAGGARDS_MAX));
    }
    lines
}

fn mode(answer: &ChangeAnswer) -> &'static str {
    match answer.activation {
        Activation::Live => "",
        Activation::Rolling => " (rolling)",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use contract::Version;

    use super::super::style::plain;
    use super::*;

    /// A push of `acme/risk` that made release 417.
    pub(crate) fn answer() -> ChangeAnswer {
        ChangeAnswer {
            tenant: "acme".parse().unwrap(),
            script: "risk".parse().unwrap(),
            version: Some(Version::of(b"abc")),
            generation: Some(1_718_000_000_000_001),
            release: 417,
            unchanged: false,
            activation: Activation::Live,
            live: None,
        }
    }

    fn live(acknowledged: u32, executors: u32) -> Option<Live> {
        let laggards = (acknowledged..executors)
            .map(|number| Laggard {
                executor: format!("executor-{number}"),
                node: "node-b".into(),
                reason: "feed lost 1.2 s ago".into(),
            })
            .collect();
        Some(Live { executors, acknowledged, elapsed_ms: 38.2, laggards })
    }

    #[test]
    fn a_change_that_is_live_everywhere_says_so_with_its_time() {
        insta::assert_snapshot!(plain(&done(&ChangeAnswer { live: live(6, 6), ..answer() })), @"
        release 417 live on 6/6 executors in 38 ms
          acme/risk version ba7816bf8f01, generation 1718000000000001
        ");
    }

    #[test]
    fn a_change_that_nobody_waits_for_is_only_committed() {
        insta::assert_snapshot!(plain(&done(&answer())), @"
        release 417 committed
          acme/risk version ba7816bf8f01, generation 1718000000000001
        ");
    }

    #[test]
    fn a_push_of_what_already_runs_changes_nothing() {
        let unchanged = ChangeAnswer { unchanged: true, ..answer() };

        insta::assert_snapshot!(plain(&done(&unchanged)), @"
        release 417 unchanged
          acme/risk already runs version ba7816bf8f01, generation 1718000000000001
        ");
        insta::assert_snapshot!(plain(&done(&ChangeAnswer { live: live(1, 1), ..unchanged })), @"
        release 417 live on 1/1 executor in 38 ms
          acme/risk already runs version ba7816bf8f01, generation 1718000000000001
        ");
    }

    #[test]
    fn a_rolling_activation_is_named() {
        let rolling = ChangeAnswer { activation: Activation::Rolling, live: live(6, 6), ..answer() };

        assert!(done(&rolling).contains("in 38 ms (rolling)"));
    }

    #[test]
    fn a_removal_names_the_script_that_went() {
        insta::assert_snapshot!(plain(&done(&ChangeAnswer { version: None, generation: None, ..answer() })), @"
        release 417 committed
          acme/risk is not in the release
        ");
    }

    #[test]
    fn laggards_are_named_up_to_a_bound() {
        let few = live(4, 6).unwrap();
        insta::assert_snapshot!(not_live(&answer(), &few), @"release 417 is committed, but live on only 4 of 6 executors after 38 ms");
        assert_eq!(laggards(&few.laggards)[1], "executor-5 on node-b: feed lost 1.2 s ago");

        let many = live(0, 500).unwrap();
        assert_eq!(laggards(&many.laggards).len(), 21);
        assert_eq!(laggards(&many.laggards)[20], "and 480 more");
    }

    #[test]
    fn a_stack_without_executors_runs_nothing() {
        insta::assert_snapshot!(not_live(&answer(), &live(0, 0).unwrap()), @"release 417 is committed, but no executor is connected that could run it");
    }
}
