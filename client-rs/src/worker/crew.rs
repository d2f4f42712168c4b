//! What a worker runs just now.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::builder::Plan;
use super::{Job, Stop};

pub(super) struct Crew {
    pub(super) plan: Plan,
    /// By lease token.
    running: Mutex<HashMap<String, Job>>,
    connection: Mutex<Option<Arc<AtomicBool>>>,
    is_draining: AtomicBool,
}

impl Crew {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            running: Mutex::default(),
            connection: Mutex::default(),
            is_draining: AtomicBool::new(false),
        }
    }

    pub(super) fn remember(&self, job: &Job) {
        self.lock().insert(job.leased().lease_token.clone(), job.clone());
    }

    pub(super) fn forget(&self, job: &Job) {
        self.lock().remove(&job.leased().lease_token);
    }

    pub(super) fn stop(&self, lease_token: &str, why: Stop) {
        if let Some(job) = self.lock().get(lease_token) {
            job.signal().fire(why);
        }
    }

    pub(super) fn stop_all(&self, why: &Stop) {
        for job in self.lock().values() {
            job.signal().fire(why.clone());
        }
    }

    pub(super) fn running(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn connect(&self, connection: Arc<AtomicBool>) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }

    pub(super) fn is_connected(&self) -> bool {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.as_ref().is_some_and(|it| it.load(Ordering::Relaxed))
    }

    pub(super) fn begin_to_drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Job>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
