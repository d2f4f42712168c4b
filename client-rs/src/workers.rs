//! The workers seen lately, and the store behind the broker.

use lessor_proto::v1::{
    DrainWorkerRequest, GetStoreStatusRequest, ListWorkersRequest, StoreStatus, Worker,
};

use crate::queues::PAGE;
use crate::{Client, Result};

impl Client {
    /// All workers seen lately, in pages of one call each.
    pub async fn list_workers(&self) -> Result<Vec<Worker>> {
        let mut workers = Vec::new();
        let mut request = ListWorkersRequest { page_size: PAGE, ..ListWorkersRequest::default() };
        loop {
            let page = self
                .administer(request.clone(), |mut admin, request| async move {
                    admin.list_workers(request).await
                })
                .await?;
            workers.extend(page.workers);
            if page.next_page_token.is_empty() {
                return Ok(workers);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Tells a worker to finish what it holds and lease nothing more, and why.
    pub async fn drain_worker(
        &self,
        worker_id: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<Worker> {
        let request = DrainWorkerRequest { worker_id: worker_id.into(), reason: reason.into() };
        self.administer(
            request,
            |mut admin, request| async move { admin.drain_worker(request).await },
        )
        .await
    }

    /// How the store is, by whose clock everything is decided, and what the broker can do.
    pub async fn store_status(&self) -> Result<StoreStatus> {
        self.administer(GetStoreStatusRequest {}, |mut admin, request| async move {
            admin.get_store_status(request).await
        })
        .await
    }
}
