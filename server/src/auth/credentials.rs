//! All that callers may show to prove who they are, kept up to date.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::keyring::{Error as KeyringError, Keyring};
use super::principal::Principal;
use super::secret::Digest;
use crate::clock::Clock;
use crate::files::{self, Unreadable, Watched};

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
}

/// What a caller shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown<'a> {
    /// The token after `Bearer`.
    pub bearer: Option<&'a str>,
    /// The names in the certificate of its connection, which was checked.
    pub certificate: &'a [String],
}

/// Why a caller is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
}

/// Knows principals by what they show.
pub struct Credentials {
    ring: ArcSwap<Keyring>,
}

/// Keeps [`Credentials`] as their file says.
pub struct Keeping {
    credentials: Arc<Credentials>,
    path: PathBuf,
    file: Watched,
    /// What was wrong at the last look.
    trouble: Option<String>,
}

impl Credentials {
    /// Reads the file of identities.
    pub fn open(path: &Path) -> Result<(Arc<Self>, Keeping), Error> {
        let (file, contents) = Watched::open(vec![path.to_owned()])?;
        let ring = parse(path, &contents)?;
        let credentials = Arc::new(Self { ring: ArcSwap::from_pointee(ring) });
        let keeping = Keeping {
            credentials: Arc::clone(&credentials),
            path: path.to_owned(),
            file,
            trouble: None,
        };
        Ok((credentials, keeping))
    }

    /// Who shows this. A token counts before a certificate.
    pub fn principal(&self, shown: Shown<'_>) -> Result<Arc<Principal>, Denied> {
        let ring = self.ring.load();
        let found = match shown {
            Shown { bearer: Some(token), .. } => ring.by_token(&Digest::of(token)),
            Shown { certificate: [], .. } => return Err(Denied::Nothing),
            Shown { certificate, .. } => ring.by_certificate(certificate),
        };
        found.cloned().ok_or(Denied::Unknown)
    }
}

impl Keeping {
    /// Looks at the file until `stop`. A broken one changes nothing: the old identities hold.
    pub async fn run(mut self, stop: CancellationToken) {
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
                self.trouble = None;
            }
            Err(error) => {
                let error = error.to_string();
                if self.trouble.as_ref() != Some(&error) {
                    tracing::error!(error, "the identities stay as they were");
                }
                self.trouble = Some(error);
            }
        }
    }
}

fn parse(path: &Path, contents: &[Vec<u8>]) -> Result<Keyring, Error> {
    let text = String::from_utf8_lossy(contents.first().map_or(&[], Vec::as_slice));
    Keyring::parse(&text).map_err(|cause| Error::Keyring { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn a_new_file_counts_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        std::fs::write(&path, file("old")).unwrap();
        let (credentials, mut keeping) = Credentials::open(&path).unwrap();
        assert!(credentials.principal(bearer("old")).is_ok());
        std::fs::write(&path, file("new")).unwrap();
        keeping.look().await;
        assert_eq!(credentials.principal(bearer("old")), Err(Denied::Unknown));
        for broken in ["[[identity]]", "nonsense"] {
            std::fs::write(&path, broken).unwrap();
            keeping.look().await;
            assert!(credentials.principal(bearer("new")).is_ok());
        }
        std::fs::remove_file(&path).unwrap();
        keeping.look().await;
        assert!(credentials.principal(bearer("new")).is_ok());
    }

    #[tokio::test]
    async fn a_wrong_token_is_not_mended_by_a_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        std::fs::write(&path, file("good")).unwrap();
        let (credentials, _keeping) = Credentials::open(&path).unwrap();
        let names = ["cn:one".to_owned()];
        let certificate = |bearer| credentials.principal(Shown { bearer, certificate: &names });
        assert_eq!(certificate(None).unwrap().name(), "one");
        assert_eq!(certificate(Some("bad")), Err(Denied::Unknown));
        assert_eq!(credentials.principal(Shown::default()), Err(Denied::Nothing));
    }
}
