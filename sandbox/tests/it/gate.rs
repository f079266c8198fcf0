//! What the gate refuses, and how it says so.

use sandbox::{Limits, compile};

#[track_caller]
fn refusal(source: &[u8]) -> String {
    let limits = Limits { source_bytes: 1024, ..Limits::default() };
    let refusal = compile("risk.luau", source, &limits).unwrap_err();
    for diagnostic in &refusal.diagnostics {
        assert_eq!(refusal.detail, diagnostic.to_string());
    }
    format!("{}: {}", refusal.code, refusal.detail)
}

#[test]
fn a_syntax_error_names_file_and_line() {
    insta::assert_snapshot!(
        refusal(b"local a = 1\n\nlocal b = = 2\n"),
        @"script_refused: risk.luau:3: Expected identifier when parsing expression, got '='"
    );
    insta::assert_snapshot!(
        refusal(b"return function(input)\n  return {\nend"),
        @"script_refused: risk.luau:3: Expected identifier when parsing expression, got 'end'"
    );
}

#[test]
fn an_empty_script_is_refused() {
    insta::assert_snapshot!(refusal(b""), @"script_refused: `risk.luau` is empty");
    insta::assert_snapshot!(refusal(b" \n\t\n"), @"script_refused: `risk.luau` is empty");
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_line() {
    insta::assert_snapshot!(refusal(b"return 1\n-- \xff\xfe"), @"script_refused: risk.luau:2: not UTF-8");
    insta::assert_snapshot!(refusal(b"return 1\n\n-- \0"), @"script_refused: risk.luau:3: a NUL byte");
}

#[test]
fn bytecode_is_refused() {
    assert!(refusal(b"\x06\x03\x01").starts_with("script_refused: risk.luau:1: "));
}

#[test]
fn a_script_above_the_size_limit_is_refused_and_one_at_it_is_not() {
    let mut source = b"return nil ".to_vec();
    source.resize(1024, b'-');
    let limits = Limits { source_bytes: 1024, ..Limits::default() };

    assert!(compile("risk.luau", &source, &limits).is_ok());

    source.push(b'-');
    insta::assert_snapshot!(refusal(&source), @"too_large: `risk.luau` has 1025 bytes, the limit is 1 KiB");
}

#[test]
fn a_byte_order_mark_does_no_harm() {
    assert!(compile("risk.luau", "\u{feff}return nil".as_bytes(), &Limits::default()).is_ok());
}

#[test]
fn hostile_nesting_is_a_syntax_error_and_not_a_crash() {
    // On a thread of our own: the parser may use the whole stack that is promised to it.
    let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(|| {
        let source = format!("return {}1{}", "(".repeat(100_000), ")".repeat(100_000));
        compile("risk.luau", source.as_bytes(), &Limits::default()).unwrap_err().detail
    });
    insta::assert_snapshot!(thread.unwrap().join().unwrap(), @"risk.luau:1: Exceeded allowed recursion depth; simplify your expression to make the code compile");
}
