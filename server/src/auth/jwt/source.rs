//! Where keys come from: a file that is looked at again and again, or a URL that is asked now and
//! then, and when a token names a key that is not there. Whatever fails, the last good keys hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::fetch::{Fetcher, PATIENCE};
use super::keys::KeySet;
use super::{Jwt, JwtSettings, KeyPlace};
use crate::auth::credentials::Error;
use crate::clock::Clock;
use crate::files::{self, Trouble, Watched};
use crate::telemetry::metrics::Metrics;

/// After a fetch that failed, the next one comes so soon.
const RETRY: Duration = Duration::from_secs(10);

/// Tokens with unknown keys make the broker ask at once, but so often only, after the first few:
/// anybody can make up a key's name.
const ASK_AGAIN: Duration = Duration::from_secs(30);
const AT_ONCE: std::num::NonZeroU32 = std::num::NonZeroU32::MIN.saturating_add(2);

/// The keys of a provider, and where they come from.
pub(in crate::auth) struct Source {
    pub(in crate::auth) jwt: Jwt,
    /// Told when there are other keys.
    changes: watch::Sender<()>,
    metrics: Metrics,
    remote: Option<Remote>,
}

struct Remote {
    fetcher: Fetcher,
    refresh: Duration,
    /// Held by whoever fetches.
    turn: tokio::sync::Mutex<State>,
    /// Fetches that have ended, well or not.
    ended: AtomicU64,
    unknown: DefaultDirectRateLimiter,
}

/// What the last fetch brought.
#[derive(Default)]
struct State {
    text: Vec<u8>,
    trouble: Trouble,
}

/// Keeps the keys up to date.
pub(in crate::auth) struct Keeper {
    source: Arc<Source>,
    file: Option<Watched>,
}

impl Source {
    /// Reads the file, which must be there, or asks the URL, which may be down.
    pub(in crate::auth) async fn open(
        settings: JwtSettings,
        changes: watch::Sender<()>,
        metrics: Metrics,
    ) -> Result<(Arc<Self>, Keeper), Error> {
        let (place, refresh) = (settings.keys.clone(), settings.refresh);
        let jwt = Jwt::new(settings);
        match place {
            KeyPlace::File(path) => {
                let (file, contents) = Watched::open(vec![path.clone()])?;
                let set = parse(&contents).map_err(|cause| Error::Keys { path, cause })?;
                jwt.replace(set);
                let source = Arc::new(Self { jwt, changes, metrics, remote: None });
                Ok((Arc::clone(&source), Keeper { source, file: Some(file) }))
            }
            KeyPlace::Url(url) => {
                let fetcher = Fetcher::new(url).map_err(Error::Trust)?;
                let quota = Quota::with_period(ASK_AGAIN).map(|quota| quota.allow_burst(AT_ONCE));
                let unknown = quota.unwrap_or_else(|| Quota::per_second(AT_ONCE));
                let remote = Remote {
                    fetcher,
                    refresh,
                    turn: tokio::sync::Mutex::default(),
                    ended: AtomicU64::new(0),
                    unknown: RateLimiter::direct(unknown),
                };
                let source = Arc::new(Self { jwt, changes, metrics, remote: Some(remote) });
                source.refresh().await;
                Ok((Arc::clone(&source), Keeper { source, file: None }))
            }
        }
    }

    /// A token names a key that is not there: asks for the keys, unless that was done just now.
    /// Answers whether there may be others since.
    pub(in crate::auth) async fn ask(&self) -> bool {
        let Some(remote) = &self.remote else { return false };
        let before = remote.ended.load(Ordering::Acquire);
        let asking = async {
            let mut state = remote.turn.lock().await;
            if remote.ended.load(Ordering::Acquire) != before {
                return true;
            }
            if remote.unknown.check().is_err() {
                return false;
            }
            self.fetch(remote, &mut state).await
        };
        tokio::time::timeout(2 * PATIENCE, asking).await.unwrap_or(false)
    }

    /// Asks for the keys; answers whether that went well.
    async fn refresh(&self) -> bool {
        let Some(remote) = &self.remote else { return true };
        let mut state = remote.turn.lock().await;
        self.fetch(remote, &mut state).await
    }

    async fn fetch(&self, remote: &Remote, state: &mut State) -> bool {
        let fetched = match remote.fetcher.fetch().await {
            Ok(text) if text == state.text => Ok(None),
            Ok(text) => match KeySet::parse(&text) {
                Ok(set) => Ok(Some((text, set))),
                Err(why) => Err(format!("it {why}")),
            },
            Err(error) => Err(error.to_string()),
        };
        let fared = match fetched {
            Ok(changed) => {
                if let Some((text, set)) = changed {
                    state.text = text.into();
                    self.take(set);
                }
                state.trouble.is_over();
                true
            }
            Err(why) => {
                let url = remote.fetcher.url();
                state
                    .trouble
                    .is(&format!("can't fetch {url}: {why}"), "the keys of JWT stay as they were");
                false
            }
        };
        self.metrics.keys_refreshed(fared);
        remote.ended.fetch_add(1, Ordering::AcqRel);
        fared
    }

    fn take(&self, set: KeySet) {
        tracing::info!(keys = set.len(), "the keys of JWT were read anew");
        self.jwt.replace(set);
        self.changes.send_replace(());
    }
}

impl Keeper {
    /// Looks at the file, or asks the URL, until `stop`.
    pub(in crate::auth) async fn run(mut self, stop: CancellationToken) {
        let mut trouble = Trouble::default();
        let mut pause = match &self.source.remote {
            Some(remote) if self.source.jwt.has_keys() => remote.refresh,
            Some(remote) => remote.refresh.min(RETRY),
            None => files::LOOK,
        };
        while stop.run_until_cancelled(Clock::pause(pause)).await.is_some() {
            match &self.source.remote {
                Some(remote) => {
                    let went_well =
                        stop.run_until_cancelled(self.source.refresh()).await.unwrap_or(true);
                    pause = if went_well { remote.refresh } else { remote.refresh.min(RETRY) };
                }
                None => self.look(&mut trouble).await,
            }
        }
    }

    async fn look(&mut self, trouble: &mut Trouble) {
        let Some(file) = &mut self.file else { return };
        let renewed = match file.changed().await {
            Ok(None) => return,
            Ok(Some(contents)) => parse(&contents).map_err(|why| format!("the file {why}")),
            Err(error) => Err(error.to_string()),
        };
        self.source.metrics.keys_refreshed(renewed.is_ok());
        match renewed {
            Ok(set) => {
                self.source.take(set);
                trouble.is_over();
            }
            Err(why) => trouble.is(&why, "the keys of JWT stay as they were"),
        }
    }
}

fn parse(contents: &[Vec<u8>]) -> Result<KeySet, super::Unusable> {
    KeySet::parse(contents.first().map_or(&[], Vec::as_slice))
}
