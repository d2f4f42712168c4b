//! What many jobs leave behind: what their retention says and nothing else.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::fixture::{
    Queue, acked, at, expired, kept, labelled, nacked, request, seconds, spec, tireless,
};
use crate::job::transition::Disposition;
use crate::job::{Job, Spec, State};
use crate::redis_server::RedisServer;
use crate::store::{Counts, Index};

every_store!(
    async fn many_jobs_leave_what_their_retention_says(queue: Queue) {
        let spec = Spec { retention: kept(seconds(3600), Some(5)), ..tagged() };
        let last = run_through(&queue, 40, &spec).await;
        let wanted = Counts { succeeded: 5, dead: 5, cancelled: 5, ..Counts::default() };
        assert_eq!(queue.count().await, wanted);
        assert_eq!(queue.list(&label()).await.len(), 15);
        assert_eq!(queue.in_state(State::Succeeded).await.len(), 5);
        while queue.purge(last.after(seconds(4000))).await > 0 {}
        left_nothing(&queue).await;
    }

    async fn those_that_are_too_many_go_at_once_when_a_sixteenth_more_have_come(queue: Queue) {
        let names: Vec<String> = (0..35).map(|n| format!("job-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let dead = |job: &Job, moment| nacked(job, Disposition::Dead, moment);
        // By acks and by what else ends a job.
        for state in [State::Succeeded, State::Dead] {
            queue
                .add_all(&names, Spec { retention: kept(seconds(3600), Some(32)), ..spec() })
                .await;
            let mut finished = Vec::new();
            for (second, job) in (1..).zip(queue.claim(35, at(0)).await) {
                let (is_dead, now) = (state == State::Dead, at(second));
                let end = if is_dead { dead(&job, now) } else { acked(&job, now) };
                queue.apply(end, now).await;
                finished.push(queue.in_state(state).await.len());
            }
            assert_eq!(finished[30..], [31, 32, 33, 34, 32], "{state:?}");
            assert_eq!(queue.find("job-2").await, None);
            queue.purge(at(1_000_000)).await;
        }
    }

    async fn jobs_that_are_kept_for_no_time_leave_nothing(queue: Queue) {
        let spec = Spec { retention: kept(Duration::ZERO, None), ..tagged() };
        run_through(&queue, 20, &spec).await;
        left_nothing(&queue).await;
    }

    async fn cancelled_and_expired_jobs_are_kept_by_number(queue: Queue) {
        let retention = kept(seconds(3600), Some(2));
        for second in 0..5 {
            let spec = Spec { retention, created: at(second), ..tagged() };
            queue.add(&format!("off-{second}"), spec.clone()).await;
            queue.cancel(&format!("off-{second}"), at(second)).await;
            queue.add(&format!("late-{second}"), Spec { expires: Some(at(second)), ..spec }).await;
            let late = queue.overdue(at(second)).await.remove(0);
            let lapsed = crate::job::operate::lapse(&late, at(second)).unwrap();
            queue.apply(lapsed, at(second)).await;
        }
        assert_eq!(queue.in_state(State::Cancelled).await, ["off-3", "off-4"]);
        assert_eq!(queue.in_state(State::Expired).await, ["late-3", "late-4"]);
        let counts = Counts { cancelled: 2, expired: 2, ..Counts::default() };
        assert_eq!(queue.count().await, counts);
    }
);

#[tokio::test]
async fn a_queue_on_redis_keeps_no_key_of_jobs_that_are_gone() {
    let server = RedisServer::start(&[]);
    let queue = Queue::open(&server.url(), None).await;
    let keys = |connection: &mut redis::Connection| -> Vec<String> {
        redis::cmd("KEYS").arg("*").query(connection).unwrap()
    };
    let mut connection = server.connection();
    let spec = Spec { retention: kept(Duration::ZERO, None), ..tagged() };
    run_through(&queue, 10, &spec).await;
    let mut few = keys(&mut connection);
    run_through(&queue, 200, &Spec { created: at(10_000), ..spec }).await;
    let mut many = keys(&mut connection);
    // Requests and the counts of a minute end by themselves, in time.
    for keys in [&mut few, &mut many] {
        keys.retain(|key| {
            let left: i64 = redis::cmd("PTTL").arg(key).query(&mut server.connection()).unwrap();
            left < 0
        });
        keys.sort();
    }
    assert_eq!(many, few, "keys grow with the jobs");
    left_nothing(&queue).await;
}

fn label() -> Index {
    Index::Label("tenant".to_owned(), "t1".to_owned())
}

fn tagged() -> Spec {
    let dedup = crate::fixture::deduplicated("key", crate::fixture::UNTIL_FINISHED).dedup;
    Spec {
        owner: "o".to_owned(),
        job_type: "mail".to_owned(),
        retry: tireless(),
        dedup,
        ..labelled("tenant", "t1")
    }
}

/// Lets so many jobs live through everything, one by one, each in a way that depends on its number.
async fn run_through(queue: &Queue, count: u64, template: &Spec) -> Timestamp {
    let mut now = template.created;
    for number in 0..count {
        now = now.after(seconds(100));
        let id = format!("job-{}-{number}", template.created.as_millis());
        let asked = u128::from(template.created.as_millis()) * 1000 + u128::from(number);
        let spec = Spec { created: now, priority: i16::from(number % 2 == 0), ..template.clone() };
        queue.insert_one(queue.asked(&id, spec, request(asked, 1))).await;
        if number % 4 == 3 {
            queue.cancel(&id, now).await;
            continue;
        }
        let job = queue.claim_one(now).await;
        let retry = nacked(&job, Disposition::Retry(Some(seconds(5))), now);
        queue.apply(retry, now).await;
        let later = now.after(seconds(5));
        assert_eq!(queue.promote(later).await, 1);
        let job = queue.claim_one(later).await;
        let end = later.after(seconds(30));
        queue.apply(expired(&job, end), end).await;
        let job = queue.claim_one(end).await;
        let last =
            if number % 2 == 0 { acked(&job, end) } else { nacked(&job, Disposition::Dead, end) };
        queue.apply(last, end).await;
    }
    now.after(seconds(60))
}

async fn left_nothing(queue: &Queue) {
    let survey = queue.survey(at(0)).await;
    assert_eq!((survey.counts, survey.bytes), (Counts::default(), 0));
    assert_eq!((survey.oldest_ready, queue.next_due().await), (None, None));
    assert_eq!(queue.list(&label()).await, [""; 0]);
    assert_eq!(queue.list(&Index::Owner("o".to_owned())).await, [""; 0]);
    for state in State::ALL {
        assert_eq!(queue.in_state(state).await, [""; 0]);
    }
    assert_eq!(queue.claim(9, at(100_000_000)).await, []);
    queue.add("next", spec()).await;
    queue.delete("next", at(0)).await;
}
