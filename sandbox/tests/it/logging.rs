//! What a script logs.

use sandbox::Limits;

use crate::{at_desk, roomy};

#[track_caller]
fn check(source: &str, expected: &[&str]) {
    at_desk(roomy(), |desk| {
        let execution = desk.run(source, "");
        assert!(execution.outcome.is_ok(), "{:?}", execution.outcome);
        let lines: Vec<_> =
            execution.log.iter().map(|line| format!("{} {}", line.level.as_str(), line.message)).collect();
        assert_eq!(lines, expected);
        assert_eq!(execution.log_dropped, 0);
    });
}

#[test]
fn the_context_logs_at_four_levels() {
    check(
        "return function(_, ctx) ctx.log.debug('a', 1, true) ctx.log.info(nil) ctx.log.warn('w') ctx.log.error('e') end",
        &["debug a\t1\ttrue", "info nil", "warn w", "error e"],
    );
}

#[test]
fn the_founding_functions_log_as_they_always_did() {
    check(
        "host_log('info', 'one') host_log('warn', 'two') host_log('loud', 3) host_log('error')
         io.write('a', 1, '\\n'):write('b') print('x', 2) result = {}",
        &["info one", "warn two", "info 3", "error ", "info a1", "info b", "info x\t2"],
    );
}

#[test]
fn a_flood_is_dropped_and_counted() {
    at_desk(Limits { log_bytes: 1000, ..roomy() }, |desk| {
        let execution = desk.run("for i = 1, 100 do print(('p'):rep(68)) end result = {}", "");

        assert!(execution.outcome.is_ok());
        assert_eq!((execution.log.len(), execution.log_dropped), (10, 90));
    });
}

#[test]
fn the_log_is_kept_when_the_script_fails_and_gone_in_the_next_execution() {
    at_desk(roomy(), |desk| {
        let execution = desk.run("print('before') error('x')", "");
        assert!(execution.outcome.is_err());
        assert_eq!(execution.log[0].message, "before");

        assert!(desk.run("return function() end", "").log.is_empty());
    });
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    check("print('a\\xffb') result = {}", &["info a\u{fffd}b"]);
}
