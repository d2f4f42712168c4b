//! Signatures by the scheme of Standard Webhooks: HMAC-SHA256 over id, time and body.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::job::push::Secret;

/// Bytes of a digest by which a secret is known.
const FINGERPRINT: usize = 4;

/// Random bytes of a secret.
const RANDOM: usize = 32;

/// The signatures of a message, one per secret, as the header `webhook-signature` has them.
pub(super) fn signatures(secrets: &[Secret], id: &str, seconds: u64, body: &[u8]) -> String {
    let signed = secrets.iter().map(|secret| {
        let mut context = Context::with_key(&Key::new(HMAC_SHA256, secret.expose()));
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    });
    signed.collect::<Vec<_>>().join(" ")
}

/// A fresh secret as it is written down, and its fingerprint.
pub fn generate_secret() -> Result<(String, String), Unspecified> {
    let mut random = [0; RANDOM];
    aws_lc_rs::rand::fill(&mut random)?;
    let secret = Secret::of(random.to_vec().into());
    let fingerprint = fingerprint(&secret);
    Ok((secret.write(), fingerprint))
}

/// Tells a secret from others without telling it.
pub fn fingerprint(secret: &Secret) -> String {
    let digest = digest(&SHA256, secret.expose());
    let mut begin = [0; FINGERPRINT];
    begin.copy_from_slice(&digest.as_ref()[..FINGERPRINT]);
    format!("{:08x}", u32::from_be_bytes(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the scheme's own libraries are tested with.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SECONDS: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn a_message_is_signed_as_the_scheme_demands() {
        let secret = Secret::parse(SECRET).unwrap();
        assert_eq!(signatures(&[secret], ID, SECONDS, BODY), SIGNATURE);
    }

    #[test]
    fn each_secret_signs_and_every_part_is_signed() {
        let secrets = [Secret::of(vec![1; 32].into()), Secret::parse(SECRET).unwrap()];
        let both = signatures(&secrets, ID, SECONDS, BODY);
        let (other, same) = both.split_once(' ').unwrap();
        assert_eq!(same, SIGNATURE);
        assert!(other.starts_with("v1,") && other != SIGNATURE);
        let of = |id, seconds, body| signatures(&secrets[1..], id, seconds, body);
        for changed in [of("m", SECONDS, BODY), of(ID, 1, BODY), of(ID, SECONDS, b"{}")] {
            assert_ne!(changed, SIGNATURE);
        }
        assert_eq!(signatures(&[], ID, SECONDS, BODY), "");
    }

    #[test]
    fn a_fingerprint_is_that_of_the_usual_tools() {
        // What `printf %s abcabcabcabcabcabcabcabc | sha256sum` begins with.
        let secret = Secret::of(b"abcabcabcabcabcabcabcabc".to_vec().into());
        assert_eq!(fingerprint(&secret), "12f2874e");
    }
}
