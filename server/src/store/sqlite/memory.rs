//! What a queue remembers for a time beside its jobs, and how that is forgotten.

use rusqlite::params;

use super::batch::Call;
use super::row::{integer, whole};
use crate::clock::Timestamp;

/// How many rows one call forgets at most beyond twice what it added, so that it does not look for
/// single ones at every turn and no other call waits long.
const HANDFUL: usize = 100;

/// Something remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// Inserts that may be asked for again.
    Requests,
    /// Held dedup keys.
    Keys,
    /// Claims that may be asked for again.
    Claims,
}

impl Memory {
    /// All that a queue remembers.
    pub(super) const ALL: [Self; 3] = [Self::Requests, Self::Keys, Self::Claims];

    /// Forgets what is past its time, at least twice as much as the `added` that a call has just
    /// added, if there is so much: purges may be rare, but memories never pile up.
    pub(super) fn fade(
        self,
        call: &Call<'_>,
        added: usize,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let (look, forget) = self.statements();
        let mut look = call.db.prepare_cached(look)?;
        if !look.exists(params![call.queue.id, integer(now)])? {
            return Ok(());
        }
        let limit = added.saturating_mul(2).saturating_add(HANDFUL);
        let mut forget = call.db.prepare_cached(forget)?;
        forget.execute(params![call.queue.id, integer(now), whole(limit)])?;
        if self == Self::Claims {
            call.db
                .prepare_cached("delete from replay where queue = ?1 and until = 0")?
                .execute([call.queue.id])?;
        }
        Ok(())
    }

    /// What finds out whether anything is past its time, and what deletes or, for claims, reviews
    /// some of it.
    fn statements(self) -> (&'static str, &'static str) {
        match self {
            Self::Requests => (
                "select 1 from request where queue = ?1 and until <= ?2",
                include_str!("sql/purge_requests.sql"),
            ),
            Self::Keys => (
                "select 1 from dedup where queue = ?1 and until <= ?2",
                include_str!("sql/purge_dedup.sql"),
            ),
            Self::Claims => (
                "select 1 from replay where queue = ?1 and until <= ?2",
                include_str!("sql/review_replays.sql"),
            ),
        }
    }
}
