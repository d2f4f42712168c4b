//! What [`Faulty`] promises to the tests that use it.

use crate::fixture::{Queue, at, roomy, spec};
use crate::store::faulty::{Fault, Faulty, Operation};
use crate::store::{Error, Store};

#[tokio::test]
async fn a_fault_before_the_call_leaves_it_undone() {
    let (queue, faulty) = wrapped().await;
    faulty.fail_next(Operation::Insert, Fault::Before);
    let group = || vec![roomy(vec![queue.item("a", spec())])];
    let failed = faulty.insert(&queue.name, group(), at(0)).await;
    assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
    assert_eq!(queue.find("a").await, None);
    assert_eq!(faulty.take_made(), [(Operation::Insert, Fault::Before)]);
    faulty.insert(&queue.name, group(), at(0)).await.unwrap();
    assert_eq!((queue.count().await.ready, faulty.take_made()), (1, vec![]));
}

#[tokio::test]
async fn a_fault_after_the_call_loses_its_answer_only() {
    let (queue, faulty) = wrapped().await;
    faulty.fail_next(Operation::Insert, Fault::After);
    let group = vec![roomy(vec![queue.item("a", spec())])];
    let failed = faulty.insert(&queue.name, group, at(0)).await;
    assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
    assert_eq!(queue.count().await.ready, 1);
    assert_eq!(faulty.take_made(), [(Operation::Insert, Fault::After)]);
}

#[tokio::test]
async fn only_the_operation_that_was_named_fails() {
    let (queue, faulty) = wrapped().await;
    faulty.fail_next(Operation::Survey, Fault::Before);
    faulty.promote(&queue.name, at(0), 1).await.unwrap();
    assert!(faulty.survey(&queue.name, at(0)).await.is_err());
    faulty.survey(&queue.name, at(0)).await.unwrap();
}

#[tokio::test]
async fn the_same_seed_makes_the_same_faults() {
    let mut rounds = Vec::new();
    for seed in [1, 1, 2] {
        let (queue, faulty) = wrapped().await;
        faulty.fail_at_random(seed, 0.5);
        let mut answered = Vec::new();
        for _ in 0..64 {
            answered.push(faulty.survey(&queue.name, at(0)).await.is_ok());
        }
        rounds.push((answered, faulty.take_made()));
    }
    assert_eq!(rounds[0], rounds[1]);
    assert_ne!(rounds[0], rounds[2]);
    for fault in [Fault::Before, Fault::After] {
        assert!(rounds[0].1.contains(&(Operation::Survey, fault)));
    }
    assert!(rounds[0].0.contains(&true));
}

async fn wrapped() -> (Queue, Faulty) {
    let queue = Queue::in_sqlite_memory().await;
    let faulty = Faulty::new(queue.store.clone());
    (queue, faulty)
}
