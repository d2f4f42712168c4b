//! What the claims of a JWT mean.
//!
//! | claim | meaning |
//! |---|---|
//! | `sub`, or what `jwt_owner_claim` names | the principal: owner of its jobs, actor of what it does |
//! | `lessor`, or what `jwt_claim` names | what is granted |
//! | `exp`, `nbf` | from when until when |
//!
//! What is granted is written as in the file of identities, `{"roles": […], "queues": […]}`, or a
//! list of such. Providers that know lists of words only write `"worker:mail-*"`: a role, and the
//! queues. Words of other shapes are others' and mean nothing here.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{JwtSettings, LEEWAY};
use crate::auth::credentials::Denied;
use crate::auth::keyring::{RawGrant, check_name};
use crate::auth::principal::{Grant, Principal};
use crate::auth::role::Role;
use crate::clock::Timestamp;

/// Grants in one token: more are no longer looked up quickly.
const MOST_GRANTS: usize = 64;

/// What one token says, once its signature was checked.
pub(super) struct Claims {
    pub(super) subject: Option<String>,
    /// What its claims grant, or why they grant nothing.
    pub(super) granted: Result<Arc<Principal>, Denied>,
    pub(super) begins: Timestamp,
    pub(super) ends: Timestamp,
}

impl Claims {
    pub(super) fn read(claims: &Map<String, Value>, settings: &JwtSettings) -> Self {
        let subject = claims.get("sub").and_then(Value::as_str).map(str::to_owned);
        let granted = principal(claims, settings).map(Arc::new);
        Self {
            subject,
            granted: granted.map_err(|why| Denied::Claims(why.into())),
            begins: moment(claims.get("nbf")).unwrap_or_default().before(LEEWAY),
            // Without one it was refused before.
            ends: moment(claims.get("exp")).unwrap_or_default().after(LEEWAY),
        }
    }
}

/// A number of seconds, perhaps with a fraction.
fn moment(claim: Option<&Value>) -> Option<Timestamp> {
    let seconds = claim?.as_f64()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast caps what is too small or too large"
    )]
    let millis = (seconds * 1000.0) as u64;
    Some(Timestamp::from_millis(millis))
}

fn principal(claims: &Map<String, Value>, settings: &JwtSettings) -> Result<Principal, String> {
    let (owner, claim) = (&settings.owner_claim, &settings.claim);
    let name = claims.get(owner).and_then(Value::as_str);
    let name = name.ok_or_else(|| format!("has no claim {owner:?} that is text"))?;
    check_name(name).map_err(|why| format!("{why}, in the claim {owner:?}"))?;
    let granted = claims.get(claim).ok_or_else(|| {
        format!("grants nothing: it has no claim {claim:?}, and no identity has its subject")
    })?;
    let grants = grants(granted).map_err(|why| format!("{why}, in the claim {claim:?}"))?;
    if grants.is_empty() {
        return Err(format!("grants nothing in the claim {claim:?}"));
    }
    Ok(Principal::new(name, grants))
}

fn grants(claim: &Value) -> Result<Vec<Grant>, String> {
    match claim {
        Value::Array(all) if all.len() > MOST_GRANTS => {
            Err(format!("has more than {MOST_GRANTS} grants"))
        }
        Value::Array(all) => all.iter().filter_map(|one| grant(one).transpose()).collect(),
        // As scopes are written.
        Value::String(words) => words.split(' ').filter_map(|one| word(one).transpose()).collect(),
        one => Ok(grant(one)?.into_iter().collect()),
    }
}

fn grant(claim: &Value) -> Result<Option<Grant>, String> {
    match claim {
        Value::String(text) => word(text),
        claim => {
            let raw = RawGrant::deserialize(claim)
                .map_err(|why| format!("has a grant that makes no sense: {why}"))?;
            raw.read().map(Some)
        }
    }
}

/// A role and its queues; `None` when it is a word of others.
fn word(text: &str) -> Result<Option<Grant>, String> {
    let Some((role, queues)) = text.split_once(':') else { return Ok(None) };
    if Role::parse(role).is_none() {
        return Ok(None);
    }
    let (roles, queues) = (vec![role.to_owned()], vec![queues.to_owned()]);
    RawGrant { roles, queues, own_jobs: false }.read().map(Some)
}
