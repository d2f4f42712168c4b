//! A job as an HTTP request.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use prost::Message;
use prost_types::value::Kind;
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use super::sign::signatures;
use crate::clock::Timestamp;
use crate::job::{Form, Job, Payload, Push};

/// Begins the label of a job that becomes a header of its request.
const LABEL: &str = "header.";

/// The namespace of message ids (RFC 9562, version 5).
const MESSAGES: Uuid = Uuid::from_u128(0x4f7d_9c2e_08b1_4a6f_b3d5_61e0_97ca_2f84);

/// What of a producer's trace is passed on.
const TRACE: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// Headers that belong to the connection or to the sender, besides those that begin as in
/// `OWN_PREFIXES`.
const OWN: [&str; 16] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "traceparent",
    "tracestate",
    "baggage",
    "accept-encoding",
];
const OWN_PREFIXES: [&str; 4] = ["webhook-", "lessor-", "proxy-", ":"];

/// True for the name of a header that neither a queue nor a job may set.
pub fn is_own(name: &str) -> bool {
    OWN.iter().any(|own| name.eq_ignore_ascii_case(own))
        || OWN_PREFIXES
            .iter()
            .any(|own| name.get(..own.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(own)))
}

/// The request that one attempt of a job makes.
pub(super) fn request(
    push: &Push,
    job: &Job,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let body = job.spec.payload.as_ref().map(body).unwrap_or_default();
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(push.uri.as_str())
        .body(Full::new(body.clone()))?;
    let headers = request.headers_mut();
    for (name, value) in labelled(job) {
        headers.insert(name, value);
    }
    for (name, value) in &push.headers {
        set(headers, HeaderName::try_from(name)?, value.expose());
    }
    describe(headers, job);
    let (id, seconds) = (message_id(job), now.as_millis() / 1000);
    set(headers, HeaderName::from_static("webhook-id"), &id);
    set(headers, HeaderName::from_static("webhook-timestamp"), &seconds.to_string());
    if !push.secrets.is_empty() {
        let signatures = signatures(&push.secrets, &id, seconds, &body);
        set(headers, HeaderName::from_static("webhook-signature"), &signatures);
    }
    Ok(request)
}

/// What a receiver knows a job by: the same for all its attempts, and another one for a job of the
/// same name that is made later. It has no dot, which divides what is signed.
fn message_id(job: &Job) -> String {
    let name = format!("{}\n{}", job.name, job.spec.created.as_millis());
    format!("msg_{}", Uuid::new_v5(&MESSAGES, name.as_bytes()).as_simple())
}

fn describe(headers: &mut HeaderMap, job: &Job) {
    let spec = &job.spec;
    let content_type = match &spec.payload {
        Some(payload) if !payload.content_type.is_empty() => payload.content_type.as_str(),
        Some(Payload { form: Form::Json, .. }) => "application/json",
        _ => "application/octet-stream",
    };
    set(headers, CONTENT_TYPE, content_type);
    let encoding = spec.payload.as_ref().map_or("", |payload| payload.encoding.as_str());
    if !encoding.is_empty() {
        set(headers, CONTENT_ENCODING, encoding);
    }
    set(headers, USER_AGENT, concat!("lessor/", env!("CARGO_PKG_VERSION")));
    set(headers, HeaderName::from_static("lessor-job"), &job.name.to_string());
    set(headers, HeaderName::from_static("lessor-queue"), job.name.queue.as_str());
    set(headers, HeaderName::from_static("lessor-attempt"), &job.counters.attempts.to_string());
    if !spec.job_type.is_empty() {
        set(headers, HeaderName::from_static("lessor-type"), &spec.job_type);
    }
    for name in TRACE {
        if let Some(value) = spec.trace_context.get(name) {
            set(headers, HeaderName::from_static(name), value);
        }
    }
}

/// The headers that a job's labels ask for. What is no header is left out: a label may be
/// anything, and the job is more than its headers.
fn labelled(job: &Job) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    job.spec.labels.iter().filter_map(|(label, value)| {
        let name = label.strip_prefix(LABEL).filter(|name| !is_own(name))?;
        Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    })
}

/// Sets a header, if its value is fit for one.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    debug_assert!(name != HOST && name != CONTENT_LENGTH, "the client's own");
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

/// A payload as it is sent: bytes as they are, and a JSON value as text.
fn body(payload: &Payload) -> Bytes {
    match payload.form {
        Form::Data => payload.data.clone(),
        Form::Json => {
            let value = prost_types::Value::decode(payload.data.clone()).unwrap_or_default();
            json(value).to_string().into()
        }
    }
}

fn json(value: prost_types::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::StringValue(value)) => Value::String(value),
        Some(Kind::NumberValue(value)) => number(value),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json).collect(),
        Some(Kind::StructValue(object)) => {
            let fields = object.fields.into_iter().map(|(name, value)| (name, json(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

/// Whole numbers are written as such, as far as a double holds them exactly.
#[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
fn number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::push::Secret;
    use crate::job::{JobName, Spec};

    fn job(change: impl FnOnce(&mut Spec)) -> Job {
        let mut spec = Spec { created: Timestamp::from_millis(1000), ..Spec::default() };
        change(&mut spec);
        Job::enqueued(JobName::parse("queues/hooks/jobs/a.b").unwrap(), spec)
    }

    fn headers(push: &Push, job: &Job) -> HeaderMap {
        let now = Timestamp::from_millis(1_614_265_330_999);
        request(push, job, now).unwrap().headers().clone()
    }

    fn to() -> Push {
        Push::to("https://example.com/")
    }

    #[test]
    fn a_request_tells_which_job_it_is() {
        let mut job = job(|spec| spec.job_type = "welcome".to_owned());
        job.counters.attempts = 2;
        let headers = headers(&to(), &job);
        assert_eq!(headers["lessor-job"], "queues/hooks/jobs/a.b");
        assert_eq!(headers["lessor-queue"], "hooks");
        assert_eq!(headers["lessor-type"], "welcome");
        assert_eq!(headers["lessor-attempt"], "2");
        assert_eq!(headers["webhook-timestamp"], "1614265330");
        assert_eq!(headers["content-type"], "application/octet-stream");
        assert!(!headers.contains_key("webhook-signature"));
    }

    #[test]
    fn all_attempts_of_a_job_have_one_id_and_another_job_of_its_name_has_another() {
        let id = |job: &Job| headers(&to(), job)["webhook-id"].to_str().unwrap().to_owned();
        let first = job(|_| {});
        let mut again = first.clone();
        again.counters.attempts = 5;
        assert_eq!(id(&first), id(&again));
        assert_ne!(id(&first), id(&job(|spec| spec.created = Timestamp::from_millis(2000))));
        assert!(id(&first).starts_with("msg_") && !id(&first).contains('.'));
    }

    #[test]
    fn labels_of_a_job_become_headers_but_never_those_of_others() {
        let labels = [
            ("header.X-Tenant", "acme"),
            ("header.X-Both", "job"),
            ("header.Host", "evil"),
            ("header.Webhook-Id", "evil"),
            ("header.no good", "x"),
            ("header.", "x"),
            ("tenant", "x"),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let job = job(|spec| spec.labels = labels.into());
        let mut push = to();
        push.headers.insert("X-Both".to_owned(), "queue".to_owned().into());
        let headers = headers(&push, &job);
        assert_eq!(
            (&headers["x-tenant"], &headers["x-both"]),
            (&"acme".parse().unwrap(), &"queue".parse().unwrap())
        );
        assert!(!headers.contains_key("host"));
        assert_ne!(headers["webhook-id"], "evil");
        // Type, agent, three of the job, two of the message, and the two above.
        assert_eq!(headers.len(), 9, "{headers:?}");
    }

    #[test]
    fn the_trace_of_the_producer_is_passed_on() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = [("traceparent".to_owned(), parent.to_owned())];
        let headers = headers(&to(), &job(|spec| spec.trace_context = context.into()));
        assert_eq!(headers["traceparent"], parent);
    }

    #[test]
    fn json_is_sent_as_text() {
        let number = |it| prost_types::Value { kind: Some(Kind::NumberValue(it)) };
        let list =
            prost_types::ListValue { values: vec![number(1.0), number(-2.5), number(1e300)] };
        let list = prost_types::Value { kind: Some(Kind::ListValue(list)) };
        let object = prost_types::Struct { fields: [("a".to_owned(), list)].into() };
        let value = prost_types::Value { kind: Some(Kind::StructValue(object)) };
        let data = value.encode_to_vec().into();
        let payload = Payload { data, form: Form::Json, ..Payload::default() };
        assert_eq!(body(&payload), r#"{"a":[1,-2.5,1e+300]}"#);
        let headers = headers(&to(), &job(|spec| spec.payload = Some(payload)));
        assert_eq!(headers["content-type"], "application/json");
    }

    #[test]
    fn what_the_sender_says_of_its_data_is_passed_on() {
        let payload = Payload {
            content_type: "text/plain".to_owned(),
            encoding: "gzip".to_owned(),
            ..Payload::default()
        };
        let headers = headers(&to(), &job(|spec| spec.payload = Some(payload)));
        assert_eq!(
            (headers["content-type"].as_bytes(), headers["content-encoding"].as_bytes()),
            (&b"text/plain"[..], &b"gzip"[..])
        );
    }

    #[test]
    fn a_queue_with_secrets_signs() {
        let push = Push { secrets: vec![Secret::of(vec![1; 24].into()); 2], ..to() };
        let signature = headers(&push, &job(|_| {}))["webhook-signature"].clone();
        assert_eq!(signature.to_str().unwrap().split(' ').count(), 2);
    }
}
