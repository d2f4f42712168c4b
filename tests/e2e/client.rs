//! The Rust client against a broker: enqueues that ride together, and work on a stream.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use lessor::{
    Client, Code, Delivery, EnqueueOutcome, NewJob, WorkEvent, WorkOptions, WorkStream, payload,
};
use lessor_proto::v1::job::State;

use crate::on_every_store;
use crate::server::{Server, bytes_of, lease};

on_every_store! {
    concurrent_enqueues_answer_each_for_itself,
    a_chosen_id_counts_among_concurrent_enqueues,
    a_worker_on_a_stream_settles_what_it_gets,
    a_worker_that_leaves_gives_back_what_it_holds,
}

fn client(server: &Server) -> Client {
    Client::connect(format!("http://{}", server.address)).unwrap()
}

async fn job(work: &mut WorkStream) -> Delivery {
    match work.next().await.unwrap().unwrap() {
        WorkEvent::Job(delivery) => delivery,
        other => panic!("{other:?}"),
    }
}

async fn concurrent_enqueues_answer_each_for_itself(server: &mut Server) {
    let client = client(server);
    // Every fifth is refused, and the queues take turns.
    let calls = (0..300).map(|number: i32| {
        let job = NewJob::new(["mail", "media"][usize::from(number % 2 == 0)])
            .payload_bytes(number.to_string().into_bytes())
            .priority(if number % 5 == 0 { 5000 } else { number });
        let client = client.clone();
        async move { (number, client.enqueue(job).await) }
    });
    let mut names = BTreeSet::new();
    for (number, answer) in join_all(calls).await {
        if number % 5 == 0 {
            assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument, "{number}");
            continue;
        }
        let enqueued = answer.unwrap();
        assert_eq!(enqueued.outcome, EnqueueOutcome::Created);
        let stored = server.get(&enqueued.job.name).await;
        assert_eq!(bytes_of(stored.payload.as_ref()), number.to_string().as_bytes());
        assert_eq!(stored.priority, number);
        assert!(names.insert(stored.name), "{number} has the job of another");
    }
    assert_eq!(names.len(), 240);
}

async fn a_chosen_id_counts_among_concurrent_enqueues(server: &mut Server) {
    let client = client(server);
    let id = uuid::Uuid::new_v4().to_string();
    let enqueues = (0..20).map(|_| {
        let job = NewJob::new("mail").request_id(&id);
        client.enqueue(job)
    });
    let plain = (0..20).map(|_| client.enqueue(NewJob::new("mail")));

    let (same, plain) = tokio::join!(join_all(enqueues), join_all(plain));

    let same: Vec<_> = same.into_iter().map(Result::unwrap).collect();
    let names: BTreeSet<_> = same.iter().map(|enqueued| enqueued.job.name.clone()).collect();
    assert_eq!(names.len(), 1);
    let created = same.iter().filter(|it| it.outcome == EnqueueOutcome::Created).count();
    assert_eq!(created, 1);
    let plain: BTreeSet<_> = plain.into_iter().map(|it| it.unwrap().job.name).collect();
    assert_eq!(plain.len(), 20);
}

async fn a_worker_on_a_stream_settles_what_it_gets(server: &mut Server) {
    let client = client(server);
    let jobs = (0..100).map(|number: u8| NewJob::new("mail").payload_bytes(vec![number]));
    let jobs = client.enqueue_batch(jobs.collect()).await.unwrap();

    let options = WorkOptions::new(["mail"]).concurrency(8);
    let mut work = client.work(&options).await.unwrap();
    for _ in 0..jobs.len() {
        let mut delivery = job(&mut work).await;
        let input = bytes_of(delivery.job().unwrap().payload.as_ref()).to_vec();
        delivery.ack(Some(payload::bytes(input))).await.unwrap();
    }
    work.close(true).await;

    for (number, enqueued) in (0..).zip(jobs) {
        let done = server.get(&enqueued.job.name).await;
        assert_eq!(done.state(), State::Succeeded);
        assert_eq!(bytes_of(done.result.as_ref()), [number]);
    }
}

async fn a_worker_that_leaves_gives_back_what_it_holds(server: &mut Server) {
    let client = client(server);
    let enqueued = client.enqueue_batch(vec![NewJob::new("mail"), NewJob::new("mail")]).await;
    let names: BTreeSet<_> = enqueued.unwrap().into_iter().map(|it| it.job.name).collect();
    let mut work = client.work(&WorkOptions::new(["mail"]).concurrency(2)).await.unwrap();
    // One is taken, the other may be on its way or not.
    let taken = job(&mut work).await;

    work.close(true).await;

    let mut again = BTreeSet::new();
    for _ in 0..2 {
        let leased = server.leased_by(lease("mail")).await.job.unwrap();
        assert_eq!(leased.attempt, 1, "giving back does not count");
        again.insert(leased.name);
    }
    assert_eq!(again, names);
    assert!(names.contains(&taken.job().unwrap().name));
}
