//! Bearer tokens: random text for the caller, a digest of it for the file.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use aws_lc_rs::error::Unspecified;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Begins every token, so that scanners of repositories know one when they see it.
const PREFIX: &str = "lessor_";
/// Begins every digest in a file.
const SCHEME: &str = "sha256:";
/// Random bytes of a token. So many that no digest of one is ever found by trying, so it needs no
/// salt and no slow hash.
const RANDOM: usize = 32;

/// A fresh token. It is shown once and kept nowhere.
pub fn generate() -> Result<String, Unspecified> {
    let mut random = [0; RANDOM];
    aws_lc_rs::rand::fill(&mut random)?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// What a file holds instead of a token.
#[derive(Clone, Copy)]
pub struct Digest([u8; SHA256_OUTPUT_LEN]);

impl Digest {
    /// The digest of a token.
    pub fn of(token: &str) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }

    /// Reads `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(SCHEME)?;
        if digits.len() != 2 * SHA256_OUTPUT_LEN || !digits.is_ascii() {
            return None;
        }
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// A part by which digests are found quickly. That tells nothing of a token: nobody can choose
    /// the digest of what is tried.
    pub(super) fn drawer(&self) -> [u8; 8] {
        let mut drawer = [0; 8];
        drawer.copy_from_slice(&self.0[..8]);
        drawer
    }

    /// Its bytes, as a key of what is known to be good.
    pub(super) fn bytes(&self) -> &[u8; SHA256_OUTPUT_LEN] {
        &self.0
    }

    /// Compares in a time that does not depend on where the two differ.
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A digest stays out of logs.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_usual_tools() {
        // What `printf %s abc | sha256sum` prints.
        let known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of("abc").to_string(), known);
        assert!(Digest::parse(known).unwrap().matches(&Digest::of("abc")));
        assert!(!Digest::parse(known).unwrap().matches(&Digest::of("abd")));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let digits = "a".repeat(64);
        for bad in ["", "sha256:", &digits, &format!("sha256:{}", &digits[1..]), "sha256:ü"] {
            assert!(Digest::parse(bad).is_none(), "{bad}");
        }
        assert!(Digest::parse(&format!("sha256:{}g", &digits[1..])).is_none());
        assert!(Digest::parse(&format!("sha256:{digits}")).is_some());
    }

    #[test]
    fn tokens_differ_and_fit_a_header() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), PREFIX.len() + 43);
        assert!(one.starts_with(PREFIX) && one.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}
