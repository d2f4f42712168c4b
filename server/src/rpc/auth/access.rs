//! What the caller of one call may do, asked by its handler.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tonic::Request;

use crate::auth::{Call, Principal, Reach, Role};
use crate::broker::enqueue::NewJob;
use crate::broker::lease::QueuePattern;
use crate::broker::settle::{Ack, Settle};
use crate::broker::{self, Broker};
use crate::job::schedule::Settings;
use crate::job::{Job, JobName, LeaseToken, QueueName, ScheduleId, WorkerId};
use crate::rpc::status::{Fault, Reason};

/// Whether callers are asked who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Everybody may do everything: there are no credentials.
    Open,
    /// Only callers that the layer let in.
    Guarded,
}

impl Gate {
    /// What the caller of this request may do.
    pub(in crate::rpc) fn access<T>(self, request: &Request<T>) -> Result<Access, Fault> {
        if self == Self::Open {
            return Ok(Access(None));
        }
        match request.extensions().get::<Arc<Caller>>() {
            Some(caller) => Ok(Access(Some(Arc::clone(caller)))),
            None => Err(Fault::internal("a call came past the layer that asks who calls")),
        }
    }
}

/// Who calls what.
pub(super) struct Caller {
    pub(super) principal: Arc<Principal>,
    pub(super) call: Call,
    /// The queue or job that the call turned out to be about.
    pub(super) subject: OnceLock<String>,
}

impl Caller {
    pub(super) fn new(principal: Arc<Principal>, call: Call) -> Self {
        Self { principal, call, subject: OnceLock::new() }
    }

    fn reach(&self, queue: &QueueName) -> Reach {
        self.principal.reach(self.call, queue)
    }

    /// Notes what the call is about, for the log; only calls that are written there pay for it.
    fn note(&self, subject: impl FnOnce() -> String) {
        if self.call.rule().is_audited {
            self.subject.get_or_init(subject);
        }
    }

    fn refuse(&self, at: &dyn fmt::Display) -> Fault {
        let at = at.to_string();
        let fault = forbidden(&self.principal, self.call, Some(&at));
        let _noted = self.subject.set(at);
        fault
    }

    fn owns(&self, job: &Job) -> bool {
        job.spec.owner == self.principal.name()
    }
}

/// What the caller of one call may do.
#[derive(Clone)]
pub(in crate::rpc) struct Access(Option<Arc<Caller>>);

impl Access {
    /// Who it is, for events; empty when nobody was asked.
    pub(in crate::rpc) fn actor(&self) -> String {
        self.0.as_ref().map_or_else(String::new, |caller| caller.principal.name().to_owned())
    }

    /// Fails unless the call is allowed for the queue as a whole.
    pub(in crate::rpc) fn queue(&self, queue: &QueueName) -> Result<(), Fault> {
        let Some(caller) = &self.0 else { return Ok(()) };
        caller.note(|| format!("queues/{queue}"));
        match caller.reach(queue) {
            Reach::Any => Ok(()),
            Reach::Own | Reach::Nothing => Err(caller.refuse(&format_args!("queues/{queue}"))),
        }
    }

    /// Fails unless the call is allowed for all queues that are meant.
    pub(in crate::rpc) fn queues(&self, patterns: &[QueuePattern]) -> Result<(), Fault> {
        let Some(caller) = &self.0 else { return Ok(()) };
        let reach = |asked: &QueuePattern| caller.principal.reach_of(caller.call, asked);
        match patterns.iter().find(|asked| reach(asked) != Reach::Any) {
            Some(refused) => Err(caller.refuse(&format_args!("queues/{refused}"))),
            None => Ok(()),
        }
    }

    /// Fails unless the call is allowed everywhere.
    pub(in crate::rpc) fn everywhere(&self) -> Result<(), Fault> {
        if self.0.is_none() { Ok(()) } else { self.queues(&[QueuePattern::all()]) }
    }

    /// The queues that the caller may know of; `None`: all.
    pub(in crate::rpc) fn known(&self) -> Option<Vec<QueuePattern>> {
        let caller = self.0.as_ref()?;
        let queues = caller.principal.queues(caller.call);
        (!queues.contains(&QueuePattern::all())).then_some(queues)
    }

    /// What a watch of all queues means to the caller; empty: all.
    pub(in crate::rpc) fn watched(&self) -> Result<Vec<QueuePattern>, Fault> {
        let Some(queues) = self.known() else { return Ok(Vec::new()) };
        // One that is limited to its own jobs may watch those, each by its name.
        if queues.is_empty() { self.everywhere().map(|()| queues) } else { Ok(queues) }
    }

    /// Fails unless the job may be enqueued, and says whose it is.
    pub(in crate::rpc) fn enqueue(&self, job: &mut NewJob) -> Result<(), Fault> {
        let Some(caller) = &self.0 else { return Ok(()) };
        let queue = &job.queue;
        if caller.reach(queue) == Reach::Nothing {
            return Err(caller.refuse(&format_args!("queues/{queue}")));
        }
        let NewJob { queue, spec, .. } = job;
        self.own(queue, &mut Arc::make_mut(spec).owner)
    }

    /// Says whose a job is: the caller's, or that of whom it names if it may.
    fn own(&self, queue: &QueueName, owner: &mut String) -> Result<(), Fault> {
        let Some(caller) = &self.0 else { return Ok(()) };
        let name = caller.principal.name();
        if owner.is_empty() {
            name.clone_into(owner);
        }
        if *owner == name || caller.principal.acts_for_others(queue) {
            return Ok(());
        }
        let message =
            format!("{name} may not enqueue for another owner; that needs the role act-as");
        Err(Fault::role(message, Role::ActAs))
    }

    /// Fails unless the lease may be acked, and says whose the follow-ups are.
    pub(in crate::rpc) fn ack(&self, token: &LeaseToken, ack: &mut Ack) -> Result<(), Fault> {
        if self.0.is_none() {
            return Ok(());
        }
        self.queue(&token.name.queue)?;
        ack.then.iter_mut().try_for_each(|NewJob { queue, spec, .. }| {
            self.own(queue, &mut Arc::make_mut(spec).owner)
        })
    }

    /// Fails unless the lease may be settled or extended.
    pub(in crate::rpc) fn settle(&self, settle: &mut Settle) -> Result<(), Fault> {
        match settle {
            Settle::Ack(token, ack) => self.ack(token, ack),
            Settle::Nack(token, _) | Settle::Extend(token, _) => self.queue(&token.name.queue),
        }
    }

    /// Whose jobs the call is limited to in the queue of this name; `None`: anybody's.
    pub(in crate::rpc) fn owner_in(&self, queue: &str) -> Result<Option<String>, Fault> {
        let Some(caller) = &self.0 else { return Ok(None) };
        // What is no name is told where the request is read.
        let Ok(queue) = QueueName::parse(queue) else { return Ok(None) };
        caller.note(|| format!("queues/{queue}"));
        match caller.reach(&queue) {
            Reach::Any => Ok(None),
            Reach::Own => Ok(Some(caller.principal.name().to_owned())),
            Reach::Nothing => Err(caller.refuse(&format_args!("queues/{queue}"))),
        }
    }

    /// Fails unless the call is allowed for this schedule, whose queue decides.
    pub(in crate::rpc) async fn schedule(
        &self,
        broker: &Broker,
        id: &ScheduleId,
    ) -> Result<(), Fault> {
        let Some(caller) = &self.0 else { return Ok(()) };
        caller.note(|| format!("schedules/{id}"));
        if self.known().is_none() {
            return Ok(());
        }
        match broker.schedule(id).await {
            Ok(schedule) if caller.reach(&schedule.settings.queue) == Reach::Any => Ok(()),
            // Whether there is such a schedule is not told.
            Ok(_) | Err(broker::Error::NoSchedule(_)) => {
                Err(caller.refuse(&format_args!("schedules/{id}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Fails unless a schedule may have these settings, and says whose its jobs are.
    pub(in crate::rpc) fn settings(&self, settings: &mut Settings) -> Result<(), Fault> {
        self.queue(&settings.queue)?;
        self.own(&settings.queue, &mut settings.job.spec.owner)
    }

    /// Fails unless the call is allowed for all queues that this worker serves.
    pub(in crate::rpc) async fn worker(&self, broker: &Broker, id: &WorkerId) -> Result<(), Fault> {
        let Some(caller) = &self.0 else { return Ok(()) };
        caller.note(|| format!("workers/{id}"));
        if self.known().is_none() {
            return Ok(());
        }
        let workers = broker.workers().await?;
        match workers.iter().find(|worker| worker.id == *id) {
            Some(worker) if self.queues(&worker.queues).is_ok() => Ok(()),
            _ => Err(caller.refuse(&format_args!("workers/{id}"))),
        }
    }

    /// Fails unless the call is allowed for this job. A caller that is limited to its own jobs does
    /// not learn whether there are others.
    pub(in crate::rpc) async fn job(&self, broker: &Broker, name: &JobName) -> Result<(), Fault> {
        let Some(caller) = &self.0 else { return Ok(()) };
        caller.note(|| name.to_string());
        match caller.reach(&name.queue) {
            Reach::Any => Ok(()),
            Reach::Nothing => Err(caller.refuse(name)),
            Reach::Own => match broker.get(name).await {
                Ok(job) if caller.owns(&job) => Ok(()),
                Ok(_) | Err(broker::Error::NotFound(_)) => Err(not_owner(caller, name)),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Fails unless this job, as it was read, may be shown: another may have its name since it was
    /// asked about.
    pub(in crate::rpc) fn shows(&self, job: &Job) -> Result<(), Fault> {
        self.0.as_ref().map_or(Ok(()), |caller| self.shows_as(caller.call, job))
    }

    /// Fails unless the caller may see this job by another call.
    pub(in crate::rpc) fn shows_as(&self, call: Call, job: &Job) -> Result<(), Fault> {
        let Some(caller) = &self.0 else { return Ok(()) };
        match caller.principal.reach(call, &job.name.queue) {
            Reach::Any => Ok(()),
            Reach::Own if caller.owns(job) => Ok(()),
            Reach::Own | Reach::Nothing => Err(not_owner(caller, &job.name)),
        }
    }
}

/// A call that the caller's roles do not allow: nowhere, or not `at` a queue or job.
pub(super) fn forbidden(principal: &Principal, call: Call, at: Option<&str>) -> Fault {
    let what = call.path().rsplit('/').next().unwrap_or_default();
    let place = at.map_or_else(String::new, |at| format!(" at {at}"));
    let message = format!("{} may not call {what}{place}", principal.name());
    Fault::role(message, call.rule().any)
}

fn not_owner(caller: &Caller, name: &JobName) -> Fault {
    let _noted = caller.subject.set(name.to_string());
    let message = format!("{} has no job {name} of its own", caller.principal.name());
    Fault::new(Reason::NotOwner, message)
}
