//! Watching one job, and waiting for it.

use super::*;
use crate::broker::wait::WaitRequest;
use crate::broker::watch::{PRESENT, Watch};
use crate::job::{JobName, Keep, Retention};

impl Running {
    async fn follow(&self, name: &JobName, start: WatchStart) -> Watch {
        let request = WatchRequest { job: Some(name.clone()), start, ..WatchRequest::default() };
        self.broker.watch(request).await.unwrap()
    }

    fn wait(&self, job: &Job, until: &[State]) -> WaitRequest {
        assert!(!self.broker.is_draining());
        WaitRequest { name: job.name.clone(), until: until.to_vec(), wait: LONG }
    }
}

/// All that a watch tells until it ends, and the cursor of each page.
async fn told(watch: &mut Watch) -> (Vec<EventKind>, Vec<String>) {
    let (mut kinds, mut cursors) = (Vec::new(), Vec::new());
    while let Some(page) = watch.next().await.unwrap() {
        kinds.extend(page.events.iter().map(|one| one.event.kind));
        cursors.push(page.cursor);
    }
    (kinds, cursors)
}

#[tokio::test]
async fn a_watched_job_shows_its_state_then_its_moves_and_then_the_watch_ends() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let other = running.enqueue("a").await;
    let mut watch = running.follow(&job.name, WatchStart::Now).await;
    let first = watch.next().await.unwrap().unwrap();
    assert_eq!(first.events.len(), 1);
    assert_eq!(first.events[0].event.reason, PRESENT);
    assert_eq!(first.events[0].event.to, Some(State::Ready));
    let (_, token) = running.take("a").await;
    running.take("a").await;
    running.broker.ack(token, Ack::default()).await.unwrap();
    let (kinds, _) = told(&mut watch).await;
    assert_eq!(kinds, [EventKind::Leased, EventKind::Succeeded]);
    let mut resumed = running.follow(&job.name, WatchStart::Cursor(first.cursor)).await;
    assert_eq!(told(&mut resumed).await.0, kinds);
    // One that is over shows how it ended, and one that is resumed behind its end shows nothing.
    let mut late = running.follow(&job.name, WatchStart::Now).await;
    let (kinds, cursors) = told(&mut late).await;
    assert_eq!(kinds, [EventKind::Succeeded]);
    let cursor = cursors.last().unwrap().clone();
    let mut behind = running.follow(&job.name, WatchStart::Cursor(cursor)).await;
    assert_eq!(told(&mut behind).await.0, []);
    assert_eq!(running.state(&other).await, State::Leased);
    running.stop().await;
}

#[tokio::test]
async fn a_watch_of_a_job_ends_by_whatever_types_are_asked_for() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let kinds = vec![EventKind::Progress];
    let request = WatchRequest { job: Some(job.name.clone()), kinds, ..WatchRequest::default() };
    let mut watch = running.broker.watch(request).await.unwrap();
    let (_, token) = running.take("a").await;
    running.broker.ack(token, Ack::default()).await.unwrap();
    assert_eq!(told(&mut watch).await.0, []);
    let gone = WatchRequest { job: Some(job.name), ..WatchRequest::default() };
    let gone = WatchRequest {
        job: gone.job.map(|name| JobName { queue: self::name("b"), ..name }),
        ..gone
    };
    assert!(matches!(running.broker.watch(gone).await, Err(Error::NotFound(_))));
    running.stop().await;
}

#[tokio::test]
async fn labels_narrow_a_watch() {
    let running = running().await;
    let labels = std::collections::BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
    let request = WatchRequest { labels: labels.clone(), ..WatchRequest::default() };
    let mut watch = running.broker.watch(request).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().events.len(), 0);
    running.enqueue("a").await;
    let blue = NewJob::new(name("a"), Spec { labels, ..Spec::default() });
    let blue = running.broker.enqueue(blue).await.unwrap().job;
    running.take("a").await;
    running.take("a").await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(watch.next().await.unwrap().unwrap().events);
    }
    assert!(seen.iter().all(|one| one.event.job == Some(blue.name.id.clone())));
    let kinds: Vec<_> = seen.iter().map(|one| one.event.kind).collect();
    assert_eq!(kinds, [EventKind::Created, EventKind::Ready, EventKind::Leased]);
    running.stop().await;
}

#[tokio::test]
async fn who_waits_for_a_job_is_answered_when_it_ends() {
    let running = running().await;
    // Also when the job leaves nothing behind.
    let nothing = Keep { span: Duration::ZERO, count: None };
    for succeeded in [Keep::SUCCEEDED, nothing] {
        let retention = Retention { succeeded, ..Retention::default() };
        let spec = Spec { retention, ..Spec::default() };
        let job = running.broker.enqueue(NewJob::new(name("a"), spec)).await.unwrap().job;
        let watch = running.broker.watch_job(&job.name).await.unwrap();
        let waiting = running.broker.wait_with(watch, running.wait(&job, &[]), START.after(LONG));
        let (waited, ()) = tokio::join!(waiting, async {
            let (_, token) = running.take("a").await;
            running.broker.ack(token, Ack::default()).await.unwrap();
        });
        let waited = waited.unwrap();
        assert_eq!((waited.job.state, waited.reached), (State::Succeeded, true));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_wait_ends_with_its_time_with_the_job_or_with_the_broker() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let at_once = WaitRequest { wait: Duration::ZERO, ..running.wait(&job, &[]) };
    assert!(!running.broker.wait_job(at_once).await.unwrap().reached);
    let ready = running.wait(&job, &[State::Ready]);
    assert!(running.broker.wait_job(ready).await.unwrap().reached);
    let (waited, ()) = tokio::join!(running.broker.wait_job(running.wait(&job, &[])), async {
        running.clock.advance(LONG);
    });
    assert!(!waited.unwrap().reached);
    // A state that it passed through while the call waited was reached.
    let watch = running.broker.watch_job(&job.name).await.unwrap();
    let until = running.clock.now().after(LONG);
    let leased = running.broker.wait_with(watch, running.wait(&job, &[State::Leased]), until);
    let (waited, ()) = tokio::join!(leased, async {
        let (_, token) = running.take("a").await;
        running.broker.ack(token, Ack::default()).await.unwrap();
    });
    assert!(waited.unwrap().reached);
    // One that it can't reach any more is not waited for.
    let retrying = running.wait(&job, &[State::Retrying]);
    let waited = running.broker.wait_job(retrying).await.unwrap();
    assert_eq!((waited.job.state, waited.reached), (State::Succeeded, false));
    let other = running.enqueue("a").await;
    let (waited, ()) = tokio::join!(running.broker.wait_job(running.wait(&other, &[])), async {
        running.broker.drain();
    });
    assert!(!waited.unwrap().reached);
    running.stop().await;
}
