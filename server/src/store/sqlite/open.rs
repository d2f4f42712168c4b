//! Opening: the lock, the settings of the connection, the schema, and what the store says of
//! itself.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::Synchronous;
use super::flusher::Flush;
use super::migrate::{check, migrate};
use crate::store::{Error, Result, Status};

/// How long another program may keep the file busy; a reader never does.
const BUSY: Duration = Duration::from_secs(5);
/// All statements of the store fit in.
const STATEMENTS: usize = 128;

/// Where a store is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// When a commit counts as done.
        sync: Synchronous,
    },
    /// In memory.
    Memory,
}

/// An open store.
pub(super) struct Opened {
    /// The only connection to it.
    pub(super) db: Connection,
    /// Dropped after the connection; holds off other processes until then.
    pub(super) lock: Option<File>,
    /// What a commit needs before it is answered, if anything.
    pub(super) flush: Option<Flush>,
    /// What it says of itself.
    pub(super) status: Status,
}

impl Opened {
    /// Opens the store at `place` and brings it to the newest schema.
    pub(super) fn at(place: &Place) -> Result<Self> {
        let (path, lock) = match place {
            Place::File { path, .. } => (path.as_path(), Some(lock(path)?)),
            Place::Memory => (Path::new(":memory:"), None),
        };
        let wrong = |error: rusqlite::Error| unusable(path, &error);
        let mut db = Connection::open(path).map_err(wrong)?;
        // First of all, so that a file which is refused is left as it is.
        let done = check(&db, path)?;
        if let Place::File { .. } = place {
            set_up_file(&db).map_err(wrong)?;
        }
        // What belongs to a job is deleted by name (forget.rs), which costs less than a cascade.
        db.pragma_update(None, "foreign_keys", false).map_err(wrong)?;
        // Plans do not depend on what is bound; without it, statements on partial indexes are
        // compiled anew for each run, just in case.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(wrong)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS);
        migrate(&mut db, done).map_err(wrong)?;
        let epoch = epoch(&db).map_err(wrong)?;
        let flush = match place {
            Place::File { sync: Synchronous::Full, .. } => Some(flush(&db)?),
            Place::File { sync: Synchronous::Normal, .. } | Place::Memory => None,
        };
        Ok(Self { status: status(place, epoch), db, lock, flush })
    }
}

/// Locks `{path}.lock`. The lock is the operating system's, so it ends with the process, however
/// that ends; the file stays, as removing it would let two processes lock two files of one name.
fn lock(path: &Path) -> Result<File> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(|error| unusable(Path::new(&name), &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(unusable(path, &"another broker has it open")),
        Err(TryLockError::Error(error)) => Err(unusable(Path::new(&name), &error)),
    }
}

fn set_up_file(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    // A commit writes and does not flush: that is done beside it, where it is wanted (flusher.rs). A
    // checkpoint flushes all the same, so that the file is whole at any time.
    db.pragma_update(None, "synchronous", "normal")?;
    // 16 MiB between checkpoints: each costs two more flushes.
    db.pragma_update(None, "wal_autocheckpoint", 4000)?;
    // The log file shrinks to this after a burst.
    db.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // In KiB, when negative.
    db.pragma_update(None, "cache_size", -64 << 10)
}

/// Flushes the write-ahead log of `db`, which is there from the first statement on. After a loss of
/// power `SQLite` reads it up to the first transaction that is not whole.
fn flush(db: &Connection) -> Result<Flush> {
    // Links are resolved in the connection's path, as they are for the log beside it.
    let mut path = OsString::from(db.path().unwrap_or_default());
    path.push("-wal");
    let opened = File::options().write(true).open(&path);
    let log = opened.map_err(|error| unusable(Path::new(&path), &error))?;
    Ok(Box::new(move || log.sync_data()))
}

/// The epoch of the store, made at its first opening.
fn epoch(db: &Connection) -> rusqlite::Result<String> {
    let find = "select value from meta where key = 'epoch'";
    if let Some(epoch) = db.query_row(find, [], |row| row.get(0)).optional()? {
        return Ok(epoch);
    }
    let epoch = Uuid::new_v4().simple().to_string();
    db.execute("insert into meta (key, value) values ('epoch', ?1)", params![epoch])?;
    Ok(epoch)
}

fn status(place: &Place, epoch: String) -> Status {
    let (mode, warning) = match place {
        Place::File { sync: Synchronous::Full, .. } => ("synchronous=FULL", None),
        Place::File { sync: Synchronous::Normal, .. } => (
            "synchronous=NORMAL",
            Some("synchronous is NORMAL: a power loss may take the newest writes"),
        ),
        Place::Memory => ("in memory", Some("the store is in memory: a restart loses all jobs")),
    };
    Status {
        version: format!("SQLite {}, {mode}", rusqlite::version()),
        epoch,
        warnings: warning.into_iter().map(str::to_owned).collect(),
    }
}

/// `what` is wrong with the store in `path`.
pub(super) fn unusable(path: &Path, what: &dyn std::fmt::Display) -> Error {
    Error::Unusable(format!("{}: {what}", path.display()))
}
