//! Queues: their settings, pauses, and their end.

use super::lease::QueuePattern;
use super::operate::Asked;
use super::token::{Digest, PageToken};
use super::{Broker, Error, Result};
use crate::job::{Event, EventKind, QueueName, QueueSettings};
use crate::store::{Counts, Guarded, Position};

/// How often a change is made anew because the settings changed between the read and the write.
const ROUNDS: usize = 16;

/// Jobs of a queue that are forgotten in one step: a store then works for some milliseconds.
const WIPED: usize = 500;

/// Steps in which a queue is forgotten at most: far more than any queue takes.
const STEPS: usize = 100_000;

/// Queues looked at for one page at most.
const LOOKED_AT: usize = 1000;

/// Settings that are read at the same time.
const READS: usize = 32;

/// A queue and its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Its name.
    pub name: QueueName,
    /// What it asks of its jobs.
    pub settings: QueueSettings,
}

/// Which queues to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueQuery {
    /// Only this one, or those whose name begins so.
    pub names: Names,
    /// Only those that are paused, or that are not.
    pub paused: Option<bool>,
    /// The last name first.
    pub backward: bool,
    /// So many at most.
    pub size: usize,
    /// Where to go on; empty: at the beginning.
    pub page_token: String,
    /// Only those that the caller may know of; `None`: all.
    pub known: Option<Vec<QueuePattern>>,
}

/// Which names are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// Any.
    #[default]
    All,
    /// This one.
    Exactly(String),
    /// Those that begin so.
    Prefix(String),
}

impl Names {
    fn matches(&self, name: &QueueName) -> bool {
        match self {
            Self::All => true,
            Self::Exactly(text) => name.as_str() == text,
            Self::Prefix(prefix) => name.as_str().starts_with(prefix),
        }
    }

    fn digest(&self, digest: &mut Digest) {
        let (kind, text) = match self {
            Self::All => (0, ""),
            Self::Exactly(text) => (1, text.as_str()),
            Self::Prefix(prefix) => (2, prefix.as_str()),
        };
        digest.number(kind);
        digest.text(text);
    }
}

impl Broker {
    /// A queue and its settings, the usual ones when nobody set it up.
    pub async fn queue(&self, name: &QueueName) -> Result<Queue> {
        let settings = self.settings_of_known(name).await?;
        Ok(Queue { name: name.clone(), settings })
    }

    /// Changes the settings of a queue, which need not exist.
    pub async fn update_queue(
        &self,
        name: &QueueName,
        asked: &Asked,
        change: impl Fn(&mut QueueSettings) + Send + Sync,
    ) -> Result<Queue> {
        for _ in 0..ROUNDS {
            let settings = self.store.settings(name).await?.unwrap_or_default();
            asked.check(&settings.etag())?;
            let mut changed = settings.clone();
            change(&mut changed);
            // A queue that does not exist yet is made even if nothing is changed.
            if changed == settings && settings.revision > 0 {
                return Ok(Queue { name: name.clone(), settings });
            }
            if self.put_settings(name, &changed, EventKind::QueueUpdated, asked).await? {
                changed.revision += 1;
                return Ok(Queue { name: name.clone(), settings: changed });
            }
        }
        Err(Error::Overloaded)
    }

    /// Lets a queue give out no jobs, or gives them out again. Once more changes nothing.
    pub async fn pause_queue(
        &self,
        name: &QueueName,
        paused: bool,
        asked: &Asked,
    ) -> Result<Queue> {
        let kind = if paused { EventKind::QueuePaused } else { EventKind::QueueResumed };
        for _ in 0..ROUNDS {
            let mut settings = self.settings_of_known(name).await?;
            asked.check(&settings.etag())?;
            if settings.paused == paused {
                return Ok(Queue { name: name.clone(), settings });
            }
            settings.paused = paused;
            if self.put_settings(name, &settings, kind, asked).await? {
                settings.revision += 1;
                return Ok(Queue { name: name.clone(), settings });
            }
        }
        Err(Error::Overloaded)
    }

    /// Deletes a queue that is empty; with `force` also the jobs in it, whatever their state. It is
    /// paused meanwhile, so that no worker begins what is about to go; a call that is cut off
    /// leaves it so.
    pub async fn delete_queue(&self, name: &QueueName, force: bool, asked: &Asked) -> Result<()> {
        let settings = self.settings_of_known(name).await?;
        asked.check(&settings.etag())?;
        if !force {
            return self.delete_empty(name).await;
        }
        let reason = match asked.reason.as_str() {
            "" => "DELETED".to_owned(),
            reason => format!("DELETED: {reason}"),
        };
        let asked = Asked { reason, ..asked.clone() };
        self.pause_queue(name, true, &asked).await?;
        for _ in 0..STEPS {
            if self.wipe(name, WIPED).await? {
                return Ok(());
            }
        }
        Err(Error::Overloaded)
    }

    /// Deletes a queue without jobs. No job is forgotten: one that comes meanwhile keeps it.
    async fn delete_empty(&self, name: &QueueName) -> Result<()> {
        for _ in 0..STEPS {
            if total(self.store.survey(name, self.clock.now()).await?.counts) > 0 {
                return Err(Error::QueueNotEmpty(name.clone()));
            }
            // Its history may take several steps.
            if self.wipe(name, 0).await? {
                return Ok(());
            }
        }
        Err(Error::Overloaded)
    }

    /// One page of the queues, by name.
    pub async fn list_queues(&self, query: &QueueQuery) -> Result<(Vec<Queue>, String)> {
        let token = self.page_token("queues", |digest| {
            query.names.digest(digest);
            digest.number(query.paused.map_or(0, |paused| 1 + u64::from(paused)));
            digest.number(query.backward.into());
        });
        let token = token.await?;
        let after = token.read(&query.page_token)?;
        let after = after.map(|name| String::from_utf8_lossy(&name).into_owned());
        let mut names = self.store.queues().await?;
        names.retain(|name| query.names.matches(name));
        if let Some(known) = &query.known {
            names.retain(|name| known.iter().any(|pattern| pattern.matches(name)));
        }
        if query.backward {
            names.reverse();
        }
        let is_passed = |name: &QueueName| {
            after.as_deref().is_some_and(|after| {
                let name = name.as_str();
                if query.backward { name >= after } else { name <= after }
            })
        };
        names.retain(|name| !is_passed(name));
        self.page_of_queues(&names, query, &token).await
    }

    /// A page of `names`, all of which come after the page before.
    async fn page_of_queues(
        &self,
        names: &[QueueName],
        query: &QueueQuery,
        token: &PageToken,
    ) -> Result<(Vec<Queue>, String)> {
        let mut page = Vec::new();
        let mut looked_at = 0;
        while page.len() < query.size && looked_at < LOOKED_AT.min(names.len()) {
            let rest = &names[looked_at..];
            let some = &rest[..rest.len().min(READS).min(query.size - page.len())];
            looked_at += some.len();
            let settings = some.iter().map(|name| self.store.settings(name));
            let settings = futures_util::future::try_join_all(settings).await?;
            for (name, settings) in some.iter().zip(settings) {
                let settings = settings.unwrap_or_default();
                if query.paused.is_none_or(|paused| settings.paused == paused) {
                    page.push(Queue { name: name.clone(), settings });
                }
            }
        }
        let last = names[..looked_at].last().filter(|_| looked_at < names.len());
        let next = last.map_or_else(String::new, |last| token.write(last.as_str().as_bytes()));
        Ok((page, next))
    }

    /// Fails when there is no such queue: it never had a job, and nobody set it up.
    pub(super) async fn known(&self, name: &QueueName) -> Result<()> {
        self.settings_of_known(name).await.map(|_| ())
    }

    pub(super) async fn settings_of_known(&self, name: &QueueName) -> Result<QueueSettings> {
        if let Some(settings) = self.store.settings(name).await? {
            return Ok(settings);
        }
        // Whatever happened in it was told.
        if self.store.log_end(name).await? == Position::default() {
            return Err(Error::NoQueue(name.clone()));
        }
        Ok(QueueSettings::default())
    }

    /// Writes settings, if nobody else did since `settings` were read.
    async fn put_settings(
        &self,
        name: &QueueName,
        settings: &QueueSettings,
        kind: EventKind,
        asked: &Asked,
    ) -> Result<bool> {
        let now = self.clock.now();
        let mut event = Event::of_queue(kind, now, name.clone());
        event.reason.clone_from(&asked.reason);
        event.actor.clone_from(&asked.actor);
        let guarded = self.store.set_settings(name, settings, &event, now).await?;
        self.settings.forget(name);
        Ok(guarded == Guarded::Applied)
    }

    async fn wipe(&self, name: &QueueName, limit: usize) -> Result<bool> {
        let gone = self.store.wipe(name, limit).await?;
        self.settings.forget(name);
        Ok(gone)
    }
}

/// All jobs that a queue holds.
fn total(counts: Counts) -> u64 {
    let Counts { scheduled, ready, leased, retrying, blocked, succeeded, dead, cancelled, expired } =
        counts;
    scheduled + ready + leased + retrying + blocked + succeeded + dead + cancelled + expired
}
