//! The reproducible bytes of the probe endpoints, from their definition and from nothing of the server's.
//!
//! Byte `i` of `/bytes/N?seed=S` is byte `i % 8`, little-endian, of `mix(S + (i / 8 + 1) * GAMMA)` modulo 2^64:
//! the output of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) seeded with `S`.

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

const fn mix(mut z: u64) -> u64 {
    z ^= z >> 30;
    z = z.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^= z >> 27;
    z = z.wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

const fn word(seed: u64, index: u64) -> [u8; 8] {
    mix(seed.wrapping_add(index.wrapping_add(1).wrapping_mul(GAMMA))).to_le_bytes()
}

/// Calls `each` with every byte from `offset` on until it says stop (`false`).
fn walk(seed: u64, offset: u64, mut each: impl FnMut(u8) -> bool) {
    let mut index = offset / 8;
    let mut skip = usize::try_from(offset % 8).unwrap_or(0);
    loop {
        for &byte in &word(seed, index)[skip..] {
            if !each(byte) {
                return;
            }
        }
        skip = 0;
        index += 1;
    }
}

/// Fills `out` with the content of `seed` from `offset` on.
pub fn fill(seed: u64, offset: u64, out: &mut [u8]) {
    if out.is_empty() {
        return;
    }
    let mut at = 0;
    walk(seed, offset, |byte| {
        out[at] = byte;
        at += 1;
        at < out.len()
    });
}

/// The first `len` bytes of the content of `seed`.
#[must_use]
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    fill(seed, 0, &mut out);
    out
}

/// Where `got`, which should be the content of `seed` from `offset` on, first differs from it.
#[must_use]
pub fn first_difference(seed: u64, offset: u64, got: &[u8]) -> Option<usize> {
    if got.is_empty() {
        return None;
    }
    let mut at = 0;
    let mut found = None;
    walk(seed, offset, |byte| {
        if got[at] != byte {
            found = Some(at);
            return false;
        }
        at += 1;
        at < got.len()
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_splitmix64() {
        // Published first outputs of SplitMix64.
        assert_eq!(u64::from_le_bytes(word(0, 0)), 0xE220_A839_7B1D_CDAF);
        assert_eq!(u64::from_le_bytes(word(1_234_567, 0)), 6_457_827_717_110_365_317);
        assert_eq!(u64::from_le_bytes(word(1_234_567, 1)), 3_203_168_211_198_807_973);
    }

    #[test]
    fn any_offset_gives_the_same_bytes() {
        let all = bytes(7, 100);
        for offset in 0..100 {
            let mut part = vec![0; 100 - offset];
            fill(7, offset as u64, &mut part);
            assert_eq!(part, all[offset..]);
        }
    }

    #[test]
    fn the_first_difference_is_found() {
        let mut got = bytes(7, 64);
        assert_eq!(first_difference(7, 0, &got), None);
        assert_eq!(first_difference(7, 5, &got[5..]), None);
        got[13] ^= 1;
        got[40] ^= 1;
        assert_eq!(first_difference(7, 0, &got), Some(13));
        assert_eq!(first_difference(7, 5, &got[5..]), Some(8));
    }
}
