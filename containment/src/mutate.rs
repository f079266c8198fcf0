//! Random changes to bytes, the same for the same seed: a fuzzer for where no fuzzer is at hand.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Bytes of an input; longer ones are cut.
const BYTES_MAX: usize = 4096;

/// Numbers and signs that parsers of all kinds stumble over.
const TOKENS: [&str; 24] = [
    "\0",
    "\n",
    "\r\n",
    "\"",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "é",
    "%00",
    "%2f",
    "..",
    "{",
    "}",
    "[",
    "]",
    "--[[",
    "]]",
    "(",
    "1e999",
    "-0",
    "18446744073709551616",
    "9007199254740993",
    "nan",
    "4294967296",
];

/// SplitMix64 with its seed, so that a failure can be had again.
#[derive(Debug)]
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// Numbers that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// Other numbers each time.
    pub fn from_system() -> Self {
        Self::new(RandomState::new().build_hasher().finish())
    }

    /// What to pass to [`Random::new`] to have the same again.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let number = self.next_u64() % u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(number).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next_u64().to_le_bytes()[0]
    }
}

/// One of `seeds` with one to eight changes.
pub fn mutate(random: &mut Random, seeds: &[&[u8]]) -> Vec<u8> {
    let mut bytes = seeds.get(random.below(seeds.len())).copied().unwrap_or_default().to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len() + 1);
        match random.below(7) {
            0 => bytes.insert(at, random.byte()),
            1 if at < bytes.len() => bytes[at] = random.byte(),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            3 => drop(bytes.drain(at..(at + random.below(16)).min(bytes.len()))),
            // A part of it, or of another one, once more.
            4 | 5 => {
                let from = seeds.get(random.below(seeds.len())).copied().unwrap_or_default();
                let start = random.below(from.len());
                let end = (start + random.below(64)).min(from.len());
                bytes.splice(at..at, from[start..end].iter().copied());
            }
            _ => drop(bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].bytes())),
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let seeds: &[&[u8]] = &[b"return function() end", b"{}", b""];
        let many = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| mutate(&mut random, seeds)).collect::<Vec<_>>()
        };

        assert_eq!(many(7), many(7));
        assert_ne!(many(7), many(8));
    }
}
