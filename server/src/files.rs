//! Files that may be replaced while the broker runs: secrets, keys, certificates.
//!
//! They are read again and again and known by their content. Notifications would miss what a
//! container platform does: it swaps a link above the folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Digest, SHA256, digest};

/// How often files are looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(2);

/// None of these files is nearly as large.
const LIMIT: u64 = 4 << 20;

/// Files whose change is of interest, together.
pub(crate) struct Watched {
    paths: Vec<PathBuf>,
    /// Digests of what was read last.
    seen: Vec<Digest>,
}

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read {}: {cause}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    cause: std::io::Error,
}

impl Watched {
    /// Reads all files, in order.
    pub(crate) fn open(paths: Vec<PathBuf>) -> Result<(Self, Vec<Vec<u8>>), Unreadable> {
        let contents = read_all(&paths)?;
        let seen = digests(&contents);
        Ok((Self { paths, seen }, contents))
    }

    /// Reads all files again; `None` when nothing has changed.
    pub(crate) async fn changed(&mut self) -> Result<Option<Vec<Vec<u8>>>, Unreadable> {
        let paths = self.paths.clone();
        // A volume may hang; the broker must not.
        let read = tokio::task::spawn_blocking(move || read_all(&paths)).await;
        let Ok(contents) = read else { return Ok(None) };
        let contents = contents?;
        let seen = digests(&contents);
        if seen.iter().map(AsRef::as_ref).eq(self.seen.iter().map(AsRef::<[u8]>::as_ref)) {
            return Ok(None);
        }
        self.seen = seen;
        Ok(Some(contents))
    }
}

/// What is wrong with files, or with what else is looked at, told once and not at each look.
#[derive(Default)]
pub(crate) struct Trouble(Option<String>);

impl Trouble {
    /// It is bad; `meanwhile` says what holds nevertheless.
    pub(crate) fn is(&mut self, error: &str, meanwhile: &'static str) {
        if self.0.as_deref() != Some(error) {
            tracing::error!(error, "{meanwhile}");
        }
        self.0 = Some(error.to_owned());
    }

    /// It is well.
    pub(crate) fn is_over(&mut self) {
        self.0 = None;
    }
}

fn digests(contents: &[Vec<u8>]) -> Vec<Digest> {
    contents.iter().map(|content| digest(&SHA256, content)).collect()
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Unreadable> {
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let unreadable = |cause| Unreadable { path: path.to_owned(), cause };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > LIMIT {
        let cause = std::io::Error::other(format!("has more than {LIMIT} bytes"));
        return Err(unreadable(cause));
    }
    std::fs::read(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_told_once_and_a_missing_file_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["a", "b"].map(|name| folder.path().join(name)).to_vec();
        for path in &paths {
            std::fs::write(path, "one").unwrap();
        }
        let (mut watched, first) = Watched::open(paths.clone()).unwrap();
        assert_eq!(first, [b"one", b"one"]);
        assert!(watched.changed().await.unwrap().is_none());
        std::fs::write(&paths[1], "two").unwrap();
        assert_eq!(watched.changed().await.unwrap().unwrap(), [b"one", b"two"]);
        assert!(watched.changed().await.unwrap().is_none());
        std::fs::remove_file(&paths[0]).unwrap();
        let told = watched.changed().await.unwrap_err().to_string();
        assert!(told.contains(&paths[0].display().to_string()), "{told}");
    }
}
