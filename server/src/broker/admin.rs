//! What operators ask.

use super::{Broker, Result};
use crate::job::{Job, JobName};
use crate::store::Status;

impl Broker {
    /// Reads a job.
    pub async fn get(&self, name: &JobName) -> Result<Job> {
        let job = self.store.get(name).await?;
        job.ok_or_else(|| super::Error::NotFound(name.clone()))
    }

    /// What the store is and how it does.
    pub async fn status(&self) -> Result<Status> {
        Ok(self.store.status().await?)
    }
}
