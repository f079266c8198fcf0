//! The project's own collection, `sandbox/cases`, run by the library.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use containment::{Case, Verdict, case, judge, library};

/// One for each core of a small machine: more would only take time from each other.
const AT_ONCE: usize = 2;

fn contained_case() -> Command {
    Command::new(env!("CARGO_BIN_EXE_contained-case"))
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../sandbox/cases"))
}

/// Being late is a matter of the machine here, where other tests run; `cargo xtask sandbox-cases` tells about that.
#[test]
fn every_case_is_contained() {
    let cases = case::read_folder(folder()).unwrap();
    let (queue, escaped) = (Mutex::new(cases.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().unwrap().next() else { break };
                    let seen = library::run(contained_case(), case, 2).unwrap();
                    if let Verdict::NotContained(why) = judge(case, &seen) {
                        escaped.lock().unwrap().push(format!("{}: {why}", case.name));
                    }
                }
            });
        }
    });
    let escaped = escaped.into_inner().unwrap();
    assert!(escaped.is_empty(), "{} of {} cases:\n{}", escaped.len(), cases.len(), escaped.join("\n"));
}

#[test]
fn a_hundred_deaths_by_memory_leave_no_memory_behind() {
    for name in ["memory/tables", "output/shared-parts", "errors/huge-text"] {
        let text = fs_err::read_to_string(folder().join(name).with_extension("luau")).unwrap();
        let case = Case::parse(name, &text).unwrap();

        let seen = library::run(contained_case(), &case, 100).unwrap();

        assert_eq!(seen.runs.len(), 100, "{name}: {seen:?}");
        assert!(!matches!(judge(&case, &seen), Verdict::NotContained(_)), "{name}: {:?}", judge(&case, &seen));
    }
}

#[test]
fn a_process_that_dies_is_seen_and_not_waited_for() {
    let case = Case::parse("x", "return 1").unwrap();

    let seen = library::run(Command::new("false"), &case, 1).unwrap();

    insta::assert_debug_snapshot!(judge(&case, &seen), @r#"
    NotContained(
        "the process died: exit status: 1",
    )
    "#);
}

#[test]
fn a_case_that_breaks_its_promise_is_told() {
    let judged = |text: &str| {
        let case = Case::parse("x", text).unwrap();
        let verdict = judge(&case, &library::run(contained_case(), &case, 1).unwrap());
        format!("{}: {}", verdict.word(), verdict.why())
    };

    insta::assert_snapshot!(
        judged("-- promise: it fails\n-- expect: deadline_exceeded\nerror('no')"),
        @"not contained: ended with script_error: case.luau:3: no"
    );
    insta::assert_snapshot!(
        judged("-- promise: it leaks\n-- expect: answer\nreturn function() end\n-- probe: 1\nreturn function() return 2 end"),
        @"not contained: the probe of the same tenant ended with answer 2"
    );
    insta::assert_snapshot!(judged("return 'ESCAPED ' .. 1"), @r#"not contained: ended with answer "ESCAPED 1""#);
}
