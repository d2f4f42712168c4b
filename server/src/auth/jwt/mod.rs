//! JWTs: tokens that an identity provider signs, checked with the keys that it publishes.
//!
//! A library checks signature, issuer and audience. What is decided here is which keys and
//! algorithms count ([`keys`]), where the keys come from ([`source`]), and what claims mean
//! ([`claims`]). Times are compared with the clock of the broker, as all times are.

mod claims;
mod fetch;
mod keys;
mod source;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::Uri;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use self::claims::Claims;
use self::keys::KeySet;
pub use self::keys::Unusable;
pub(super) use self::source::{Keeper, Source};
use super::credentials::{Denied, Known};
use super::keyring::Keyring;
use super::secret::Digest;
use crate::clock::Timestamp;

/// How far the clock of a provider may be off.
const LEEWAY: Duration = Duration::from_secs(30);

/// Tokens whose check is remembered: a signature takes longer to check than most calls.
const MOST_REMEMBERED: usize = 4096;

/// Which JWTs are taken, and what their claims mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// Where the keys are, as a JSON Web Key Set.
    pub keys: KeyPlace,
    /// Who signs them: their claim `iss`.
    pub issuer: String,
    /// For whom they are: one of their claim `aud`.
    pub audience: String,
    /// The claim that holds what is granted.
    pub claim: String,
    /// The claim that names the principal.
    pub owner_claim: String,
    /// How often keys are fetched again.
    pub refresh: Duration,
}

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// In a file.
    File(PathBuf),
    /// At a URL, over HTTPS, or over HTTP on this machine.
    Url(Uri),
}

/// Knows whom a JWT speaks of.
pub(super) struct Jwt {
    settings: JwtSettings,
    /// `None` until keys were had for the first time.
    keys: ArcSwapOption<Keys>,
}

/// The present keys, and what they were found to have signed.
struct Keys {
    set: KeySet,
    checked: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

impl Jwt {
    pub(super) fn new(settings: JwtSettings) -> Self {
        Self { settings, keys: ArcSwapOption::empty() }
    }

    fn has_keys(&self) -> bool {
        self.keys.load().is_some()
    }

    /// Takes over other keys. What the old ones have signed is checked anew.
    fn replace(&self, set: KeySet) {
        self.keys.store(Some(Arc::new(Keys { set, checked: Mutex::default() })));
    }

    /// Whom this token speaks of. An identity of `ring` that has its subject counts before what its
    /// claims grant.
    pub(super) fn look(
        &self,
        token: &str,
        digest: &Digest,
        ring: &Keyring,
        now: Timestamp,
    ) -> Result<Known, Denied> {
        let keys = self.keys.load();
        let Some(keys) = keys.as_ref() else { return Err(Denied::NoKeys) };
        let known = keys.checked.lock().get(digest.bytes()).cloned();
        let claims = match known {
            Some(claims) => claims,
            None => keys.remember(digest, self.check(&keys.set, token)?, now),
        };
        if now >= claims.ends {
            return Err(Denied::Expired);
        }
        if claims.begins > now {
            return Err(Denied::NotYet);
        }
        let listed = claims.subject.as_deref().and_then(|subject| ring.by_subject(subject));
        let principal = match listed {
            Some(principal) => Arc::clone(principal),
            None => claims.granted.clone()?,
        };
        Ok(Known { principal, until: Some(claims.ends) })
    }

    /// Checks the signature, and reads what was signed.
    fn check(&self, keys: &KeySet, token: &str) -> Result<Claims, Denied> {
        // `none` is not among the algorithms that can be read.
        let Header { alg, kid, .. } = decode_header(token).map_err(|_| Denied::Unknown)?;
        let mut why = match kid.as_deref() {
            Some(id) if !keys.has(id) => Denied::UnknownKey,
            _ => Denied::Signature,
        };
        for key in keys.fitting(kid.as_deref(), alg) {
            match decode::<Map<String, Value>>(token, key, &self.validation(alg)) {
                Ok(token) => return Ok(Claims::read(&token.claims, &self.settings)),
                Err(error) => why = denied(error.into_kind(), why),
            }
        }
        Err(why)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&[&self.settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // Those are compared with the broker's clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation
    }
}

impl Keys {
    /// Keeps what a token says, as long as there is room.
    fn remember(&self, digest: &Digest, claims: Claims, now: Timestamp) -> Arc<Claims> {
        let claims = Arc::new(claims);
        let mut checked = self.checked.lock();
        if checked.len() >= MOST_REMEMBERED {
            checked.retain(|_, claims| claims.ends > now);
        }
        if checked.len() >= MOST_REMEMBERED {
            checked.clear();
        }
        checked.insert(*digest.bytes(), Arc::clone(&claims));
        claims
    }
}

/// Only who holds a token with a good signature learns what else is wrong with it.
fn denied(kind: ErrorKind, otherwise: Denied) -> Denied {
    match kind {
        ErrorKind::InvalidIssuer => Denied::Issuer,
        ErrorKind::InvalidAudience => Denied::Audience,
        ErrorKind::MissingRequiredClaim(claim) => {
            Denied::Claims(format!("has no good claim {claim:?}").into())
        }
        _ => otherwise,
    }
}

#[cfg(test)]
pub(super) mod tests;
