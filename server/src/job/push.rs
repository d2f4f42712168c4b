//! The HTTP endpoint of a queue whose jobs are sent to it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::id::ParseError;

/// How long an endpoint may take to answer when nobody chose a limit.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests under way at once to one endpoint when nobody chose a limit.
pub const DEFAULT_PARALLEL: u32 = 10;

/// Begins every secret as it is written down.
const SECRET_PREFIX: &str = "whsec_";

/// What stands for a value that is not shown.
pub const HIDDEN: &str = "***";

/// Where and how jobs are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// The endpoint's URL.
    pub uri: String,
    /// Headers of each request.
    pub headers: BTreeMap<String, Hidden>,
    /// How long the endpoint may take to answer.
    pub timeout: Duration,
    /// Requests under way at once over all brokers, at least 1.
    pub max_parallel: u32,
    /// What a client error means.
    pub client_errors: ClientErrors,
    /// What requests are signed with, all of them; none: they are not signed.
    pub secrets: Vec<Secret>,
}

/// What becomes of a job whose endpoint answered with a client error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientErrors {
    /// It becomes a dead letter.
    #[default]
    Dead,
    /// It is tried again.
    Retry,
}

impl Push {
    /// Sends to `uri`, as is usual.
    pub fn to(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            headers: BTreeMap::new(),
            timeout: DEFAULT_TIMEOUT,
            max_parallel: DEFAULT_PARALLEL,
            client_errors: ClientErrors::default(),
            secrets: Vec::new(),
        }
    }

    /// Keeps what its sender was not shown and so could not repeat: secrets, if none are named, and
    /// the values of headers that are [`HIDDEN`]. One that there was not is left out.
    #[must_use]
    pub fn over(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before
            && self.secrets.is_empty()
        {
            self.secrets.clone_from(&before.secrets);
        }
        self.headers.retain(|name, value| {
            if value.expose() != HIDDEN {
                return true;
            }
            let kept = before.and_then(|before| before.headers.get(name));
            if let Some(kept) = kept {
                value.clone_from(kept);
            }
            kept.is_some()
        });
        self
    }
}

/// Text that stays out of logs and replies.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// A key that sender and receiver share (Standard Webhooks, symmetric).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Bytes);

impl Secret {
    /// A stored secret.
    pub fn of(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Checks and takes a secret as it is written down.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let bytes = text.strip_prefix(SECRET_PREFIX).and_then(|code| STANDARD.decode(code).ok());
        match bytes {
            Some(bytes) if (24..=64).contains(&bytes.len()) => Ok(Self(bytes.into())),
            _ => Err(ParseError("must be whsec_ and 24 to 64 bytes in base64")),
        }
    }

    /// The secret as it is written down.
    pub fn write(&self) -> String {
        format!("{SECRET_PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// The key.
    pub fn expose(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::of(vec![byte; 24].into())
    }

    fn push(headers: &[(&str, &str)], secrets: &[Secret]) -> Push {
        let header =
            |(name, value): &(&str, &str)| ((*name).to_owned(), Hidden::from((*value).to_owned()));
        let headers = headers.iter().map(header).collect();
        Push { headers, secrets: secrets.to_vec(), ..Push::to("https://example.com") }
    }

    #[test]
    fn what_was_not_shown_is_kept() {
        let before = push(&[("a", "1"), ("b", "2")], &[secret(1)]);
        let kept = push(&[("a", HIDDEN), ("c", "3")], &[]).over(Some(&before));
        assert_eq!(kept, push(&[("a", "1"), ("c", "3")], &[secret(1)]));
        let replaced = push(&[("a", "9")], &[secret(2), secret(1)]).over(Some(&before));
        assert_eq!(replaced, push(&[("a", "9")], &[secret(2), secret(1)]));
        assert_eq!(push(&[("z", HIDDEN)], &[]).over(Some(&before)).headers.len(), 0);
        assert_eq!(push(&[("z", HIDDEN)], &[]).over(None), push(&[], &[]));
    }

    #[test]
    fn a_secret_is_read_as_the_scheme_writes_it() {
        let read = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(read.expose().len(), 24);
        assert_eq!(read.write(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        for bad in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_?"] {
            assert!(Secret::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_and_headers_stay_out_of_logs() {
        let written = format!("{:?}", push(&[("a", "visible")], &[secret(1)]));
        assert!(!written.contains("visible") && !written.contains("[1, 1"), "{written}");
    }
}
