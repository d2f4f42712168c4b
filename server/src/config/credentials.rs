//! From what is written of credentials to what is meant.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::parse::{invalid, read};
use super::{Error, Layers, RawAuth, Source};
use crate::auth::{JwtSettings, KeyPlace, Limits, Settings};

/// The claim that grants, and the one that names, unless others are set.
const CLAIM: &str = "lessor";
const OWNER_CLAIM: &str = "sub";

const REFRESH: Duration = Duration::from_mins(10);
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
const LONGEST_REFRESH: Duration = Duration::from_hours(24);

/// Checks and types who may call.
pub(super) fn credentials(layers: &Layers) -> Result<Settings, Error> {
    let (tokens, _) = layers.get(|raw| raw.auth.tokens.clone());
    let jwt = jwt(layers)?;
    let settings = Settings { tokens, jwt, limits: limits(layers)? };
    if !settings.is_on() && settings.limits != Limits::default() {
        let (key, source) = first_limit(layers);
        let why = "needs auth.tokens or auth.jwks: without them nobody knows who calls";
        return Err(invalid(key, &source, why.to_owned()));
    }
    Ok(settings)
}

/// One key of the section.
type Pick = fn(&RawAuth) -> &Option<String>;

fn jwt(layers: &Layers) -> Result<Option<JwtSettings>, Error> {
    let Some(keys) = read(layers, "auth.jwks", |raw| raw.auth.jwks.clone(), place)? else {
        let others: [(&str, Pick); 5] = [
            ("auth.jwks_refresh", |auth| &auth.jwks_refresh),
            ("auth.jwt_issuer", |auth| &auth.jwt_issuer),
            ("auth.jwt_audience", |auth| &auth.jwt_audience),
            ("auth.jwt_claim", |auth| &auth.jwt_claim),
            ("auth.jwt_owner_claim", |auth| &auth.jwt_owner_claim),
        ];
        for (key, pick) in others {
            if let (Some(_), source) = layers.get(|raw| pick(&raw.auth).clone()) {
                return Err(invalid(key, &source, "needs auth.jwks beside it".to_owned()));
            }
        }
        return Ok(None);
    };
    let (_, source) = layers.get(|raw| raw.auth.jwks.clone());
    let needed = |key, value: Option<String>| match value {
        Some(value) => Ok(value),
        None => Err(invalid("auth.jwks", &source, format!("needs {key} beside it"))),
    };
    let issuer = read(layers, "auth.jwt_issuer", |raw| raw.auth.jwt_issuer.clone(), word)?;
    let audience = read(layers, "auth.jwt_audience", |raw| raw.auth.jwt_audience.clone(), word)?;
    let claim = read(layers, "auth.jwt_claim", |raw| raw.auth.jwt_claim.clone(), word)?;
    let owner_claim =
        read(layers, "auth.jwt_owner_claim", |raw| raw.auth.jwt_owner_claim.clone(), word)?;
    let refresh = read(
        layers,
        "auth.jwks_refresh",
        |raw| raw.auth.jwks_refresh.clone(),
        |text| refresh(&text),
    )?;
    Ok(Some(JwtSettings {
        keys,
        issuer: needed("auth.jwt_issuer", issuer)?,
        audience: needed("auth.jwt_audience", audience)?,
        claim: claim.unwrap_or_else(|| CLAIM.to_owned()),
        owner_claim: owner_claim.unwrap_or_else(|| OWNER_CLAIM.to_owned()),
        refresh: refresh.unwrap_or(REFRESH),
    }))
}

fn word(text: String) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text) }
}

/// A URL, or else a file. Who could change keys on their way could sign whatever it likes.
fn place(text: String) -> Result<KeyPlace, String> {
    let Some((scheme, _)) = text.split_once("://") else {
        return Ok(KeyPlace::File(PathBuf::from(word(text)?)));
    };
    let wrong = || {
        "must be a file, an https:// URL, or an http:// URL of this machine, without a user"
            .to_owned()
    };
    let url: Uri = text.parse().map_err(|_| wrong())?;
    let Some(authority) = url.authority() else { return Err(wrong()) };
    if authority.as_str().contains('@') {
        return Err(wrong());
    }
    match scheme {
        "https" => Ok(KeyPlace::Url(url)),
        "http" if is_this_machine(authority.host()) => Ok(KeyPlace::Url(url)),
        _ => Err(wrong()),
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn refresh(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text)
        .map_err(|why| format!("must be a span with a unit, such as 10m, not {text:?}: {why}"))?;
    if (SHORTEST_REFRESH..=LONGEST_REFRESH).contains(&span) {
        Ok(span)
    } else {
        Err("must be from 1s to 24h".to_owned())
    }
}

fn limits(layers: &Layers) -> Result<Limits, Error> {
    let limits = Limits {
        calls_per_second: layers.get(|raw| raw.auth.calls_per_second).0,
        burst: layers.get(|raw| raw.auth.burst).0,
        streams: layers.get(|raw| raw.auth.streams).0,
    };
    match limits.check() {
        Ok(()) => Ok(limits),
        Err((limit, why)) => {
            let (key, source) = limit_in(layers, limit);
            Err(invalid(key, &source, why))
        }
    }
}

fn first_limit(layers: &Layers) -> (&'static str, Source) {
    let set = |limit: &&str| limit_in(layers, limit).1 != Source::Default;
    let first = ["calls_per_second", "burst", "streams"].into_iter().find(set);
    limit_in(layers, first.unwrap_or("streams"))
}

/// The key of a limit, and where it is set.
fn limit_in(layers: &Layers, limit: &str) -> (&'static str, Source) {
    match limit {
        "calls_per_second" => {
            ("auth.calls_per_second", layers.get(|raw| raw.auth.calls_per_second).1)
        }
        "burst" => ("auth.burst", layers.get(|raw| raw.auth.burst).1),
        _ => ("auth.streams", layers.get(|raw| raw.auth.streams).1),
    }
}
