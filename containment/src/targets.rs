//! Entry points for fuzzers. Each takes any bytes and panics when a promise does not hold.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use contract::Code;
use contract::bundle::Bundle;
use contract::release::{PublicKeys, SignedRelease, SigningKey};
use sandbox::{Engine, Fault, Limits, Program, Vm, compile};
use serde_json::Value;

use crate::library::execute;

/// A name, the function, and inputs to start from.
pub type Target = (&'static str, fn(&[u8]), &'static [&'static [u8]]);

/// All targets.
pub const TARGETS: &[Target] = &[
    ("script", script, SCRIPTS),
    ("input", input, INPUTS),
    ("result", result, RESULTS),
    ("release", release, RELEASES),
];

const SCRIPTS: &[&[u8]] = &[
    b"return function(input, ctx) local t = {} for i = 1, 10 do t[i] = i * 2 end return { output = t } end",
    b"local M = {} function M.handle(input) return { n = #(input or '') } end return M",
    b"result = { output = string.rep('x', 3):upper() .. tostring(1/3) } if input then result.input = input end",
    b"local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) error({ message = b }) end) return co",
    b"return function() return pcall(string.format, '%5.2f %s %q', 1, {}, '\\0') end",
    b"for k, v in { a = 1, [2] = vector.zero, [3] = buffer.create(8) } do print(k, v) end while true do end",
    b"local t = setmetatable({}, { __index = function(t, k) return rawget(t, k) or k .. k end }) return { t.a, t[1] }",
    b"return function() return { ('a,b'):split(','), ('abc'):gsub('[a-c]*', '%0%0'), utf8.len('\xc3\xa9'), bit32.bnot(0) } end",
];

const INPUTS: &[&[u8]] = &[
    br#"{"user":{"id":"u-1","age":41,"tags":["a","b",null,[]]},"total":1250.5,"ok":true,"none":null}"#,
    br#"[[[[[[1]]]]],{},{"a":{"a":{}}},-0.0,1e308,9007199254740991,"\u00e9\ud83d\ude00\n"]"#,
    b"null",
    br#""text""#,
    b"-1.5e-7",
];

const RESULTS: &[&[u8]] = &[
    b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09",
    b"\x04\x04\x04\x00\x05key\x01\x06\x06\x06",
    b"\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06\x06",
];

const RELEASES: &[&[u8]] = &[
    br#"--@moonswarm-release {"statement":"{\"stack\":\"dev\",\"number\":1,\"digest\":\"\",\"created_at_ms\":0,\"reason\":\"\"}","key_id":"k","signature":"AA=="}
--@script {"tenant":"acme","script":"risk","entry":{"version":"7ad7b3c5a8c9","generation":1,"object":"o","size":8,"pushed_at_ms":0,"pushed_by":"p"}}
return 1
"#,
    br#"{"signed":{"statement":"{}","key_id":"k","signature":"AA=="},"scripts":{"acme":{"risk":{"version":"v","generation":1,"object":"o","size":8}}}}"#,
    b"--@moonswarm-release {}\n",
];

/// Small, so that a fuzzer gets on: nothing here depends on their size.
fn limits() -> Limits {
    Limits {
        cpu: Duration::from_millis(20),
        wall: Duration::from_millis(500),
        memory_bytes: 4 << 20,
        output_bytes: 64 << 10,
        output_nodes: 5_000,
        ..Limits::default()
    }
}

fn engine() -> &'static Arc<Engine> {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::start().expect("a system that runs tests has threads"))
}

thread_local! {
    static VM: RefCell<Option<Vm>> = const { RefCell::new(None) };
}

/// Runs in this thread's VM, which is replaced when it was hurt. Checks what holds for every execution.
fn run(program: &Program, input: &[u8]) -> Result<Vec<u8>, Fault> {
    VM.with_borrow_mut(|slot| {
        let vm = slot.get_or_insert_with(|| engine().vm(&limits()).expect("the limits have room for a VM"));
        let outcome = execute(vm, program, "tenant", input);
        if !vm.is_usable() {
            *slot = None;
        }
        match &outcome {
            Ok(json) => assert!(json.len() <= limits().output_bytes, "an answer of {} bytes", json.len()),
            Err(fault) => assert_ne!(fault.code, Code::Internal, "{fault}"),
        }
        outcome
    })
}

/// Any source: the gate refuses it, or it runs and ends; an answer is JSON.
pub fn script(source: &[u8]) {
    let Ok(program) = compile("fuzz.luau", source, &limits()) else { return };
    if let Ok(json) = run(&program, br#"{"n":[1,2,{"a":"b"}]}"#) {
        serde_json::from_slice::<Value>(&json).expect("an answer is JSON");
    }
}

/// Any input: refused, or given back by a script as it was, but for what tables cannot hold (`null`).
pub fn input(text: &[u8]) {
    static ECHO: OnceLock<Program> = OnceLock::new();
    let echo = ECHO.get_or_init(|| {
        compile("echo.luau", b"return function(input) return input end", &limits()).expect("it is a script")
    });
    let Ok(once) = run(echo, text) else { return };
    let value: Value = serde_json::from_slice(&once).expect("an answer is JSON");
    let twice = run(echo, &once).expect("an answer can be an input");
    assert_eq!(value, serde_json::from_slice::<Value>(&twice).expect("an answer is JSON"), "{}", once.escape_ascii());
}

/// Any table: the bytes tell a script which values to put together. Refused, or written as JSON.
pub fn result(recipe: &[u8]) {
    static COOK: OnceLock<Program> = OnceLock::new();
    let cook =
        COOK.get_or_init(|| compile("cook.luau", include_bytes!("cook.luau"), &limits()).expect("it is a script"));
    let recipe = serde_json::to_vec(&recipe.iter().take(2048).collect::<Vec<_>>()).expect("numbers are JSON");
    if let Ok(json) = run(cook, &recipe) {
        serde_json::from_slice::<Value>(&json).expect("an answer is JSON");
    }
}

/// Any text where a release is expected: refused, or read and written again without a change. Never accepted with a key
/// that did not sign it.
pub fn release(text: &[u8]) {
    static KEYS: OnceLock<PublicKeys> = OnceLock::new();
    let keys =
        KEYS.get_or_init(|| SigningKey::parse(&SigningKey::generate()).expect("a new key is a key").public().into());
    if let Ok(bundle) = Bundle::decode(text) {
        let again = bundle.encode().expect("what was read has its sources");
        assert_eq!(Bundle::decode(&again).expect("what was written can be read"), bundle);
        assert!(bundle.release.verify("dev", keys).is_err(), "nobody signed this");
    }
    if let Ok(release) = serde_json::from_slice::<SignedRelease>(text) {
        assert!(release.verify("dev", keys).is_err(), "nobody signed this");
    }
    // Keys and headings are read from files, too.
    if let Ok(text) = std::str::from_utf8(text) {
        let _ = PublicKeys::parse(text);
        let _ = SigningKey::parse(text);
        let _ = serde_json::from_str::<BTreeMap<contract::TenantName, contract::ScriptName>>(text);
    }
}
