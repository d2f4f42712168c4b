//! All that callers may show to prove who they are, kept up to date.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::jwt::{JwtSettings, Keeper, Source, Unusable};
use super::keyring::{Error as KeyringError, Keyring};
use super::limits::{Accounts, Excess, Limits, Place};
use super::principal::Principal;
use super::secret::Digest;
use crate::clock::{Clock, Timestamp};
use crate::files::{self, Trouble, Unreadable, Watched};
use crate::telemetry::metrics::Metrics;

/// Who may call; nothing set: everybody may, and may do everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The file of identities, with their tokens and certificates.
    pub tokens: Option<PathBuf>,
    /// JWTs that are taken.
    pub jwt: Option<JwtSettings>,
    /// How much each principal may call that has no limits of its own.
    pub limits: Limits,
}

impl Settings {
    /// True when callers are asked who they are.
    pub fn is_on(&self) -> bool {
        self.tokens.is_some() || self.jwt.is_some()
    }
}

/// Why credentials can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The file of identities is refused.
    #[error("{}: {cause}", path.display())]
    Keyring {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: KeyringError,
    },
    /// The file of keys is refused.
    #[error("{} {cause}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: Unusable,
    },
    /// The system trusts no authority, so no key can be fetched.
    #[error("can't fetch keys over HTTPS: {0}")]
    Trust(std::io::Error),
}

/// What a caller shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown<'a> {
    /// The token after `Bearer`.
    pub bearer: Option<&'a str>,
    /// The names in the certificate of its connection, which was checked.
    pub certificate: &'a [String],
    /// When that certificate ends.
    pub certificate_ends: Option<Timestamp>,
}

/// A caller that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// When what it shows ends, if that is sure beforehand.
    pub until: Option<Timestamp>,
}

/// Why a caller is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It shows nothing.
    #[error("the call needs a credential: a bearer token or a client certificate")]
    Nothing,
    /// Nobody is known by what it shows.
    #[error("the credential is not known")]
    Unknown,
    /// What it shows was good once.
    #[error("the credential has expired")]
    Expired,
    /// What it shows is good, but no longer means what it did when the call began.
    #[error("what the credential allows has changed; call again")]
    Changed,
    /// A JWT names a key that there is not.
    #[error("the token is not signed by a key that is known")]
    UnknownKey,
    /// The signature of a JWT is not that of the key, or of a kind that is not taken.
    #[error("the token is not signed by a key that is known")]
    Signature,
    /// A JWT of another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// A JWT for others.
    #[error("the token is for another audience")]
    Audience,
    /// A JWT for later.
    #[error("the token is not valid yet")]
    NotYet,
    /// A JWT that grants nothing, or nothing that makes sense.
    #[error("the token {0}")]
    Claims(Arc<str>),
    /// No JWT can be checked yet.
    #[error("the keys of tokens could not be fetched yet; try again")]
    NoKeys,
}

/// Knows principals by what they show.
pub struct Credentials {
    ring: ArcSwap<Keyring>,
    jwt: Option<Arc<Source>>,
    accounts: Accounts,
    /// Told when something that was good may no longer be.
    changes: watch::Sender<()>,
}

/// Keeps [`Credentials`] as their files and URLs say.
pub struct Keeping {
    identities: Option<Identities>,
    keeper: Option<Keeper>,
}

/// The file of identities.
struct Identities {
    credentials: Arc<Credentials>,
    path: PathBuf,
    file: Watched,
    trouble: Trouble,
}

impl Credentials {
    /// Reads files, and asks for keys if they are elsewhere.
    pub async fn open(
        settings: &Settings,
        metrics: &Metrics,
    ) -> Result<(Arc<Self>, Keeping), Error> {
        let changes = watch::Sender::new(());
        let (jwt, keeper) = match settings.jwt.clone() {
            Some(jwt) => {
                let (jwt, keeper) = Source::open(jwt, changes.clone(), metrics.clone()).await?;
                (Some(jwt), Some(keeper))
            }
            None => (None, None),
        };
        let (ring, file) = match &settings.tokens {
            Some(path) => {
                let (file, contents) = Watched::open(vec![path.clone()])?;
                (parse(path, &contents)?, Some((path.clone(), file)))
            }
            None => (Keyring::default(), None),
        };
        let (ring, accounts) = (ArcSwap::from_pointee(ring), Accounts::new(settings.limits));
        let credentials = Arc::new(Self { ring, jwt, accounts, changes });
        let identities = file.map(|(path, file)| Identities {
            credentials: Arc::clone(&credentials),
            path,
            file,
            trouble: Trouble::default(),
        });
        Ok((credentials, Keeping { identities, keeper }))
    }

    /// Who shows this. A token counts before a certificate. Keys that are not known are asked for.
    pub async fn identify(&self, shown: Shown<'_>, now: Timestamp) -> Result<Known, Denied> {
        match (self.look(shown, now), &self.jwt) {
            (Err(Denied::UnknownKey | Denied::NoKeys), Some(jwt)) if jwt.ask().await => {
                self.look(shown, now)
            }
            (found, _) => found,
        }
    }

    /// Who shows this, as far as that is known.
    pub fn look(&self, shown: Shown<'_>, now: Timestamp) -> Result<Known, Denied> {
        let ring = self.ring.load();
        let known = |found: Option<&Arc<Principal>>, until| match found {
            Some(principal) => Ok(Known { principal: Arc::clone(principal), until }),
            None => Err(Denied::Unknown),
        };
        let Some(token) = shown.bearer else {
            return match (shown.certificate, shown.certificate_ends) {
                ([], _) => Err(Denied::Nothing),
                (_, Some(end)) if now >= end => Err(Denied::Expired),
                (names, end) => known(ring.by_certificate(names), end),
            };
        };
        let digest = Digest::of(token);
        match (ring.by_token(&digest), &self.jwt) {
            (None, Some(source)) if is_jwt(token) => source.jwt.look(token, &digest, &ring, now),
            (found, _) => known(found, None),
        }
    }

    /// Counts a call of a principal, whose place lasts as long as the call if `is_long`.
    pub fn count(
        &self,
        principal: &Principal,
        is_long: bool,
        clock: &Clock,
    ) -> Result<Option<Place>, Excess> {
        self.accounts.count(principal, is_long, clock)
    }

    /// Tells when something that was good may no longer be.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

impl Keeping {
    /// Looks for changes until `stop`. What is broken changes nothing: the old credentials hold.
    pub async fn run(self, stop: CancellationToken) {
        let identities = async {
            if let Some(identities) = self.identities {
                identities.run(&stop).await;
            }
        };
        let keys = async {
            if let Some(keeper) = self.keeper {
                keeper.run(stop.clone()).await;
            }
        };
        tokio::join!(identities, keys, stop.cancelled());
    }
}

impl Identities {
    async fn run(mut self, stop: &CancellationToken) {
        while stop.run_until_cancelled(Clock::pause(files::LOOK)).await.is_some() {
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let renewed = match self.file.changed().await {
            Ok(None) => return,
            Ok(Some(contents)) => parse(&self.path, &contents),
            Err(error) => Err(error.into()),
        };
        match renewed {
            Ok(ring) => {
                tracing::info!(identities = ring.len(), "the identities were read anew");
                self.credentials.ring.store(Arc::new(ring));
                self.credentials.changes.send_replace(());
                self.trouble.is_over();
            }
            Err(error) => self.trouble.is(&error.to_string(), "the identities stay as they were"),
        }
    }
}

/// Tokens of `lessor token new` have no dots.
fn is_jwt(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

fn parse(path: &Path, contents: &[Vec<u8>]) -> Result<Keyring, Error> {
    let text = contents.first().map_or(Cow::default(), |text| String::from_utf8_lossy(text));
    Keyring::parse(&text).map_err(|cause| Error::Keyring { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn file(token: &str) -> String {
        let digest = Digest::of(token);
        format!(
            "[[identity]]\nname = \"one\"\nroles = [\"viewer\"]\nqueues = [\"*\"]\n\
             tokens = [\"{digest}\"]\ncertificates = [\"cn:one\"]"
        )
    }

    fn bearer(token: &str) -> Shown<'_> {
        Shown { bearer: Some(token), ..Shown::default() }
    }

    async fn open(path: &Path) -> (Arc<Credentials>, Identities) {
        let settings = Settings { tokens: Some(path.to_owned()), ..Settings::default() };
        let metrics = Metrics::new("sqlite", None).unwrap();
        let (credentials, keeping) = Credentials::open(&settings, &metrics).await.unwrap();
        (credentials, keeping.identities.unwrap())
    }

    #[tokio::test]
    async fn a_new_file_counts_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        std::fs::write(&path, file("old")).unwrap();
        let (credentials, mut identities) = open(&path).await;
        let mut changes = credentials.changes();
        assert!(credentials.look(bearer("old"), NOW).is_ok());
        std::fs::write(&path, file("new")).unwrap();
        identities.look().await;
        assert_eq!(credentials.look(bearer("old"), NOW), Err(Denied::Unknown));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        for broken in ["[[identity]]", "nonsense"] {
            std::fs::write(&path, broken).unwrap();
            identities.look().await;
            assert!(credentials.look(bearer("new"), NOW).is_ok());
        }
        std::fs::remove_file(&path).unwrap();
        identities.look().await;
        assert!(credentials.look(bearer("new"), NOW).is_ok());
        assert!(!changes.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_wrong_token_is_not_mended_by_a_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        std::fs::write(&path, file("good")).unwrap();
        let (credentials, _identities) = open(&path).await;
        let names = ["cn:one".to_owned()];
        let show = |bearer, end| {
            let shown = Shown { bearer, certificate: &names, certificate_ends: end };
            credentials.look(shown, NOW).map(|known| known.until)
        };
        let later = NOW.after(std::time::Duration::from_secs(1));
        assert_eq!(show(None, Some(later)), Ok(Some(later)));
        assert_eq!(show(None, Some(NOW)), Err(Denied::Expired));
        assert_eq!(show(Some("bad"), Some(later)), Err(Denied::Unknown));
        assert_eq!(credentials.look(Shown::default(), NOW), Err(Denied::Nothing));
    }
}
