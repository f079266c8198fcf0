//! `cargo +nightly fuzz run script`: see `containment::targets::script`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| containment::targets::script(data));
