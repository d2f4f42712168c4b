//! Lists of jobs: a walk over an index, page by page.

use prost::Message;

use super::filter::{JobFilter, Leg};
use super::{Broker, Error, Result};
use crate::job::{Job, QueueName};
use crate::store::{Mark, Store};

/// Jobs looked at for one page at most: then it is given as it is, with a token to go on.
const LOOKED_AT: usize = 1000;

/// Jobs read at once where not all of them may be meant.
const CHUNK: usize = 100;

/// Which jobs to list.
#[derive(Clone, Debug)]
pub struct JobQuery {
    /// Of which queue.
    pub queue: QueueName,
    /// Which of them.
    pub filter: JobFilter,
    /// The indexes that find them; see [`JobFilter::walk`].
    pub walk: Vec<Leg>,
    /// What was asked for, as the caller wrote it: a page token holds for the same only.
    pub arguments: String,
    /// So many at most.
    pub size: usize,
    /// Where to go on; empty: at the beginning.
    pub page_token: String,
}

/// Some jobs, and where to go on.
#[derive(Clone, Debug)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Token of the next page; empty on the last one.
    pub next_page_token: String,
    /// A watch after this cursor misses nothing that happened after the page was read.
    pub event_cursor: String,
}

/// How large a page may become, as its reader counts it.
pub struct Size<F> {
    /// The most.
    pub limit: usize,
    /// What one job takes.
    pub of: F,
}

impl Broker {
    /// One page of a queue's jobs.
    pub async fn list_jobs(
        &self,
        query: &JobQuery,
        bytes: Size<impl Fn(&Job) -> usize + Send + Sync>,
    ) -> Result<JobPage> {
        let token = self.page_token("jobs", |digest| {
            digest.text(query.queue.as_str());
            digest.text(&query.arguments);
        });
        let token = token.await?;
        let place = token.read(&query.page_token)?;
        let place = place.map(|bytes| Place::decode(&bytes)).transpose()?.unwrap_or_default();
        self.known(&query.queue).await?;
        // Before the jobs are read: what happens meanwhile is told, and may be in the list, too.
        let event_cursor = self.event_cursor(&query.queue).await?;
        let mut walker = self.walker(&query.queue, &query.filter, &query.walk, place);
        let mut jobs = Vec::new();
        let (mut size, mut looked_at) = (0, 0);
        while jobs.len() < query.size && looked_at < LOOKED_AT && !walker.is_over() {
            let room = query.size - jobs.len();
            let before = walker.place.clone();
            let met = walker.step(if walker.is_exact() { room } else { CHUNK }).await?;
            looked_at += met.len().max(1);
            let mut kept = 0;
            for job in &met {
                let meant = query.filter.matches(job);
                let heavier = size + if meant { (bytes.of)(job) } else { 0 };
                if meant && (jobs.len() == query.size || heavier > bytes.limit) && !jobs.is_empty()
                {
                    break;
                }
                size = heavier;
                kept += 1;
                jobs.extend(meant.then(|| job.clone()));
            }
            if kept < met.len() {
                walker.rewind(before, kept).await?;
                break;
            }
        }
        let next = walker.place;
        let next_page_token =
            if next.leg < query.walk.len() { token.write(&next.encode()) } else { String::new() };
        Ok(JobPage { jobs, next_page_token, event_cursor })
    }

    /// A walk that goes on at `place`.
    pub(super) fn walker<'a>(
        &'a self,
        queue: &'a QueueName,
        filter: &'a JobFilter,
        walk: &'a [Leg],
        place: Place,
    ) -> Walker<'a> {
        Walker { store: self.store.as_ref(), queue, filter, walk, place }
    }
}

/// How far a walk has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Which of its indexes comes next.
    leg: usize,
    /// After which entry; `None`: at its beginning.
    mark: Option<Mark>,
}

#[derive(Clone, PartialEq, Message)]
struct PlaceRecord {
    #[prost(uint32, tag = "1")]
    leg: u32,
    #[prost(bytes = "bytes", optional, tag = "2")]
    mark: Option<bytes::Bytes>,
}

impl Place {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mark = self.mark.as_ref().map(|mark| mark.0.clone());
        PlaceRecord { leg: u32::try_from(self.leg).unwrap_or(u32::MAX), mark }.encode_to_vec()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let record = PlaceRecord::decode(bytes).map_err(|_| Error::BadPageToken)?;
        let leg = usize::try_from(record.leg).map_err(|_| Error::BadPageToken)?;
        Ok(Self { leg, mark: record.mark.map(Mark) })
    }
}

/// A walk over indexes, one after another.
pub(super) struct Walker<'a> {
    store: &'a dyn Store,
    queue: &'a QueueName,
    filter: &'a JobFilter,
    walk: &'a [Leg],
    /// How far it has come.
    pub(super) place: Place,
}

impl Walker<'_> {
    /// True at the end of the last index.
    pub(super) fn is_over(&self) -> bool {
        self.place.leg >= self.walk.len()
    }

    /// True when all that the next step meets is meant.
    pub(super) fn is_exact(&self) -> bool {
        self.walk.get(self.place.leg).is_some_and(|leg| self.filter.is_exact(leg))
    }

    /// The next jobs, at most `limit`, meant or not; may be none before the end.
    pub(super) async fn step(&mut self, limit: usize) -> Result<Vec<Job>> {
        let Some(leg) = self.walk.get(self.place.leg) else { return Ok(Vec::new()) };
        let after = self.place.mark.as_ref();
        let page = self.store.list(self.queue, &leg.index, leg.order, after, limit).await?;
        let passed = page.jobs.last().is_some_and(|job| self.filter.is_passed(job, leg));
        self.place = match page.next.filter(|_| !passed) {
            Some(mark) => Place { leg: self.place.leg, mark: Some(mark) },
            None => Place { leg: self.place.leg + 1, mark: None },
        };
        Ok(page.jobs)
    }

    /// Goes back to where only the first `count` jobs after `before` were met.
    pub(super) async fn rewind(&mut self, before: Place, count: usize) -> Result<()> {
        self.place = before;
        if count > 0 {
            self.step(count).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_was_written() {
        for mark in [None, Some(Mark("".into())), Some(Mark("x".into()))] {
            let place = Place { leg: 3, mark };
            assert_eq!(Place::decode(&place.encode()), Ok(place));
        }
        assert_eq!(Place::decode(&[0xff]), Err(Error::BadPageToken));
    }
}
