//! Workers that ask for jobs.

use super::check::same_claimed;
use super::{History, Reply};
use crate::fixture::{claim, next_secret, request_id, worker};
use crate::store::{Claim, Store};

impl History {
    pub(super) async fn claim(&mut self) {
        let claims = self.wishes();
        self.claim_for(claims).await;
    }

    pub(super) fn wishes(&mut self) -> Vec<Claim> {
        (0..self.random.usize(1..3)).map(|_| self.wish()).collect()
    }

    pub(super) async fn claim_for(&mut self, mut claims: Vec<Claim>) {
        loop {
            let result = self.store.claim(&self.queue.name, claims.clone(), self.now).await;
            let reply = self.reply(|| format!("{claims:?}"), result);
            if !matches!(reply, Reply::Undone) {
                let wanted = self.memory.claim(&claims, self.now);
                self.leases.extend(wanted.jobs.iter().flatten().cloned());
                if let Reply::Answered(served) = reply {
                    same_claimed(&served, &wanted);
                    return;
                }
            }
            for claim in &mut claims {
                claim.secret = next_secret();
            }
        }
    }

    fn wish(&mut self) -> Claim {
        Claim {
            worker: worker(&format!("worker {}", self.random.u32(..3))),
            max_bytes: if self.one_in(6) { 1 } else { usize::MAX },
            lease_duration: self.one_in(3).then(|| self.span(60_000)),
            request: self.one_in(2).then(|| request_id(u128::from(self.random.u32(..6)))),
            types: match self.random.u32(..4) {
                0 => vec!["x".to_owned()],
                1 => vec!["y".to_owned(), String::new()],
                _ => Vec::new(),
            },
            ..claim(self.random.usize(..5))
        }
    }
}
