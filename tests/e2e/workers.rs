//! The workers seen lately, and those that shall lease no more.

use lessor_proto::v1;
use lessor_proto::v1::lease_response::EmptyReason;
use tonic::Code;

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, lease, seconds};

on_every_store! {
    workers_are_listed_with_what_they_say,
    a_drained_worker_leases_nothing_more,
    bad_lists_of_workers_name_their_fields,
}

fn worker(id: &str, queue: &str) -> v1::LeaseRequest {
    let profile = v1::Worker {
        worker_id: id.to_owned(),
        display_name: format!("the worker {id}"),
        labels: [("zone".to_owned(), id.to_owned())].into(),
        sdk: "test/1".to_owned(),
        concurrency: 3,
        ..v1::Worker::default()
    };
    v1::LeaseRequest { worker_id: id.to_owned(), worker: Some(profile), ..lease(queue) }
}

fn drain(id: &str) -> v1::DrainWorkerRequest {
    v1::DrainWorkerRequest { worker_id: id.to_owned(), ..v1::DrainWorkerRequest::default() }
}

impl Server {
    async fn workers(&self, filter: &str, order_by: &str) -> String {
        let (mut ids, mut page_token) = (Vec::new(), String::new());
        loop {
            let (filter, order_by) = (filter.to_owned(), order_by.to_owned());
            let list = v1::ListWorkersRequest { page_size: 1, page_token, filter, order_by };
            let page = self.admin().list_workers(list).await.unwrap().into_inner();
            ids.extend(page.workers.into_iter().map(|worker| worker.worker_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return ids.join(" ");
            }
        }
    }
}

async fn workers_are_listed_with_what_they_say(server: &mut Server) {
    for (id, queue) in [("b", "mail-*"), ("a", "mail-x"), ("c", "other")] {
        server.lease_now(worker(id, queue)).await;
    }
    let list = v1::ListWorkersRequest::default();
    let workers = server.admin().list_workers(list).await.unwrap().into_inner().workers;
    let (mut told, said) = (workers[1].clone(), worker("b", "mail-*").worker.unwrap());
    assert!(told.last_seen_time.take().is_some());
    let queues = vec!["mail-*".to_owned()];
    assert_eq!(told, v1::Worker { queues, ..said });
    assert_eq!(server.workers("", "").await, "a b c");
    assert_eq!(server.workers("", "worker_id desc").await, "c b a");
    assert_eq!(server.workers("queue=mail-x", "").await, "a b");
    assert_eq!(server.workers("labels.zone=c", "").await, "c");
    assert_eq!(server.workers("draining=true", "").await, "");
}

async fn a_drained_worker_leases_nothing_more(server: &mut Server) {
    server.lease_now(worker("a", "mail")).await;
    let told = server.admin().drain_worker(drain("a")).await.unwrap().into_inner();
    assert_eq!((told.worker_id.as_str(), told.draining), ("a", true));
    server.enqueue("mail").await;
    // A wait that begins before the word has gone round ends with it, too.
    let patient = v1::LeaseRequest { wait: Some(seconds(60)), ..worker("a", "nothing") };
    let answer = server.broker().lease(patient).await.unwrap().into_inner();
    assert_eq!((answer.jobs.len(), answer.empty_reason()), (0, EmptyReason::Draining));
    assert_eq!(server.lease_now(worker("a", "mail")).await.jobs, []);
    assert_eq!(server.workers("draining=true", "").await, "a");
    assert_eq!(server.lease_now(worker("b", "mail")).await.jobs.len(), 1);
    let refusal = Refusal::of(server.admin().drain_worker(drain("nobody")).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "WORKER_NOT_FOUND"));
    Refusal::of(server.admin().drain_worker(drain("")).await).assert_field("worker_id");
}

async fn bad_lists_of_workers_name_their_fields(server: &mut Server) {
    let list = |change: fn(&mut v1::ListWorkersRequest)| {
        let mut list = v1::ListWorkersRequest::default();
        change(&mut list);
        list
    };
    let table = [
        (list(|it| it.filter = "sdk=a".into()), "filter"),
        (list(|it| it.order_by = "sdk".into()), "order_by"),
        (list(|it| it.page_size = -1), "page_size"),
        (list(|it| it.page_token = "x".into()), "page_token"),
    ];
    for (request, field) in table {
        Refusal::of(server.admin().list_workers(request).await).assert_field(field);
    }
}
