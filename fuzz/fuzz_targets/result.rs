//! `cargo +nightly fuzz run result`: see `containment::targets::result`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| containment::targets::result(data));
