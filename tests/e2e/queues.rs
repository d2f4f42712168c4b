//! What operators ask: which queues, how they fare, how the store is.

use lessor_proto::v1;
use lessor_proto::v1::enqueue_request::Start;
use lessor_proto::v1::nack_request::Disposition;

use crate::on_every_store;
use crate::server::{Server, nack, request, seconds};

on_every_store! {
    queues_are_listed_page_by_page,
    a_queue_counts_its_jobs_by_state,
    the_store_tells_what_it_is,
}

async fn page(server: &Server, page_size: i32, page_token: &str) -> v1::ListQueuesResponse {
    let page_token = page_token.to_owned();
    let list = v1::ListQueuesRequest { page_size, page_token, ..v1::ListQueuesRequest::default() };
    server.admin().list_queues(list).await.unwrap().into_inner()
}

async fn queues_are_listed_page_by_page(server: &mut Server) {
    assert_eq!(page(server, 0, "").await, v1::ListQueuesResponse::default());
    for queue in ["b", "a", "d", "c", "e"] {
        server.enqueue(queue).await;
    }
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page = page(server, 2, &token).await;
        assert!(page.queues.len() <= 2);
        names.extend(page.queues.into_iter().map(|queue| queue.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}

async fn a_queue_counts_its_jobs_by_state(server: &mut Server) {
    for _ in 0..5 {
        server.enqueue("mail").await;
    }
    let start = Some(Start::Delay(seconds(3600)));
    server.enqueued(v1::EnqueueRequest { start, ..request("mail") }).await;
    server.acked(&server.leased("mail").await.lease_token).await;
    let dead = server.leased("mail").await;
    let disposition = Some(Disposition::Dead(()));
    server.broker().nack(v1::NackRequest { disposition, ..nack(&dead.lease_token) }).await.unwrap();
    let failed = server.leased("mail").await;
    server.broker().nack(nack(&failed.lease_token)).await.unwrap();
    server.leased("mail").await;
    let expected = v1::QueueStats {
        queue: "mail".to_owned(),
        scheduled: 1,
        ready: 1,
        leased: 1,
        retrying: 1,
        succeeded: 1,
        dead: 1,
        ..v1::QueueStats::default()
    };
    for name in ["mail", "queues/mail"] {
        let request = v1::GetQueueStatsRequest { name: name.to_owned() };
        let stats = server.admin().get_queue_stats(request).await.unwrap().into_inner();
        assert_eq!(stats, expected);
    }
}

async fn the_store_tells_what_it_is(server: &mut Server) {
    let asked = v1::GetStoreStatusRequest {};
    let status = server.admin().get_store_status(asked).await.unwrap().into_inner();
    assert_eq!(status.store, format!("{:?}", server.store).to_lowercase());
    assert!(status.ready && status.ping.is_some() && status.store_time.is_some());
    assert!(!status.store_version.is_empty() && !status.epoch.is_empty());
    assert!(!status.broker_version.is_empty() && !status.features.is_empty());
    let again = server.admin().get_store_status(asked).await.unwrap().into_inner();
    assert_eq!(again.epoch, status.epoch);
}
