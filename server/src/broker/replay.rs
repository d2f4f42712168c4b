//! Answers of calls that may come twice, remembered for a while by the broker that gave them.
//!
//! The calls are safe to repeat in any case; what is remembered is their count.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::bulk::Done;
use super::{Error, Result};
use crate::clock::Timestamp;
use crate::job::RequestId;
use crate::store::Request;

/// Answers remembered at most.
const MOST: usize = 1000;

/// How long an answer is remembered.
const MEMORY: Duration = Duration::from_mins(10);

/// What was answered; cheap to clone, all clones are one.
#[derive(Clone, Default)]
pub(super) struct Replays(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    answers: HashMap<RequestId, (u64, Done)>,
    /// The oldest first.
    order: VecDeque<(Timestamp, RequestId)>,
}

impl Replays {
    /// What was answered to this request; fails when its id was used for another one.
    pub(super) fn get(&self, request: Request, now: Timestamp) -> Result<Option<Done>> {
        let mut known = self.0.lock();
        known.fade(now);
        match known.answers.get(&request.id) {
            Some((digest, done)) if *digest == request.digest => Ok(Some(done.clone())),
            Some(_) => Err(Error::RequestReused),
            None => Ok(None),
        }
    }

    pub(super) fn put(&self, request: Request, done: Done, now: Timestamp) {
        let mut known = self.0.lock();
        known.fade(now);
        if known.answers.insert(request.id, (request.digest, done)).is_none() {
            known.order.push_back((now, request.id));
        }
    }
}

impl Known {
    fn fade(&mut self, now: Timestamp) {
        let stale = |(since, _): &(Timestamp, RequestId)| now.since(*since) > MEMORY;
        while self.order.front().is_some_and(stale) || self.order.len() > MOST {
            if let Some((_, id)) = self.order.pop_front() {
                self.answers.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u128, digest: u64) -> Request {
        let id = RequestId::parse(&uuid::Uuid::from_u128(number).to_string()).unwrap();
        Request { id, digest }
    }

    #[test]
    fn an_answer_is_given_again_for_a_while_to_the_same_request() {
        let replays = Replays::default();
        let done = Done { changed: 3, ..Done::default() };
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        replays.put(request(1, 7), done.clone(), at(0));
        assert_eq!(replays.get(request(1, 7), at(600)), Ok(Some(done)));
        assert_eq!(replays.get(request(1, 8), at(600)), Err(Error::RequestReused));
        assert_eq!(replays.get(request(2, 7), at(600)), Ok(None));
        assert_eq!(replays.get(request(1, 7), at(601)), Ok(None));
    }

    #[test]
    fn the_memory_is_bounded() {
        let replays = Replays::default();
        let now = Timestamp::from_millis(0);
        for number in 0..2000 {
            replays.put(request(number, 0), Done::default(), now);
        }
        assert!(replays.0.lock().answers.len() <= MOST + 1);
        assert!(replays.get(request(1999, 0), now).unwrap().is_some());
    }
}
