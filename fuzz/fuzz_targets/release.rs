//! `cargo +nightly fuzz run release`: see `containment::targets::release`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| containment::targets::release(data));
