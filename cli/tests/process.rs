//! The process: what it says, what it refuses, which settings win, and how it ends.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

#[expect(dead_code, reason = "nobody is killed here")]
mod machine;
#[path = "machine/wire.rs"]
#[expect(dead_code, reason = "some calls are not needed here")]
mod wire;

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::process::Command;

use lessor::JobState;
use lessor::proto::job_broker_admin_client::JobBrokerAdminClient;
use lessor::proto::lease_response::EmptyReason;
use lessor::proto::{GetStoreStatusRequest, WatchEventsRequest};
use tempfile::TempDir;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::machine::broker::{Broker, serve};
use crate::machine::process::Process;
use crate::wire::{
    Stub, ack, answer, awaited, begin_to_wait, done, end_of, enqueued, healths, leased, read, told,
    why, wish,
};

const MEMORY: [&str; 4] = ["--listen", "127.0.0.1:0", "--store", "sqlite::memory:"];

/// A store in a file of `folder`.
fn file_in(folder: &TempDir) -> String {
    format!("sqlite:{}", folder.path().join("jobs.db").display())
}

/// Runs a broker that must not serve, and must end with this code; returns what it says.
async fn refusal(command: &mut Command, code: i32) -> String {
    let mut process = Process::spawn(command);
    let status = process.ended().await;
    let said = process.stderr();
    assert_eq!((status.code(), process.stdout()), (Some(code), String::new()), "{said}");
    said
}

#[tokio::test]
async fn one_line_says_that_it_serves() {
    for signal in ["TERM", "INT"] {
        let mut broker = Broker::start(&MEMORY).await;
        enqueued(&Stub::new(broker.channel()), "mail").await;
        broker.process.signal(signal);
        assert_eq!(broker.process.ended().await.code(), Some(0), "after SIG{signal}");
        let (version, address) = (env!("CARGO_PKG_VERSION"), broker.address);
        let line = format!("lessor {version} serving on {address}, store sqlite::memory:\n");
        assert_eq!(broker.process.stdout(), line);
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = owner.local_addr().unwrap().to_string();
    let command = &mut serve(&["--listen", &address, "--store", "sqlite::memory:"]);
    let said = refusal(command, 1).await;
    assert!(said.contains(&format!("can't listen on {address}")), "{said}");
}

#[tokio::test]
async fn a_bad_setting_is_named_with_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lessor.toml");
    let path = path.to_str().unwrap();
    for (text, key) in
        [("colour = 1", "colour"), ("grace = '5'", "grace"), ("store = 'x'", "store")]
    {
        fs::write(path, text).unwrap();
        assert_named(&mut serve(&["--config", path]), key, path).await;
    }
    let flags = [
        ("--store", "mysql://localhost", "store"),
        ("--grace", "soon", "grace"),
        ("--listen", "7077", "listen"),
        ("--threads", "0", "threads"),
        ("--log-format", "xml", "log_format"),
        ("--synchronous", "off", "synchronous"),
    ];
    for (flag, value, key) in flags {
        assert_named(&mut serve(&[flag, value]), key, flag).await;
    }
    let elsewhere = ["--manual-clock", "--store", "redis://127.0.0.1"];
    assert_named(&mut serve(&elsewhere), "manual_clock", "--manual-clock").await;
    let missing = folder.path().join("missing.toml");
    let missing = missing.to_str().unwrap();
    assert_named(&mut serve(&["--config", missing]), "can't read", missing).await;
    let variables = [
        ("LESSOR_STORE", "localhost", "store"),
        ("LESSOR_GRACE", "30", "grace"),
        ("LESSOR_ALLOW_EVICTION", "perhaps", "allow_eviction"),
        ("LESSOR_NAMESPACE", "a b", "namespace"),
    ];
    for (name, value, key) in variables {
        assert_named(serve(&[]).env(name, value), key, name).await;
    }
}

async fn assert_named(command: &mut Command, key: &str, source: &str) {
    let said = refusal(command, 78).await;
    assert!(said.starts_with("lessor: ") && said.contains(key) && said.contains(source), "{said}");
}

#[tokio::test]
async fn a_file_yields_to_variables_and_both_to_flags() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lessor.toml");
    let [by_file, by_variable] =
        ["file", "variable"].map(|name| format!("sqlite:{}/{name}.db", folder.path().display()));
    let text = format!("listen = '127.0.0.1:0'\nsynchronous = 'normal'\nstore = '{by_file}'\n");
    fs::write(&path, text).unwrap();
    let with_file = || {
        let mut command = serve(&[]);
        command.env("LESSOR_CONFIG", &path);
        command
    };
    let with_variables = |args: &[&str]| {
        let mut command = with_file();
        command.env("LESSOR_STORE", &by_variable).env("LESSOR_SYNCHRONOUS", "full").args(args);
        command
    };
    let flags = ["--store", "sqlite::memory:"];
    let cases = [
        (with_file(), &by_file[..], "synchronous=NORMAL"),
        (with_variables(&[]), &by_variable, "synchronous=FULL"),
        (with_variables(&["--synchronous", "normal"]), &by_variable, "synchronous=NORMAL"),
        (with_variables(&flags), "sqlite::memory:", "in memory"),
    ];
    for (mut command, store, mode) in cases {
        let broker = Broker::ready(Process::spawn(&mut command)).await;
        let line = broker.process.stdout();
        assert!(line.ends_with(&format!(", store {store}\n")), "{line}");
        let mut admin = JobBrokerAdminClient::new(broker.channel());
        let status = answer(admin.get_store_status(GetStoreStatusRequest::default())).await;
        let version = status.unwrap().into_inner().store_version;
        assert!(version.contains(mode), "{version}");
    }
}

#[tokio::test]
async fn a_terminated_broker_says_so_and_comes_to_rest() {
    let mut broker = Broker::start(&[&MEMORY[..], &["--grace", "50s"]].concat()).await;
    let channel = broker.channel();
    let stub = Stub::new(channel.clone());
    // What could hold up the end: an idle connection, an open stream of events and one of health,
    // a lease that waits.
    let idle = Stub::new(broker.channel());
    enqueued(&idle, "other").await;
    let mut healths = healths(&channel, "").await;
    told(&mut healths, ServingStatus::Serving).await;
    let watch = answer(stub.clone().watch_events(WatchEventsRequest::default())).await;
    let mut events = watch.unwrap().into_inner();
    let mut waiting_stub = stub.clone();
    let mut waiting = pin!(waiting_stub.lease(wish("mail", 60, 60)));
    begin_to_wait(&stub, &mut waiting).await;

    broker.process.signal("TERM");
    let order = RefCell::new(Vec::new());
    let unready = async {
        told(&mut healths, ServingStatus::NotServing).await;
        order.borrow_mut().push("health");
    };
    let waiting = async {
        let reply = awaited(waiting).await.unwrap().into_inner();
        order.borrow_mut().push("lease");
        (reply.jobs.len(), reply.empty_reason())
    };
    // What arrives together is looked at in the order in which it should have been sent.
    let ending = awaited(end_of(&mut events));
    let ((), answered, end) = tokio::join!(biased; unready, waiting, ending);
    assert_eq!(order.into_inner(), ["health", "lease"]);
    assert_eq!(answered, (0, EmptyReason::Draining));
    assert_eq!(why(&end), (Code::Unavailable, "DRAINING".to_owned()));
    assert_eq!(broker.process.ended().await.code(), Some(0));
    let log = broker.process.stderr();
    assert!(!log.contains("cut off"), "{log}");
    drop(idle);
}

#[tokio::test]
async fn a_silent_connection_is_cut_off_after_the_grace_period() {
    let mut broker = Broker::start(&[&MEMORY[..], &["--grace", "1s"]].concat()).await;
    let mut silent = TcpStream::connect(broker.address).unwrap();
    // The beginning of HTTP/2, and nothing more.
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    enqueued(&Stub::new(broker.channel()), "mail").await;
    broker.process.signal("TERM");
    assert_eq!(broker.process.ended().await.code(), Some(0));
    drop(silent);
}

#[tokio::test]
async fn jobs_outlive_an_orderly_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = file_in(&folder);
    let args = ["--listen", "127.0.0.1:0", "--store", &store];
    let mut broker = Broker::start(&args).await;
    let stub = Stub::new(broker.channel());
    let finished = enqueued(&stub, "mail").await;
    assert_eq!(done(&stub, "mail").await, finished);
    let held = enqueued(&stub, "mail").await;
    let lease = leased(&stub, "mail", 60).await;
    let ready = enqueued(&stub, "mail").await;
    broker.process.signal("TERM");
    assert_eq!(broker.process.ended().await.code(), Some(0));

    let broker = Broker::start(&args).await;
    let stub = Stub::new(broker.channel());
    let jobs =
        [(&finished, JobState::Succeeded), (&held, JobState::Leased), (&ready, JobState::Ready)];
    for (name, state) in jobs {
        assert_eq!(read(&stub, name).await.unwrap().state(), state, "{name}");
    }
    answer(stub.clone().ack(ack(&lease.lease_token))).await.unwrap();
    assert_eq!(done(&stub, "mail").await, ready);
}

#[tokio::test]
async fn a_file_is_one_brokers_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = file_in(&folder);
    let args = ["--listen", "127.0.0.1:0", "--store", &store];
    let mut first = Broker::start(&args).await;
    let said = refusal(&mut serve(&args), 1).await;
    for words in [&store, "another broker has it open"] {
        assert!(said.contains(words), "{said}");
    }
    enqueued(&Stub::new(first.channel()), "mail").await;
    first.process.signal("TERM");
    first.process.ended().await;
    let second = Broker::start(&args).await;
    done(&Stub::new(second.channel()), "mail").await;
}
