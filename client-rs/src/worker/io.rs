//! The thread that talks to the broker for a worker: handlers run elsewhere, so none of them can keep
//! it from showing that the worker is alive.

use std::thread;

use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::{Error, Result};

/// A thread with a runtime of its own. Dropped, it ends, and what it runs with it.
pub(super) struct Io {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl Io {
    pub(super) fn start() -> Result<Self> {
        let failed = |why| Error::local(Code::Internal, format!("no thread for the worker: {why}"));
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let serve = move || {
            // Ends when the other side is dropped.
            runtime.block_on(ended).ok();
        };
        thread::Builder::new().name("lessor-worker".to_owned()).spawn(serve).map_err(failed)?;
        Ok(Self { handle, _end: end })
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.handle.spawn(work)
    }
}
