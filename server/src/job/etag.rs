//! Etags: what a caller has read, so that it changes nothing that changed since.

use super::fnv::Fnv;
use super::{Job, QueueSettings, State};
use crate::clock::Timestamp;

impl Job {
    /// Changes with every change of the job: a move changes its version or its counters; a
    /// heartbeat, which may leave both as they are, changes what it brings.
    pub fn etag(&self) -> String {
        let mut hash = Fnv::default();
        hash.write(&[self.state.letter()]);
        hash.write_number(self.at.as_millis());
        hash.write_number(self.ended.map_or(0, Timestamp::as_millis));
        let counters = self.counters;
        let counts = [counters.deliveries, counters.attempts, counters.lease_losses, self.revision];
        for count in counts {
            hash.write_number(count.into());
        }
        if self.state == State::Leased {
            self.hash_heartbeat(&mut hash);
        }
        hex(hash.finish())
    }

    fn hash_heartbeat(&self, hash: &mut Fnv) {
        if let Some(progress) = &self.details.progress {
            hash.write_number(progress.percent.to_bits());
            hash.write_sized(progress.message.as_bytes());
            hash.write_number(progress.done.unsigned_abs());
            hash.write_number(progress.total.unsigned_abs());
        }
        if let Some(checkpoint) = &self.details.checkpoint {
            hash.write_sized(&checkpoint.data);
        }
        hash.write(&[u8::from(self.cancel.is_some())]);
    }
}

impl QueueSettings {
    /// Changes with every change of the settings.
    pub fn etag(&self) -> String {
        hex(self.revision)
    }
}

/// All 16 digits. Every answer with a job has one, so it is made without the formatter.
fn hex(number: u64) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let mut text = String::with_capacity(16);
    for byte in number.to_be_bytes() {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::{Cancel, JobName, Lease, LeaseSecret, Payload, Progress, Spec, WorkerId};

    #[test]
    fn an_etag_has_all_its_digits() {
        let settings =
            QueueSettings { revision: 0x0abc_0000_0000_0012, ..QueueSettings::default() };
        assert_eq!(settings.etag(), "0abc000000000012");
    }

    fn leased() -> Job {
        let name = JobName::parse("queues/mail/jobs/j1").unwrap();
        let mut job = Job::enqueued(name, Spec::default());
        job.state = State::Leased;
        job.lease = Some(Lease {
            secret: LeaseSecret(7),
            worker: WorkerId::parse("w").unwrap(),
            started: Timestamp::from_millis(5),
            duration: Duration::from_secs(30),
        });
        job.details_mut().checkpoint = Some(Payload { data: "c".into(), ..Payload::default() });
        job
    }

    #[test]
    fn an_etag_changes_with_every_change() {
        let changes: [fn(&mut Job); 8] = [
            |_| {},
            |job| job.at = job.at.after(Duration::from_millis(1)),
            |job| job.revision = 1,
            |job| job.counters.attempts = 1,
            |job| {
                job.details_mut().progress = Some(Progress { percent: 1.0, ..Progress::default() });
            },
            |job| job.details_mut().checkpoint = None,
            |job| job.cancel = Some(Cancel { by: job.at, reason: String::new() }),
            |job| job.state = State::Succeeded,
        ];
        let mut etags: Vec<String> = changes
            .iter()
            .map(|change| {
                let mut job = leased();
                change(&mut job);
                job.etag()
            })
            .collect();
        etags.sort_unstable();
        etags.dedup();
        assert_eq!(etags.len(), 8);
        assert_eq!(leased().etag(), leased().etag());
    }
}
