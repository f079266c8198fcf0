//! `cargo +nightly fuzz run input`: see `containment::targets::input`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| containment::targets::input(data));
