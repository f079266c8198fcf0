//! Seeds for the random numbers of scripts.

use std::hash::{BuildHasher, Hasher, RandomState};

/// SplitMix64, started from the system's randomness. Not for secrets.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn from_system() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        u32::try_from(self.next_u64() >> 32).unwrap_or_default()
    }

    pub(crate) fn key(&mut self) -> [u64; 4] {
        std::array::from_fn(|_| self.next_u64())
    }
}
