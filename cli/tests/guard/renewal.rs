//! A worker whose token is replaced goes on with the new one.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lessor::{Client, Code, Job, Nack, NewJob, Worker};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::machine::broker::Broker;
use crate::machine::pause;
use crate::{MEMORY, identities};

/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn client(broker: &Broker, token: &str) -> Client {
    Client::builder(broker.url()).token(token).connect().unwrap()
}

/// Waits until the broker does not know this client any more.
async fn forgotten(client: &Client) {
    let forgotten = async {
        while client.list_queues().await.err().map(|error| error.code())
            != Some(Code::Unauthenticated)
        {
            pause(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, forgotten).await.expect("the old token counts still");
}

#[tokio::test]
async fn a_rust_worker_goes_on_with_the_token_that_replaces_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.toml");
    let both = [("old", "admin", "*"), ("new", "admin", "*")];
    fs::write(&file, identities(&both)).unwrap();
    let tokens = ["--auth-tokens", file.to_str().unwrap()];
    let broker = Broker::start(&[&MEMORY[..], &tokens[..]].concat()).await;

    let present = Arc::new(Mutex::new("old-token".to_owned()));
    let source = Arc::clone(&present);
    let token = move || source.lock().unwrap().clone();
    let working = Client::builder(broker.url()).token_source(token).connect().unwrap();
    let (done, mut names) = mpsc::unbounded_channel();
    let handler = move |job: Job| {
        done.send(job.message().name.clone()).unwrap();
        std::future::ready(Ok::<_, Nack>(()))
    };
    let worker = Worker::builder(working).queue("mail").default_handler(handler).build().unwrap();
    let renewed = async {
        for token in ["old-token", "new-token"] {
            let enqueued = client(&broker, token).enqueue(NewJob::new("mail")).await.unwrap();
            let came = timeout(PATIENCE, names.recv()).await.expect("its worker is gone");
            assert_eq!(came, Some(enqueued.job.name), "{token}");
            "new-token".clone_into(&mut present.lock().unwrap());
            fs::write(&file, identities(&both[1..])).unwrap();
            forgotten(&client(&broker, "old-token")).await;
        }
    };
    worker.run_until(renewed).await.unwrap();
}
