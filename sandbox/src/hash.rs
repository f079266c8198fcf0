//! `ctx.hash`: digests of strings, for keys, signatures and buckets of experiments.

use mlua::{Lua, LuaString, Table};
use ring::{digest, hmac};

use crate::guard;

/// Bytes of one input; a SHA-256 of so many takes about 3 ms without help of the processor. `context.luau` checks it.
pub(crate) const INPUT_BYTES_MAX: usize = 1 << 20;

/// A table of functions for `context.luau`, which checks their arguments.
pub(crate) fn functions(lua: &Lua) -> mlua::Result<Table> {
    let hash = lua.create_table()?;
    hash.raw_set(
        "sha256",
        guard::function(lua, |_, text: LuaString| Ok(hex(digest::digest(&digest::SHA256, &text.as_bytes()).as_ref())))?,
    )?;
    hash.raw_set(
        "hmac_sha256",
        guard::function(lua, |_, (key, text): (LuaString, LuaString)| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key.as_bytes());
            Ok(hex(hmac::sign(&key, &text.as_bytes()).as_ref()))
        })?,
    )?;
    hash.raw_set(
        "crc32",
        guard::function(lua, |_, text: LuaString| Ok(f64::from(crc32fast::hash(&text.as_bytes()))))?,
    )?;
    Ok(hash)
}

/// In small letters, as most tools print digests.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
