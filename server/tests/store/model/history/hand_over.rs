//! Jobs that are leased in the step that inserts them.

use super::check::same_claimed;
use super::{ALL, History, Reply};
use crate::fixture::{claim, roomy};
use crate::job::Spec;
use crate::store::{Group, Store};

impl History {
    pub(super) async fn hand_over(&mut self) {
        if !self.one_in(4) {
            // Else those who wait for something would have had it.
            self.claim_for(vec![claim(ALL)]).await;
        }
        let groups = vec![self.plain_group()];
        let claims = self.wishes();
        let result = self.store.hand_over(&self.queue.name, &groups, &claims, self.now).await;
        let reply = self.reply(|| format!("{groups:?} {claims:?}"), result);
        let first = &groups[0].inserts[0].job.name.id;
        match &reply {
            Reply::Undone | Reply::Answered(None) => return,
            // It may have been declined.
            Reply::Unheard if self.queue.find(first.as_str()).await.is_none() => return,
            Reply::Answered(Some(_)) | Reply::Unheard => {}
        }
        let entries = self.memory.entries;
        let inserted = self.memory.insert(&groups, self.now);
        let wanted = self.memory.claim(&claims, self.now);
        self.leases.extend(wanted.jobs.iter().flatten().cloned());
        if let Reply::Answered(Some((outcomes, claimed))) = reply {
            assert_eq!(outcomes, inserted);
            same_claimed(&claimed, &wanted);
        }
        // One entry may tell of both.
        let end = self.queue.store.log_end(&self.queue.name).await.unwrap().number;
        assert!(entries < end && end <= self.memory.entries, "{end} entries");
        self.memory.entries = end;
    }

    /// Jobs of one line with nothing special, as most are.
    fn plain_group(&mut self) -> Group {
        let Spec { payload, priority, retention, retry, .. } = self.spec();
        let spec =
            Spec { payload, priority, retention, retry, created: self.now, ..Spec::default() };
        let items = (0..self.random.usize(1..5)).map(|_| {
            let id = self.fresh_id();
            self.queue.item(id.as_str(), spec.clone())
        });
        roomy(items.collect())
    }
}
