//! A hash of a collection that does not depend on the order of its members.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The hash of a multiset: the sum of its members' 128-bit hashes, modulo 2^128.
///
/// A sum, unlike an exclusive or, sees a member that is there twice. It guards against every
/// accident; it is no defence against a forger, which the digests of the files are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MultisetHash(u128);

impl MultisetHash {
    /// Adds one member by its hash.
    pub fn add(&mut self, member: u128) {
        self.0 = self.0.wrapping_add(member);
    }

    /// Adds all members of another multiset.
    pub fn merge(&mut self, other: Self) {
        self.add(other.0);
    }

    /// The hash of this sum under a seed, so that sums can be members of a further sum without
    /// the two levels running into each other.
    pub fn sealed(self, seed: u64) -> u128 {
        xxh3_128_with_seed(&self.0.to_le_bytes(), seed)
    }
}

impl fmt::Display for MultisetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl From<MultisetHash> for String {
    fn from(hash: MultisetHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for MultisetHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16)
            .map(Self)
            .map_err(|_| format!("{text:?} is not a hash of 32 hexadecimal digits"))
    }
}
