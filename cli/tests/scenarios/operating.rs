//! What operators see of a worker, and what lets it in.

use std::collections::HashMap;
use std::fmt::Debug;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex};

use lessor::{Client, Code, Job, Nack, Retry};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Instrument, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::machine::broker::Broker;
use crate::passing::Passing;
use crate::relay::Relay;
use crate::world::{World, broker, eventually, nothing, result, run, start};

/// While there is one subscriber only, tracing asks the thread that comes by a place first whether
/// anybody listens; that may be another test's.
fn second_subscriber() -> Dispatch {
    Dispatch::new(tracing_subscriber::registry())
}

/// The spans that have ended.
#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Ended {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(spans);
        Ok(())
    }
}

async fn traceparent(job: Job) -> Result<String, Nack> {
    tokio::task::yield_now().await;
    Ok(job.trace_context()["traceparent"].clone())
}

#[tokio::test(flavor = "current_thread")]
async fn scenario_trace_context_is_carried() {
    let spans = Ended::default();
    let _other = second_subscriber();
    let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("scenario"));
    let world = World::new().await;
    let worker = start(world.worker().default_handler(traceparent));

    // Without a tracer.
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let context = HashMap::from([("traceparent".to_owned(), given.to_owned())]);
    let name = world.enqueued(world.job("one").trace_context(context)).await;
    assert_eq!(result(&world.succeeded_at_once(&name).await), given);

    let _tracing = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let producing = tracing::info_span!("producing");
    let name = world.enqueue("one").instrument(producing).await;
    let job = world.succeeded_at_once(&name).await;
    worker.stop().await;

    let spans = spans.0.lock().unwrap().clone();
    let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let produced = find("producing").span_context.clone();
    let expected = format!("00-{}-{}-01", produced.trace_id(), produced.span_id());
    assert_eq!(result(&job), expected);
    let links = &find(&format!("process {}", world.queue)).links.links;
    let linked = |it: &opentelemetry::trace::Link| it.span_context.span_id() == produced.span_id();
    assert!(links.iter().any(linked), "{links:?}");
}

/// The status of a page.
async fn status(address: SocketAddr, path: &str) -> u16 {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn scenario_health_probe() {
    let mut relay = Some(Relay::to(broker().await.address).await);
    let world = World::new().await;
    let client = Client::connect(relay.as_ref().unwrap().url()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let worker = world.worker_by(client).default_handler(nothing).health_listener(listener);
    let _worker = run(worker.build().unwrap());
    eventually("it is connected", async || status(address, "/readyz").await == 200).await;

    // New connections are refused as well.
    relay.take().unwrap().cut();

    eventually("it is not", async || status(address, "/readyz").await == 503).await;
    assert_eq!(status(address, "/livez").await, 200);
}

/// The fields of each event, in words.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<HashMap<String, String>>>>);

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
}

#[derive(Default)]
struct Fields(HashMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn scenario_structured_logs() {
    let told = Told::default();
    let _other = second_subscriber();
    let _logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(told.clone()));
    let world = World::new().await;
    let fails = |_: Job| async { Err::<(), _>("the printer is on fire") };
    let worker = world.worker().worker_id(format!("{}-1", world.queue));
    let worker = start(worker.handler("good", nothing).handler("bad", fails));

    let good = world.enqueue("good").await;
    let bad = world.enqueued(world.job("bad").retry(Retry::attempts(1))).await;
    world.ended(&good).await;
    world.ended(&bad).await;
    worker.stop().await;

    let told = told.0.lock().unwrap().clone();
    for (job, kind, outcome) in [(good, "good", "succeeded"), (bad, "bad", "failed")] {
        let ended = told.iter().find(|event| event.get("job") == Some(&job)).unwrap();
        let expected = [
            ("message", "attempt ended"),
            ("type", kind),
            ("attempt", "1"),
            ("outcome", outcome),
            ("queue", &world.queue),
            ("worker", &format!("{}-1", world.queue)),
        ];
        for (field, value) in expected {
            assert_eq!(ended.get(field).map(String::as_str), Some(value), "{field} in {ended:?}");
        }
    }
}

/// A broker that asks for tokens, and one that it knows.
async fn guarded() -> (Broker, String, TempDir) {
    let mut making = Command::new(env!("CARGO_BIN_EXE_lessor"));
    let made = making.args(["token", "new", "-o", "json"]).output().unwrap().stdout;
    let made: HashMap<String, String> = serde_json::from_slice(&made).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    let identity = format!(
        "[[identity]]\nname = 'both'\nroles = ['producer', 'worker']\nqueues = ['*']\n\
         tokens = ['{}']\n",
        made["digest"]
    );
    fs::write(&path, identity).unwrap();
    let options = ["--listen", "127.0.0.1:0", "--store", "sqlite::memory:", "--auth-tokens"];
    let options = [&options[..], &[path.to_str().unwrap()]].concat();
    (Broker::start(&options).await, made["token"].clone(), folder)
}

#[tokio::test]
async fn scenario_token_is_sent() {
    let (broker, token, _folder) = guarded().await;
    let mut world = World::at(&broker.url());
    world.client = Client::builder(broker.url()).token(token).connect().unwrap();
    let _worker = start(world.worker().default_handler(nothing));

    let name = world.enqueue("one").await;

    world.succeeded_at_once(&name).await;
}

#[tokio::test]
async fn scenario_bad_token_is_final() {
    const TOKEN: &str = "not-the-one-that-it-knows";
    let (broker, _, _folder) = guarded().await;
    let passing = Passing::all(broker.channel()).await;
    let mut world = World::at(&passing.url());
    world.client = Client::builder(passing.url()).token(TOKEN).connect().unwrap();

    let refused = world.client.enqueue(world.job("one")).await.unwrap_err();
    let worker = start(world.worker().default_handler(nothing)).ended().await.unwrap_err();

    for error in [refused, worker] {
        assert_eq!(error.code(), Code::Unauthenticated);
        assert!(!format!("{error} {error:?}").contains(TOKEN));
    }
    assert_eq!(passing.asked(), ["Enqueue", "Work"]);
}

#[tokio::test]
async fn scenario_tls() {
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (own, other) = (made(), made());
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    fs::write(&certificate, own.cert.pem()).unwrap();
    fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let options = ["--listen", "127.0.0.1:0", "--store", "sqlite::memory:", "--tls-cert"];
    let files = [certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let broker = Broker::start(&[&options[..], &files].concat()).await;
    let url = format!("https://localhost:{}", broker.address.port());
    let trusting = |ca: String| Client::builder(&url).ca_certificate(ca).connect().unwrap();
    let mut world = World::at(&broker.url());

    world.client = trusting(own.cert.pem());
    let _worker = start(world.worker().default_handler(nothing));
    let name = world.enqueue("one").await;
    world.succeeded_at_once(&name).await;

    let stranger = trusting(other.cert.pem()).get_job(&name).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unavailable);
    assert!(stranger.message().contains("certificate"), "{stranger}");
}
