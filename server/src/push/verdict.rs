//! What an answer of an endpoint means for the job. Pure: values only.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use super::client::{Failed, Reply};
use crate::clock::Timestamp;
use crate::job::push::ClientErrors;
use crate::job::transition::Disposition;
use crate::job::{Failure, Form, Payload};

/// The largest body of an answer that becomes a result, in bytes.
pub(super) const RESULT_LIMIT: usize = 256 << 10;

/// The longest that an endpoint may put a job off.
const LONGEST_DELAY: Duration = Duration::from_hours(24);

/// Bytes of a body that the message of a failure has at most.
const EXCERPT: usize = 1 << 10;

/// Bytes of the names of a result's type and encoding at most.
const TYPE_LIMIT: usize = 128;
const ENCODING_LIMIT: usize = 64;

/// What becomes of a job that was sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is done, with this result.
    Done(Option<Payload>),
    /// It is not.
    Not(Disposition, Failure),
}

impl Verdict {
    /// The endpoint asked for some time.
    pub(super) fn delay(&self) -> Option<Duration> {
        match self {
            Self::Not(Disposition::Retry(delay), _) => *delay,
            _ => None,
        }
    }
}

/// What an answer means.
pub(super) fn of_reply(reply: Reply, policy: ClientErrors, now: Timestamp) -> Verdict {
    let Reply { head, body } = reply;
    let status = head.status;
    if status.is_success() {
        return Verdict::Done(body.and_then(|body| result(&head.headers, body)));
    }
    let message = told(status, body.as_ref());
    let failure = failure(&format!("HTTP_{}", status.as_u16()), message);
    let disposition = if is_final(status) && policy == ClientErrors::Dead {
        Disposition::Dead
    } else {
        Disposition::Retry(retry_after(status, &head.headers, now))
    };
    Verdict::Not(disposition, failure)
}

/// What it means that there is no answer.
pub(super) fn of_failure(failed: Failed) -> Verdict {
    let (code, message) = match failed {
        Failed::Refused(refused) => ("TARGET_REFUSED", refused.to_string()),
        Failed::Connect(why) => ("CONNECT", why),
        Failed::Broken(why) => ("CONNECTION_LOST", why),
    };
    Verdict::Not(Disposition::Retry(None), failure(code, message))
}

/// What it means that the endpoint can't be called at all.
pub(super) fn of_malformed(error: &http::Error) -> Verdict {
    Verdict::Not(Disposition::Retry(None), failure("BAD_ENDPOINT", error.to_string()))
}

/// What it means that an answer did not come in time.
pub(super) fn of_silence(timeout: Duration) -> Verdict {
    let message =
        format!("the endpoint did not answer within {}", humantime::format_duration(timeout));
    Verdict::Not(Disposition::Retry(None), failure("TIMEOUT", message))
}

fn failure(code: &str, message: String) -> Failure {
    Failure { code: code.to_owned(), message, ..Failure::default() }
}

/// Client errors that no later try mends.
fn is_final(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

/// How long an endpoint that is overloaded asks to be left alone.
fn retry_after(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        Timestamp::of(httpdate::parse_http_date(text).ok()?).since(now)
    };
    Some(delay.min(LONGEST_DELAY))
}

/// The body of an answer as the result of a job; none when it is empty.
fn result(headers: &HeaderMap, body: Bytes) -> Option<Payload> {
    if body.is_empty() {
        return None;
    }
    let text = |name, limit| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if value.len() <= limit { value.to_owned() } else { String::new() }
    };
    let content_type = text(CONTENT_TYPE, TYPE_LIMIT);
    let encoding = text(CONTENT_ENCODING, ENCODING_LIMIT);
    Some(Payload { data: body, form: Form::Data, content_type, encoding })
}

/// A status and how its body begins, for people.
fn told(status: StatusCode, body: Option<&Bytes>) -> String {
    let mut text = format!("the endpoint answered {status}");
    let body = body.map(Bytes::as_ref).unwrap_or_default();
    let begin = String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]);
    let begin: String = begin.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
    if !begin.trim().is_empty() {
        text.push_str(": ");
        text.push_str(begin.trim());
    }
    text
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn verdict(status: u16, retry_after: Option<&str>, policy: ClientErrors) -> Verdict {
        let mut response = Response::builder().status(status);
        if let Some(value) = retry_after {
            response = response.header(RETRY_AFTER, value);
        }
        let (head, ()) = response.body(()).unwrap().into_parts();
        of_reply(Reply { head, body: Some(Bytes::from_static(b"oops\n")) }, policy, NOW)
    }

    fn disposition(status: u16, retry_after: Option<&str>, policy: ClientErrors) -> Disposition {
        match verdict(status, retry_after, policy) {
            Verdict::Not(disposition, _) => disposition,
            Verdict::Done(_) => panic!("{status} is no success"),
        }
    }

    #[test]
    fn every_success_is_one() {
        for status in [200, 201, 202, 204, 299] {
            assert!(matches!(verdict(status, None, ClientErrors::Dead), Verdict::Done(_)));
        }
    }

    #[test]
    fn client_errors_are_final_unless_the_policy_says_otherwise() {
        for status in [400, 401, 404, 410, 422, 451] {
            assert_eq!(disposition(status, None, ClientErrors::Dead), Disposition::Dead);
            let retried = disposition(status, None, ClientErrors::Retry);
            assert_eq!(retried, Disposition::Retry(None), "{status}");
        }
        for status in [301, 302, 307, 308, 408, 425, 429, 500, 502, 503, 504, 599] {
            let retried = disposition(status, None, ClientErrors::Dead);
            assert_eq!(retried, Disposition::Retry(None), "{status}");
        }
    }

    #[test]
    fn an_overloaded_endpoint_says_when_to_come_back() {
        let delay = |status, value| disposition(status, Some(value), ClientErrors::Dead);
        let after = |seconds| Disposition::Retry(Some(Duration::from_secs(seconds)));
        assert_eq!(delay(429, "120"), after(120));
        assert_eq!(delay(503, " 7 "), after(7));
        // 90 s after the moment above.
        assert_eq!(delay(503, "Tue, 14 Nov 2023 22:14:50 GMT"), after(90));
        assert_eq!(delay(503, "Tue, 14 Nov 2000 22:14:50 GMT"), after(0));
        assert_eq!(delay(503, "999999999"), after(24 * 3600));
        for unclear in ["-1", "soon", "1.5", ""] {
            assert_eq!(delay(503, unclear), Disposition::Retry(None), "{unclear}");
        }
        assert_eq!(delay(500, "120"), Disposition::Retry(None));
    }

    #[test]
    fn a_failure_tells_how_the_answer_begins() {
        let Verdict::Not(_, failure) = verdict(503, None, ClientErrors::Dead) else { panic!() };
        assert_eq!(failure.code, "HTTP_503");
        assert_eq!(failure.message, "the endpoint answered 503 Service Unavailable: oops");
    }

    #[test]
    fn a_body_becomes_the_result() {
        let response = Response::builder().header(CONTENT_TYPE, "application/json").body(());
        let (head, ()) = response.unwrap().into_parts();
        let done = |body| {
            let reply = Reply { head: head.clone(), body };
            of_reply(reply, ClientErrors::Dead, NOW)
        };
        let Verdict::Done(Some(result)) = done(Some(Bytes::from_static(b"{}"))) else { panic!() };
        assert_eq!(
            (&result.data[..], result.content_type.as_str()),
            (&b"{}"[..], "application/json")
        );
        assert_eq!(done(Some(Bytes::new())), Verdict::Done(None));
        assert_eq!(done(None), Verdict::Done(None));
    }
}
