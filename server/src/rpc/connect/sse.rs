//! Events for browsers and curl: `GET /v1/events`, as server-sent events.
//!
//! The call behind is `WatchEvents`; its fields are parameters of the query. The last event of each
//! answer carries the cursor as its id, so a browser that reconnects resumes by `Last-Event-ID`. A
//! stream that is cut in the middle of an answer gets that answer again.

use std::fmt::Write as _;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::unfold;
use http::{HeaderMap, HeaderName, HeaderValue, Method as Verb, Uri};
use http::{Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use lessor_proto::v1;
use lessor_proto::v1::event::Type;
use lessor_proto::v1::watch_events_request::Start;
use prost::Message;
use prost_reflect::MessageDescriptor;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::Connect;
use super::codec::Codec;
use super::error::{self, Error};
use super::frame::framed;
use super::head::{self, Form};
use super::reply::{Part, Reply};
use crate::rpc::convert::field::Violations;

/// Where events are.
const PATH: &str = "/v1/events";
const CALL: &str = "/lessor.v1.JobBroker/WatchEvents";
const EVENT: &str = "lessor.v1.Event";
const LAST_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How long a browser waits before it reconnects, in milliseconds.
const RETRY: &str = "retry: 2000\n\n";

impl Connect {
    /// Whether this asks for events.
    pub(in crate::rpc) fn is_events(&self, request: &Request<Body>) -> bool {
        let is_asked = request.method() == Verb::GET && request.uri().path() == PATH;
        is_asked && self.methods.get(CALL).is_some()
    }

    /// Streams events through `calls`, which is ready.
    pub(in crate::rpc) async fn events<S>(
        &self,
        request: Request<Body>,
        calls: &mut S,
    ) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let (mut parts, _) = request.into_parts();
        let last_id = parts.headers.remove(LAST_ID);
        let resumes = last_id.as_ref().and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
        let watch = read(parts.uri.query().unwrap_or_default(), resumes);
        let asked = watch.map_err(Status::from).and_then(|watch| {
            head::inward(Form::Unary(Codec::Json), &mut parts)?;
            Ok(framed(0, &watch.encode_to_vec()))
        });
        let asked = match asked {
            Ok(asked) => asked,
            Err(status) => return Ok(self.failed(&status, HeaderMap::new())),
        };
        (parts.method, parts.uri) = (Verb::POST, Uri::from_static(CALL));
        let call = Request::from_parts(parts, Body::new(Full::new(asked)));
        let (mut reply, head) = Reply::new(calls.call(call).await?);
        // The first answer comes at once; till then a failure can still be told by its status.
        let first = match reply.next().await {
            Part::End(status, _) if status.code() != Code::Ok => {
                return Ok(self.failed(&status, head.headers));
            }
            first => first,
        };
        if resumes.is_some() && is_over(&first, &mut reply) {
            // A browser that is told so does not come back.
            return Ok(empty(StatusCode::NO_CONTENT, head.headers));
        }
        let Some(kind) = self.methods.message(EVENT) else {
            return Ok(empty(StatusCode::NOT_FOUND, head.headers));
        };
        let told = Telling { connect: self.clone(), kind, reply, first: Some(first) };
        let begin = Some((told, true));
        let frames = unfold(begin, |state| async move {
            let (mut told, is_first) = state?;
            let (mut text, is_last) = told.next().await;
            if is_first {
                text.insert_str(0, RETRY);
            }
            let frame: Result<_, Status> = Ok(Frame::data(Bytes::from(text)));
            Some((frame, (!is_last).then_some((told, false))))
        });
        let mut answer = empty(StatusCode::OK, head.headers);
        *answer.body_mut() = Body::new(StreamBody::new(frames));
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Nginx would collect events until a buffer is full.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(answer)
    }

    fn failed(&self, status: &Status, headers: HeaderMap) -> Response<Body> {
        error::response(status, &self.methods, headers)
    }
}

fn empty(status: StatusCode, headers: HeaderMap) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

/// Nothing is left to tell: a bookmark comes first, and the end is there already.
fn is_over(first: &Part, reply: &mut Reply) -> bool {
    match first {
        Part::End(..) => true,
        Part::Message(message) => {
            let is_bookmark = v1::WatchEventsResponse::decode(message.clone())
                .is_ok_and(|response| response.events.is_empty());
            is_bookmark && matches!(reply.next().now_or_never(), Some(Part::End(..)))
        }
    }
}

/// A stream under way.
struct Telling {
    connect: Connect,
    kind: MessageDescriptor,
    reply: Reply,
    first: Option<Part>,
}

impl Telling {
    /// The next text, and whether it is the last one.
    async fn next(&mut self) -> (String, bool) {
        let part = match self.first.take() {
            Some(first) => first,
            None => self.reply.next().await,
        };
        match part {
            Part::Message(message) => match self.told(message) {
                Ok(text) => (text, false),
                Err(status) => (self.end(&status), true),
            },
            Part::End(status, _) => (self.end(&status), true),
        }
    }

    fn told(&self, message: Bytes) -> Result<String, Status> {
        let response = v1::WatchEventsResponse::decode(message)
            .map_err(|why| Status::internal(why.to_string()))?;
        let mut text = String::new();
        for event in response.events {
            let name = event.r#type().as_str_name();
            let json = Codec::Json.outward(&self.kind, event.encode_to_vec().into())?;
            // An empty line ends an event: the last one has an id to come.
            separate(&mut text);
            // Writing to a string can't fail.
            let _infallible =
                write!(text, "event: {name}\ndata: {}\n", String::from_utf8_lossy(&json));
        }
        let _infallible = write!(text, "id: {}\n\n", response.cursor);
        Ok(text)
    }

    fn end(&self, status: &Status) -> String {
        if status.code() == Code::Ok {
            return "event: end\ndata: {}\n\n".to_owned();
        }
        let json = Error::new(status, &self.connect.methods).json();
        format!("event: error\ndata: {}\n\n", String::from_utf8_lossy(&json))
    }
}

fn separate(text: &mut String) {
    if !text.is_empty() {
        text.push('\n');
    }
}

/// Reads the parameters. Where a browser resumes wins over where its page had it begin.
fn read(query: &str, resumes: Option<&str>) -> Result<v1::WatchEventsRequest, Violations> {
    let mut wrong = Violations::default();
    let mut watch = v1::WatchEventsRequest::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let list = || value.split(',').filter(|one| !one.is_empty()).map(str::to_owned);
        let wants = &*name;
        match wants {
            "queues" => watch.queues.extend(list()),
            "job" => watch.job = value.into_owned(),
            "types" => {
                for one in list() {
                    match Type::from_str_name(&one) {
                        Some(kind) => watch.types.push(kind.into()),
                        None => wrong.add(wants, format!("has {one:?}, which is no type of event")),
                    }
                }
            }
            "labels" => match value.split_once('=') {
                Some((key, value)) => drop(watch.labels.insert(key.to_owned(), value.to_owned())),
                None => wrong.add(wants, "must be KEY=VALUE"),
            },
            "cursor" => watch.start = Some(Start::Cursor(value.into_owned())),
            "start_time" => match value.parse() {
                Ok(time) => watch.start = Some(Start::StartTime(time)),
                Err(_) => wrong.add(wants, "must be a time such as 2026-01-31T12:00:00Z"),
            },
            "oldest" => match value.parse() {
                Ok(oldest) => watch.start = Some(Start::Oldest(oldest)),
                Err(_) => wrong.add(wants, "must be true or false"),
            },
            "bookmark_interval" => match value.parse() {
                Ok(span) => watch.bookmark_interval = Some(span),
                Err(_) => wrong.add(wants, "must be seconds, such as 15s"),
            },
            "include_result" => match value.parse() {
                Ok(include) => watch.include_result = include,
                Err(_) => wrong.add(wants, "must be true or false"),
            },
            _ => wrong.add(wants, "is no parameter of events"),
        }
    }
    if let Some(cursor) = resumes {
        watch.start = Some(Start::Cursor(cursor.to_owned()));
    }
    wrong.finish(Some(watch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_the_fields_of_the_call() {
        let query = "queues=mail,files&types=JOB_DEAD&labels=user%3D7&oldest=true\
                     &bookmark_interval=5s&include_result=true&queues=more";
        let watch = read(query, None).unwrap();
        assert_eq!(watch.queues, ["mail", "files", "more"]);
        assert_eq!(watch.types, [i32::from(Type::JobDead)]);
        assert_eq!(watch.labels["user"], "7");
        assert_eq!(watch.start, Some(Start::Oldest(true)));
        assert_eq!(watch.bookmark_interval.map(|span| span.seconds), Some(5));
        assert!(watch.include_result);
        let watch = read("oldest=true", Some("here")).unwrap();
        assert_eq!(watch.start, Some(Start::Cursor("here".to_owned())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, field) in [
            ("colour=red", "colour"),
            ("types=JOB_LOST", "types"),
            ("labels=user", "labels"),
            ("start_time=yesterday", "start_time"),
            ("bookmark_interval=soon", "bookmark_interval"),
        ] {
            assert_eq!(read(query, None).unwrap_err().list()[0].field, field, "{query}");
        }
    }
}
