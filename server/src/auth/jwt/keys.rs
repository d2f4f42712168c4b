//! A JSON Web Key Set: public keys, each with the algorithms that it may be used for.

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Keys that are looked at: providers have a handful.
const MOST_KEYS: usize = 64;

/// Why a set of keys is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is not a key set.
    #[error("is no JSON Web Key Set: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It holds nothing that signatures can be checked with.
    #[error("holds no public key for signatures (RSA, P-256, P-384 or Ed25519)")]
    Empty,
}

/// Public keys.
pub(super) struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    public: DecodingKey,
    algorithms: Vec<Algorithm>,
}

#[derive(Deserialize)]
struct Raw {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a key set. Keys that are for something else, or of a kind that is not known, are left
    /// out, as are secrets: whoever can read a set may not sign with it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Unusable> {
        let raw: Raw = serde_json::from_slice(text)?;
        let keys: Vec<Key> = raw
            .keys
            .into_iter()
            .take(MOST_KEYS)
            .filter_map(|value| Key::read(value).ok()?)
            .collect();
        if keys.is_empty() { Err(Unusable::Empty) } else { Ok(Self(keys)) }
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is a key with this `kid`.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// The keys that a token with this header may be signed with: that of its `kid`, or without one
    /// any that the algorithm is for.
    pub(super) fn fitting<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        let fits = move |key: &&Key| {
            (id.is_none() || key.id.as_deref() == id) && key.algorithms.contains(&algorithm)
        };
        self.0.iter().filter(fits).map(|key| &key.public)
    }
}

impl Key {
    fn read(value: Value) -> Result<Option<Self>, jsonwebtoken::errors::Error> {
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { return Ok(None) };
        let algorithms = algorithms(&jwk);
        if algorithms.is_empty() || !is_for_signatures(&jwk) {
            return Ok(None);
        }
        let public = DecodingKey::from_jwk(&jwk)?;
        Ok(Some(Self { id: jwk.common.key_id, public, algorithms }))
    }
}

fn is_for_signatures(jwk: &Jwk) -> bool {
    let used = jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature);
    let verifies =
        jwk.common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    used && verifies
}

/// What the key may be used for: its `alg`, or all that its kind allows. Never a shared secret.
fn algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[ES256],
            EllipticCurve::P384 => &[ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[EdDSA],
        _ => &[],
    };
    let said = jwk.common.key_algorithm;
    let fits = |algorithm: &&Algorithm| said.is_none_or(|it| it == KeyAlgorithm::from(**algorithm));
    kind.iter().filter(fits).copied().collect()
}
