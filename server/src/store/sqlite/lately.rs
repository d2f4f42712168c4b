//! What happened in a queue in the last minute, counted in steps of ten seconds.

use crate::clock::Timestamp;
use crate::store::Minute;

/// The length of a step in milliseconds.
const STEP: u64 = 10_000;
/// So many steps are a minute.
const STEPS: usize = 6;

/// The newest steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lately {
    /// The number of the newest step, counted from the epoch.
    newest: u64,
    /// Jobs enqueued and finished in each step; a step has the place of its number modulo their
    /// number.
    steps: [[u32; 2]; STEPS],
}

impl Lately {
    /// A job was enqueued.
    pub(super) fn enqueued(&mut self, now: Timestamp) {
        let [enqueued, _] = self.step(now);
        *enqueued = enqueued.saturating_add(1);
    }

    /// A job succeeded or became a dead letter.
    pub(super) fn finished(&mut self, now: Timestamp) {
        let [_, finished] = self.step(now);
        *finished = finished.saturating_add(1);
    }

    /// What happened in the minute before `now`.
    pub(super) fn minute(mut self, now: Timestamp) -> Minute {
        self.step(now);
        self.steps.iter().fold(Minute::default(), |sum, [enqueued, finished]| Minute {
            enqueued: sum.enqueued + u64::from(*enqueued),
            finished: sum.finished + u64::from(*finished),
        })
    }

    /// The step of `now`; the newest one, when a call comes late. Empties those that passed.
    fn step(&mut self, now: Timestamp) -> &mut [u32; 2] {
        let number = (now.as_millis() / STEP).max(self.newest);
        let passed = usize::try_from(number - self.newest).unwrap_or(STEPS).min(STEPS);
        for one in (self.newest + 1..).take(passed) {
            self.steps[place(one)] = [0; 2];
        }
        self.newest = number;
        &mut self.steps[place(number)]
    }

    /// The stored form: the number of the newest step, then the counts.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.newest.to_be_bytes().to_vec();
        for count in self.steps.as_flattened() {
            bytes.extend(count.to_be_bytes());
        }
        bytes
    }

    /// Reads what [`Lately::encode`] wrote; anything else is a queue where nothing happened.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let mut lately = Self::default();
        if let Some((newest, counts)) = bytes.split_first_chunk() {
            lately.newest = u64::from_be_bytes(*newest);
            let (counts, _) = counts.as_chunks();
            for (count, bytes) in lately.steps.as_flattened_mut().iter_mut().zip(counts) {
                *count = u32::from_be_bytes(*bytes);
            }
        }
        lately
    }
}

fn place(step: u64) -> usize {
    usize::try_from(step % STEPS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + 1000 * seconds)
    }

    #[test]
    fn what_is_older_than_a_minute_is_left_out() {
        let mut lately = Lately::default();
        lately.enqueued(at(0));
        lately.enqueued(at(25));
        lately.finished(at(26));
        assert_eq!(lately.minute(at(59)), Minute { enqueued: 2, finished: 1 });
        assert_eq!(lately.minute(at(60)), Minute { enqueued: 1, finished: 1 });
        assert_eq!(lately.minute(at(80)), Minute::default());
        assert_eq!(lately.minute(at(1_000_000)), Minute::default());
    }

    #[test]
    fn a_call_that_comes_late_counts_as_of_now() {
        let mut lately = Lately::default();
        lately.enqueued(at(100));
        lately.enqueued(at(0));
        assert_eq!(lately.minute(at(100)).enqueued, 2);
    }

    #[test]
    fn the_stored_form_says_it_all() {
        let mut lately = Lately::default();
        lately.enqueued(at(7));
        lately.finished(at(21));
        assert_eq!(Lately::decode(&lately.encode()), lately);
        assert_eq!(Lately::decode(&[]), Lately::default());
    }
}
