//! How many connections the process has room for: each is an open file.

use lessor_server::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for the store, for logs, and for connections on their way out.
const RESERVE: u64 = 128;

/// Raises the limit of open files as far as this process may, and lowers that of connections to it.
pub(crate) fn make(config: &mut Config) {
    let Some(files) = open_files() else { return };
    let room = usize::try_from(files.saturating_sub(RESERVE)).unwrap_or(usize::MAX).max(1);
    if room < config.connections.most {
        tracing::warn!(room, files, "connections.max is more than the limit of open files allows");
        config.connections.most = room;
    }
}

/// How many files may be open; `None`: any number.
fn open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // The usual limit is low for the sake of programs that call select(2).
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_ok() { maximum } else { current }
}
