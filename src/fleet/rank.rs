//! A device's fixed place in a rollout: a keyed 64-bit hash of its identity (R2).

/// The context of R2. Changing a byte of it would reshuffle every rollout in the field.
pub const RANK_CONTEXT: &str = "otagate rollout rank v1";

/// The salt of the jitter in `retry_after` (R12).
pub(crate) const JITTER_SALT: &str = "jitter";

/// BLAKE3's key for [`RANK_CONTEXT`], computed once and for all; a test computes it again.
const CONTEXT_KEY: blake3::hazmat::ContextKey = [
    181, 138, 81, 9, 64, 235, 132, 52, 159, 37, 120, 244, 57, 94, 83, 171, 255, 20, 163, 251, 146, 109, 89, 178, 13,
    115, 10, 203, 95, 139, 242, 83,
];

/// The rank of a device under a salt: the first 8 bytes, little-endian, of BLAKE3 in key-derivation mode over the three texts, each
/// with its length before it as a `u32`, little-endian (R2). Costs one hash; allocates nothing.
///
/// ```
/// assert_eq!(otagate::rank("r7", "thermostat", "a4cf12345678"), 12_863_942_186_124_156_992);
/// ```
pub fn rank(salt: &str, product: &str, serial: &str) -> u64 {
    use blake3::hazmat::HasherExt as _;
    let parts = [salt.as_bytes(), product.as_bytes(), serial.as_bytes()];
    // Names are at most 128 bytes, serials 64: the conversion cannot saturate.
    let length = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut hasher = blake3::Hasher::new_from_context_key(&CONTEXT_KEY);
    // Mostly all of it is one block. Put together here it goes in at once, which saves a quarter of the time.
    let mut block = [0; 64];
    match fill(&mut block, parts.map(|part| (length(part), part))) {
        Some(message) => hasher.update(message),
        None => parts.into_iter().fold(&mut hasher, |hasher, part| hasher.update(&length(part)).update(part)),
    };
    let mut rank = [0; 8];
    rank.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(rank)
}

/// The parts behind each other, each after its length; none where they do not fit.
fn fill<'b>(block: &'b mut [u8; 64], parts: [([u8; 4], &[u8]); 3]) -> Option<&'b [u8]> {
    let mut at = 0;
    for (length, part) in parts {
        let room = block.get_mut(at..at + 4 + part.len())?;
        let (first, rest) = room.split_first_chunk_mut()?;
        *first = length;
        rest.copy_from_slice(part);
        at += 4 + part.len();
    }
    block.get(..at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_key_is_that_of_the_context() {
        assert_eq!(CONTEXT_KEY, blake3::hazmat::hash_derive_key_context(RANK_CONTEXT));
    }

    #[test]
    fn the_three_vectors_of_the_rule() {
        assert_eq!(rank("r7", "thermostat", "a4cf12345678"), 12_863_942_186_124_156_992);
        assert_eq!(rank("", "p", "1"), 234_141_259_675_619_553);
        assert_eq!(rank("canary-2026", "sensor", "00:not-a-mac"), 4_262_466_043_411_971_822);
    }
}
