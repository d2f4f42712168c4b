//! The endpoint of a queue: what operators ask of it and what is told about it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use lessor_proto::v1;
use lessor_proto::v1::push::ClientErrorPolicy;

use super::field::Violations;
use super::policy::number;
use super::time::{proto_span, span_opt};
use crate::job::Push;
use crate::job::push::{ClientErrors, DEFAULT_PARALLEL, DEFAULT_TIMEOUT, HIDDEN, Hidden, Secret};
use crate::push::{Allowed, fingerprint, is_own};

const URI_LIMIT: usize = 2048;
const MOST_HEADERS: usize = 32;
const HEADERS_LIMIT: usize = 8 << 10;
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST_TIMEOUT: Duration = Duration::from_mins(30);
const MOST_PARALLEL: u32 = 1000;
const MOST_SECRETS: usize = 2;

/// Reads an endpoint, at an address that is public or allowed as far as it can be known.
pub(in crate::rpc) fn push(proto: v1::Push, allowed: &Allowed) -> Result<Push, Violations> {
    let mut wrong = Violations::default();
    let uri = wrong.at("uri", uri(&proto.uri, allowed));
    let headers = wrong.at("headers", headers(proto.headers));
    let timeout = span_opt(proto.timeout.as_ref(), SHORTEST_TIMEOUT, LONGEST_TIMEOUT);
    let timeout = wrong.at("timeout", timeout);
    let parallel = wrong.at("max_parallel", parallel(proto.max_parallel));
    let policy = wrong.at("client_error_policy", policy(proto.client_error_policy));
    let secrets = wrong.at("secrets", secrets(&proto.secrets));
    let read = || {
        Some(Push {
            uri: uri?,
            headers: headers?,
            timeout: timeout?.unwrap_or(DEFAULT_TIMEOUT),
            max_parallel: parallel?,
            client_errors: policy?,
            secrets: secrets?,
        })
    };
    let read = read();
    wrong.finish(read)
}

fn uri(text: &str, allowed: &Allowed) -> Result<String, Violations> {
    if text.len() > URI_LIMIT {
        return Err(format!("has {} bytes, more than {URI_LIMIT}", text.len()).into());
    }
    let uri = allowed.check_url(text).map_err(Violations::from)?;
    // What a URL may be and a request may not is refused here, not at each job.
    match uri.parse::<http::Uri>() {
        Ok(_) => Ok(uri),
        Err(why) => Err(format!("can't be requested: {why}").into()),
    }
}

fn headers(proto: HashMap<String, String>) -> Result<BTreeMap<String, Hidden>, Violations> {
    if proto.len() > MOST_HEADERS {
        return Err(format!("has {} entries, more than {MOST_HEADERS}", proto.len()).into());
    }
    let bytes: usize = proto.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADERS_LIMIT {
        return Err(format!("has {bytes} bytes, more than {HEADERS_LIMIT}").into());
    }
    let mut wrong = Violations::default();
    let mut headers = BTreeMap::new();
    for (name, value) in proto {
        if HeaderName::try_from(&name).is_err() {
            wrong.add("", format!("has {name:?}, which is no name of a header"));
        } else if is_own(&name) {
            wrong.add("", format!("has {name:?}, which the broker sets itself"));
        } else if HeaderValue::try_from(&value).is_err() {
            wrong.add(format!("[{name:?}]"), "is no value of a header");
        } else if headers.insert(name.to_ascii_lowercase(), value.into()).is_some() {
            wrong.add("", format!("has {name:?} twice"));
        }
    }
    wrong.finish(Some(headers))
}

fn parallel(count: i32) -> Result<u32, Violations> {
    match u32::try_from(count) {
        Ok(0) => Ok(DEFAULT_PARALLEL),
        Ok(count) if count <= MOST_PARALLEL => Ok(count),
        _ => Err(format!("must be from 1 to {MOST_PARALLEL}").into()),
    }
}

fn policy(number: i32) -> Result<ClientErrors, Violations> {
    match ClientErrorPolicy::try_from(number) {
        Ok(ClientErrorPolicy::Unspecified | ClientErrorPolicy::Dead) => Ok(ClientErrors::Dead),
        Ok(ClientErrorPolicy::Retry) => Ok(ClientErrors::Retry),
        Err(_) => Err("is an unknown value".into()),
    }
}

fn secrets(proto: &[String]) -> Result<Vec<Secret>, Violations> {
    if proto.len() > MOST_SECRETS {
        return Err(format!("has {} entries, more than {MOST_SECRETS}", proto.len()).into());
    }
    let mut wrong = Violations::default();
    let mut secrets = Vec::new();
    for (index, text) in proto.iter().enumerate() {
        secrets.extend(wrong.at_index("", index, Secret::parse(text)));
    }
    wrong.finish(Some(secrets))
}

/// Writes an endpoint, without what is secret.
pub(super) fn proto_push(push: &Push) -> v1::Push {
    let policy = match push.client_errors {
        ClientErrors::Dead => ClientErrorPolicy::Dead,
        ClientErrors::Retry => ClientErrorPolicy::Retry,
    };
    v1::Push {
        uri: push.uri.clone(),
        headers: push.headers.keys().map(|name| (name.clone(), HIDDEN.to_owned())).collect(),
        timeout: Some(proto_span(push.timeout)),
        max_parallel: number(push.max_parallel),
        client_error_policy: policy.into(),
        secrets: Vec::new(),
        secret_fingerprints: push.secrets.iter().map(fingerprint).collect(),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Duration as ProtoDuration;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn endpoint(change: impl FnOnce(&mut v1::Push)) -> v1::Push {
        let mut push =
            v1::Push { uri: "https://example.com/jobs".to_owned(), ..v1::Push::default() };
        change(&mut push);
        push
    }

    fn read(proto: v1::Push) -> Result<Push, Violations> {
        push(proto, &Allowed::default())
    }

    fn header(name: &str, value: &str) -> HashMap<String, String> {
        [(name.to_owned(), value.to_owned())].into()
    }

    #[test]
    fn an_endpoint_that_can_not_be_meant_is_named() {
        let seconds = |seconds| Some(ProtoDuration { seconds, nanos: 0 });
        let table = [
            (endpoint(|it| it.uri.clear()), "uri"),
            (endpoint(|it| it.uri = "http://example.com".to_owned()), "uri"),
            (endpoint(|it| it.uri = "https://10.0.0.1/".to_owned()), "uri"),
            (endpoint(|it| it.uri = format!("https://a.example/{}", "a".repeat(2048))), "uri"),
            (endpoint(|it| it.headers = header("no good", "x")), "headers"),
            (endpoint(|it| it.headers = header("Webhook-Id", "x")), "headers"),
            (endpoint(|it| it.headers = header("Host", "x")), "headers"),
            (endpoint(|it| it.headers = header("x", "a\nb")), "headers[\"x\"]"),
            (endpoint(|it| it.headers = header("x", &"a".repeat(9000))), "headers"),
            (endpoint(|it| it.timeout = seconds(0)), "timeout"),
            (endpoint(|it| it.timeout = seconds(1801)), "timeout"),
            (endpoint(|it| it.max_parallel = -1), "max_parallel"),
            (endpoint(|it| it.max_parallel = 1001), "max_parallel"),
            (endpoint(|it| it.client_error_policy = 9), "client_error_policy"),
            (endpoint(|it| it.secrets = vec!["whsec_short".to_owned()]), "secrets[0]"),
            (endpoint(|it| it.secrets = vec![SECRET.to_owned(); 3]), "secrets"),
        ];
        for (proto, field) in table {
            let told = read(proto).unwrap_err();
            assert_eq!(told.list()[0].field, field, "{told}");
        }
    }

    #[test]
    fn an_endpoint_is_told_without_its_secrets() {
        let sent = endpoint(|it| {
            it.headers = header("Authorization", "Bearer hidden");
            it.secrets = vec![SECRET.to_owned()];
            it.max_parallel = 3;
            it.client_error_policy = ClientErrorPolicy::Retry.into();
        });
        let told = proto_push(&read(sent).unwrap());
        assert_eq!(told.uri, "https://example.com/jobs");
        assert_eq!(told.headers, header("authorization", HIDDEN));
        assert_eq!((told.max_parallel, told.client_error_policy()), (3, ClientErrorPolicy::Retry));
        assert!(told.secrets.is_empty());
        assert_eq!(told.secret_fingerprints.len(), 1);
        assert_eq!(told.secret_fingerprints[0].len(), 8);
    }

    #[test]
    fn what_is_left_open_is_as_usual() {
        let usual = read(endpoint(|_| {})).unwrap();
        assert_eq!(usual, Push::to("https://example.com/jobs"));
    }
}
