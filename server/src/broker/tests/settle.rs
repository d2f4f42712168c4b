//! Settles of jobs that others change at the same time.

use super::*;
use crate::job::Cancel;
use crate::store::faulty::{Faulty, Operation};
use crate::store::{Extended, Extension};

/// The wish that the job, which is leased, be cancelled.
fn cancellation(job: &Job, reason: &str) -> Extension {
    Extension {
        id: job.name.id.clone(),
        secret: job.lease.as_ref().unwrap().secret,
        until: None,
        progress: None,
        checkpoint: None,
        cancel: Some(Cancel { by: START.after(LONG), reason: reason.to_owned() }),
        event: None,
    }
}

#[tokio::test]
async fn a_nack_that_a_cancellation_overtakes_is_decided_anew_and_cancels() {
    let inner: Arc<dyn Store> = SqliteStore::in_memory().await.unwrap();
    let store = Arc::new(Faulty::new(Arc::clone(&inner)));
    let running = running_on(Arc::clone(&store) as Arc<dyn Store>);
    running.enqueue("a").await;
    let (job, token) = running.take("a").await;
    let cancel = cancellation(&job, "not wanted");
    store.before_next(Operation::Commit, async move {
        let asked = inner.extend(&name("a"), vec![cancel], START).await.unwrap();
        assert!(matches!(asked[..], [Extended::Held { cancel: Some(_), .. }]), "{asked:?}");
    });
    let nack = Nack { disposition: Disposition::Release, failure: None, checkpoint: None };
    let settled = running.broker.nack(token, nack).await.unwrap();
    assert_eq!((settled.outcome, settled.job.state), (Outcome::Settled, State::Cancelled));
    assert_eq!(running.state(&job).await, State::Cancelled);
    assert!(running.lease(&["a"], Duration::ZERO).await.jobs.is_empty());
    running.stop().await;
}
