//! What a stored event leaves out, filled in from its job: type, labels, trace context, result.
//!
//! Moves made by the store alone are logged without reading the job's spec. The event of its
//! creation tells the same, so a watch that saw it need not read the job again.

use std::collections::{BTreeMap, HashMap};

use crate::broker::Result;
use crate::job::{Event, JobName, Payload, State};
use crate::store::Store;

/// Jobs remembered by one watch.
const MEMORY: usize = 10_000;

/// What a watch knows of the jobs it saw.
#[derive(Default)]
pub(super) struct Filler {
    known: HashMap<JobName, Known>,
}

#[derive(Clone)]
struct Known {
    job_type: String,
    labels: BTreeMap<String, String>,
    trace_context: BTreeMap<String, String>,
}

impl Filler {
    /// Remembers what the event tells of its job.
    pub(super) fn learn(&mut self, event: &Event) {
        let Some(name) = name(event).filter(|_| !event.job_type.is_empty() || event.from.is_none())
        else {
            return;
        };
        if self.known.len() >= MEMORY {
            // Rare and cheap to learn again.
            self.known.clear();
        }
        let known = Known {
            job_type: event.job_type.clone(),
            labels: event.labels.clone(),
            trace_context: event.trace_context.clone(),
        };
        self.known.insert(name, known);
    }

    /// The event is not shown; its job is forgotten when it ended.
    pub(super) fn pass(&mut self, event: &Event) {
        if let Some(name) = name(event).filter(|_| event.to.is_some_and(State::is_terminal)) {
            self.known.remove(&name);
        }
    }

    /// Fills in what is missing, as far as the job still exists; answers its result when asked.
    pub(super) async fn fill(
        &mut self,
        store: &dyn Store,
        event: &mut Event,
        with_result: bool,
    ) -> Result<Option<Payload>> {
        let Some(name) = name(event) else { return Ok(None) };
        let known = self.known.get(&name).cloned();
        let mut result = None;
        let known = if known.is_none() || with_result {
            let job = store.get(&name).await?;
            result =
                job.as_ref().filter(|_| with_result).and_then(|job| job.details.result.clone());
            known.or(job.map(|job| Known {
                job_type: job.spec.job_type.clone(),
                labels: job.spec.labels.clone(),
                trace_context: job.spec.trace_context.clone(),
            }))
        } else {
            known
        };
        if let Some(known) = known {
            event.job_type.clone_from(&known.job_type);
            event.labels.clone_from(&known.labels);
            event.trace_context.clone_from(&known.trace_context);
            if !event.to.is_some_and(State::is_terminal) && self.known.len() < MEMORY {
                self.known.insert(name, known);
            }
        }
        self.pass(event);
        Ok(result)
    }
}

/// The job that the event tells of; `None` when it is about the queue.
fn name(event: &Event) -> Option<JobName> {
    Some(JobName { queue: event.queue.clone(), id: event.job.clone()? })
}
