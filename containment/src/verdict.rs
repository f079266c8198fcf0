//! When a case counts as contained.
//!
//! Decided from what was measured and answered, never from what an error says: its words are the script's.

use contract::Code;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::case::Case;
use crate::seen::{After, End, Run, Script, Seen, Tenant, neighbour_answer};

/// An answer may be this much over its deadline, that of the case and those of the requests after it.
pub const OVERRUN_US_MAX: u64 = 10_000;

/// What runs of one case may add to resident memory: as much as one VM may hold, and a little. The allocator keeps what it
/// thinks it will need again, so memory does not come back to the byte.
pub const MEMORY_KIB_MAX: u64 = 24 << 10;

/// What a script answers that tells of its own success.
const TELLTALES: [&str; 2] = ["ESCAPED", "LEAK"];

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", content = "why", rename_all = "snake_case")]
pub enum Verdict {
    /// It did no harm.
    Contained,
    /// It held somebody up: by how much and whom.
    Late(String),
    /// It did harm, or did not end as it should.
    NotContained(String),
}

impl Verdict {
    /// As it is printed.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Contained => "contained",
            Self::Late(_) => "late",
            Self::NotContained(_) => "not contained",
        }
    }

    /// Nothing for a contained case.
    pub fn why(&self) -> &str {
        match self {
            Self::Contained => "",
            Self::Late(why) | Self::NotContained(why) => why,
        }
    }
}

/// Judges what was seen of a case.
pub fn judge(case: &Case, seen: &Seen) -> Verdict {
    let harm = harm(case, seen);
    let late = || seen.runs.iter().find_map(late);
    match harm {
        Some(why) => Verdict::NotContained(why),
        None => late().map_or(Verdict::Contained, Verdict::Late),
    }
}

fn harm(case: &Case, seen: &Seen) -> Option<String> {
    if let Some(lost) = &seen.lost {
        return Some(lost.clone());
    }
    if seen.runs.is_empty() {
        return Some("was not run".into());
    }
    let of_runs = seen.runs.iter().find_map(|run| wrong_end(case, &run.end).or_else(|| wrong_after(case, &run.after)));
    of_runs.or_else(|| leftovers(seen))
}

fn wrong_end(case: &Case, end: &End) -> Option<String> {
    let wrong = match (end, &case.expected) {
        (End::Other(_), _) => true,
        (End::Answer(value), None) => is_telltale(value),
        // A fault of ours, which no script should be able to cause.
        (End::Problem(code, _), None) => *code == Code::Internal,
        (End::Answer(value), Some(expected)) => {
            is_telltale(value) || !expected.answer || expected.exactly.as_ref().is_some_and(|exactly| exactly != value)
        }
        (End::Problem(code, _), Some(expected)) => {
            let stopped = *code == Code::DeadlineExceeded && expected.codes.iter().any(is_limit);
            !stopped && !expected.codes.contains(code)
        }
    };
    wrong.then(|| format!("ended with {end}"))
}

/// Limits on what an execution takes. Which of them and the deadline comes first is a matter of the machine: any of them
/// ends what would go on for ever.
fn is_limit(code: &Code) -> bool {
    matches!(code, Code::MemoryExceeded | Code::OutputExceeded)
}

fn wrong_after(case: &Case, after: &[After]) -> Option<String> {
    after.iter().find_map(|after| {
        let whose = match after.tenant {
            Tenant::Same => "the same tenant",
            Tenant::Other => "another tenant",
        };
        let (right, what) = match after.script {
            Script::Neighbour => (after.end == End::Answer(neighbour_answer()), "next request"),
            Script::Probe => (probe_is_right(case, &after.end), "probe"),
        };
        (!right).then(|| format!("the {what} of {whose} ended with {}", after.end))
    })
}

fn probe_is_right(case: &Case, end: &End) -> bool {
    match (case.probe.as_ref().and_then(|probe| probe.answer.as_ref()), end) {
        (Some(answer), end) => matches!(end, End::Answer(value) if value == answer),
        (None, End::Answer(value)) => !is_telltale(value),
        (None, End::Problem(code, _)) => *code != Code::Internal,
        (None, End::Other(_)) => false,
    }
}

fn is_telltale(value: &Value) -> bool {
    value.as_str().is_some_and(|text| TELLTALES.iter().any(|telltale| text.starts_with(telltale)))
}

fn leftovers(seen: &Seen) -> Option<String> {
    if let Some((first, last)) = seen.memory_kib
        && last > first + MEMORY_KIB_MAX
    {
        return Some(format!("memory grew from {first} KiB to {last} KiB in {} runs", seen.runs.len()));
    }
    match seen.threads {
        Some((before, after)) if after < before => Some(format!("of {before} threads {after} are left")),
        _ => None,
    }
}

fn late(run: &Run) -> Option<String> {
    if run.overrun_us > OVERRUN_US_MAX {
        return Some(format!("ended {:.1} ms after its deadline", milliseconds(run.overrun_us)));
    }
    let slow = run.after.iter().find(|after| after.overrun_us > OVERRUN_US_MAX)?;
    Some(format!("the next request was answered {:.1} ms after its deadline", milliseconds(slow.overrun_us)))
}

/// Microseconds in milliseconds, for people.
pub fn milliseconds(us: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "times of a test are far below 2^53 microseconds")]
    let us = us as f64;
    us / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TELLING: &str = "return 'x'\n--@ probe\nreturn 'y'";
    const PROMISING: &str =
        "-- promise: p\n-- expect: deadline_exceeded\nx\n-- probe: 1\nreturn function() return 1 end";

    /// The verdict on a single run of `text` that is as it should be, but for what `change` does to it.
    fn verdict(text: &str, change: impl FnOnce(&mut Seen)) -> String {
        let case = Case::parse("x", text).unwrap();
        let probe = if text == TELLING { "y".into() } else { Value::from(1) };
        let after = [(Script::Probe, probe), (Script::Neighbour, neighbour_answer())];
        let after = after.map(|(script, answer)| After {
            tenant: Tenant::Other,
            script,
            end: End::Answer(answer),
            wall_us: 100,
            overrun_us: 0,
        });
        let end = if text == TELLING { End::Answer("x".into()) } else { problem(Code::DeadlineExceeded) };
        let run = Run { end, wall_us: 60_000, cpu_us: 50_100, overrun_us: 100, after: after.into() };
        let mut seen = Seen { runs: vec![run], memory_kib: Some((10_000, 11_000)), threads: Some((4, 4)), lost: None };
        change(&mut seen);
        let verdict = judge(&case, &seen);
        format!("{}: {}", verdict.word(), verdict.why())
    }

    fn problem(code: Code) -> End {
        End::Problem(code, "ESCAPED, or so it says".into())
    }

    #[test]
    fn what_ends_as_it_should_is_contained_whatever_an_error_says() {
        assert_eq!(verdict(TELLING, |_| {}), "contained: ");
        assert_eq!(verdict(PROMISING, |_| {}), "contained: ");
        assert_eq!(verdict(TELLING, |seen| seen.runs[0].end = problem(Code::ScriptError)), "contained: ");
    }

    #[test]
    fn on_a_slow_machine_the_deadline_may_come_before_another_limit() {
        let expecting = |code: &str| {
            let case = Case::parse("x", &format!("-- promise: p\n-- expect: {code}\nreturn function() end")).unwrap();
            wrong_end(&case, &problem(Code::DeadlineExceeded)).is_none()
        };

        assert!(expecting("output_exceeded") && expecting("memory_exceeded, script_error"));
        assert!(!expecting("script_error") && !expecting("answer"));
    }

    #[test]
    fn what_tells_of_its_success_is_not_contained() {
        for text in ["ESCAPED io", "LEAK: 7"] {
            let verdict = |script| verdict(script, |seen| seen.runs[0].end = End::Answer(text.into()));
            assert!(verdict(TELLING).starts_with("not contained: ended with answer"));
            assert!(verdict(PROMISING).starts_with("not contained: ended with answer"));
        }
        let of_probe = verdict(TELLING, |seen| seen.runs[0].after[0].end = End::Answer("LEAK".into()));
        insta::assert_snapshot!(of_probe, @r#"not contained: the probe of another tenant ended with answer "LEAK""#);
    }

    #[test]
    fn harm_of_every_kind_is_told() {
        let told = [
            verdict(PROMISING, |seen| seen.lost = Some("the process died: signal 6".into())),
            verdict(PROMISING, |seen| seen.runs.clear()),
            verdict(PROMISING, |seen| seen.runs[0].end = problem(Code::ScriptError)),
            verdict(PROMISING, |seen| seen.runs[0].end = End::Answer(1.into())),
            verdict(TELLING, |seen| seen.runs[0].end = problem(Code::Internal)),
            verdict(TELLING, |seen| seen.runs[0].end = End::Other("no answer in 20 s".into())),
            verdict(TELLING, |seen| seen.runs[0].after[1].end = End::Answer(Value::Null)),
            verdict(TELLING, |seen| seen.memory_kib = Some((10_000, 35_000))),
            verdict(TELLING, |seen| seen.threads = Some((4, 3))),
        ];
        insta::assert_snapshot!(told.join("\n"), @r"
        not contained: the process died: signal 6
        not contained: was not run
        not contained: ended with script_error: ESCAPED, or so it says
        not contained: ended with answer 1
        not contained: ended with internal: ESCAPED, or so it says
        not contained: ended with no answer in 20 s
        not contained: the next request of another tenant ended with answer null
        not contained: memory grew from 10000 KiB to 35000 KiB in 1 runs
        not contained: of 4 threads 3 are left
        ");
    }

    #[test]
    fn what_holds_others_up_is_late() {
        insta::assert_snapshot!(
            verdict(TELLING, |seen| seen.runs[0].overrun_us = 12_000),
            @"late: ended 12.0 ms after its deadline"
        );
        insta::assert_snapshot!(
            verdict(TELLING, |seen| seen.runs[0].after[1].overrun_us = 30_000),
            @"late: the next request was answered 30.0 ms after its deadline"
        );
    }
}
