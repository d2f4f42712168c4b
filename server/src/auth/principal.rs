//! A principal: who calls, and what that one may do where.

use std::sync::Arc;

use super::call::Call;
use super::limits::Limits;
use super::role::Role;
use crate::broker::lease::QueuePattern;
use crate::job::QueueName;

/// Bytes of a principal's name at most: it is the owner of its jobs.
pub const NAME_LIMIT: usize = 255;

/// Roles, and where they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    roles: Vec<Role>,
    queues: Vec<QueuePattern>,
    own_jobs: bool,
}

/// Why a grant makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGrant {
    /// Nothing is granted.
    #[error("names no role")]
    NoRole,
    /// It holds nowhere.
    #[error("names no queue; write \"*\" for all")]
    NoQueue,
    /// A limit that can't be kept.
    #[error("can't limit the role {0} to own jobs")]
    NotOwn(Role),
}

impl Grant {
    /// Checks and takes roles for queues. With `own_jobs` they end at the jobs of the principal's
    /// own, which only roles can that name each job: workers lease whatever their queues hold.
    pub fn new(
        roles: Vec<Role>,
        queues: Vec<QueuePattern>,
        own_jobs: bool,
    ) -> Result<Self, BadGrant> {
        if roles.is_empty() {
            return Err(BadGrant::NoRole);
        }
        if queues.is_empty() {
            return Err(BadGrant::NoQueue);
        }
        let limited = |role: &&Role| matches!(role, Role::Worker | Role::Admin | Role::ActAs);
        match roles.iter().find(limited) {
            Some(role) if own_jobs => Err(BadGrant::NotOwn(*role)),
            _ => Ok(Self { roles, queues, own_jobs }),
        }
    }

    fn has(&self, needed: Role) -> bool {
        self.roles.iter().any(|role| role.includes(needed))
    }

    /// How far `call` goes in the queues of this grant.
    fn reach(&self, call: Call) -> Reach {
        let rule = call.rule();
        if self.has(rule.any) {
            return if self.own_jobs { Reach::Own } else { Reach::Any };
        }
        if rule.own.is_some_and(|role| self.has(role)) {
            return if self.has(Role::ActAs) { Reach::Any } else { Reach::Own };
        }
        Reach::Nothing
    }
}

/// How far a call of a principal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// It may not be made.
    Nothing,
    /// To jobs whose owner the principal is.
    Own,
    /// To all jobs, and to the queue itself.
    Any,
}

/// Who calls, and what that one may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    name: Arc<str>,
    grants: Vec<Grant>,
    limits: Limits,
}

impl Principal {
    /// A principal of this name, with these grants.
    pub fn new(name: &str, grants: Vec<Grant>) -> Self {
        Self { name: name.into(), grants, limits: Limits::default() }
    }

    /// The same with limits of its own.
    #[must_use]
    pub fn limited(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// How much it may call, where that differs from what all may.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Its name: the owner of the jobs that it enqueues, and the actor of what it does.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name, shared.
    pub(super) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// True when it may make the call somewhere.
    pub fn may(&self, call: Call) -> bool {
        self.grants.iter().any(|grant| grant.reach(call) > Reach::Nothing)
    }

    /// How far its call goes in a queue.
    pub fn reach(&self, call: Call, queue: &QueueName) -> Reach {
        let here = |grant: &&Grant| grant.queues.iter().any(|pattern| pattern.matches(queue));
        let reaches = self.grants.iter().filter(here).map(|grant| grant.reach(call));
        reaches.max().unwrap_or(Reach::Nothing)
    }

    /// How far its call goes in all queues that `asked` means, one grant covering all of them.
    pub fn reach_of(&self, call: Call, asked: &QueuePattern) -> Reach {
        let here = |grant: &&Grant| grant.queues.iter().any(|pattern| pattern.covers(asked));
        let reaches = self.grants.iter().filter(here).map(|grant| grant.reach(call));
        reaches.max().unwrap_or(Reach::Nothing)
    }

    /// The queues in which its call goes to all jobs.
    pub fn queues(&self, call: Call) -> Vec<QueuePattern> {
        let whole = self.grants.iter().filter(|grant| grant.reach(call) == Reach::Any);
        let mut queues: Vec<QueuePattern> = Vec::new();
        for pattern in whole.flat_map(|grant| &grant.queues) {
            if !queues.contains(pattern) {
                queues.push(pattern.clone());
            }
        }
        queues
    }

    /// True when it may enqueue in the name of others here.
    pub fn acts_for_others(&self, queue: &QueueName) -> bool {
        let here = |grant: &&Grant| grant.queues.iter().any(|pattern| pattern.matches(queue));
        self.grants.iter().filter(here).any(|grant| grant.has(Role::ActAs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str) -> QueueName {
        QueueName::parse(name).unwrap()
    }

    fn pattern(text: &str) -> QueuePattern {
        QueuePattern::parse(text).unwrap()
    }

    fn grant(roles: &[Role], queues: &[&str], own_jobs: bool) -> Grant {
        let queues = queues.iter().map(|text| pattern(text)).collect();
        Grant::new(roles.to_vec(), queues, own_jobs).unwrap()
    }

    #[test]
    fn a_grant_holds_in_its_queues_only() {
        let one = Principal::new("one", vec![grant(&[Role::Worker], &["mail-*", "sms"], false)]);
        for (name, reach) in [
            ("mail-in", Reach::Any),
            ("sms", Reach::Any),
            ("sms-2", Reach::Nothing),
            ("mail", Reach::Nothing),
        ] {
            assert_eq!(one.reach(Call::Lease, &queue(name)), reach, "{name}");
            assert_eq!(one.reach_of(Call::Lease, &pattern(name)), reach, "{name}");
        }
        assert_eq!(one.reach(Call::Enqueue, &queue("sms")), Reach::Nothing);
        assert!(one.may(Call::Lease) && !one.may(Call::Enqueue));
    }

    #[test]
    fn a_pattern_that_means_more_than_is_granted_is_not_covered() {
        let one = Principal::new("one", vec![grant(&[Role::Worker], &["mail-*", "sms"], false)]);
        for (text, reach) in [
            ("mail-*", Reach::Any),
            ("mail-in*", Reach::Any),
            ("mail*", Reach::Nothing),
            ("sms*", Reach::Nothing),
            ("*", Reach::Nothing),
        ] {
            assert_eq!(one.reach_of(Call::Lease, &pattern(text)), reach, "{text}");
        }
        let all = Principal::new("all", vec![grant(&[Role::Worker], &["*"], false)]);
        assert_eq!(all.reach_of(Call::Lease, &pattern("*")), Reach::Any);
    }

    #[test]
    fn a_producer_reaches_its_own_jobs_and_a_viewer_all() {
        let mail = queue("mail");
        let producer = Principal::new("p", vec![grant(&[Role::Producer], &["*"], false)]);
        let viewer = Principal::new("v", vec![grant(&[Role::Viewer], &["*"], false)]);
        let operator = Principal::new("o", vec![grant(&[Role::Operator], &["*"], false)]);
        for (call, by_producer, by_viewer, by_operator) in [
            (Call::Enqueue, Reach::Any, Reach::Nothing, Reach::Nothing),
            (Call::GetJob, Reach::Own, Reach::Any, Reach::Any),
            (Call::WaitJob, Reach::Own, Reach::Any, Reach::Any),
            (Call::WatchEvents, Reach::Own, Reach::Any, Reach::Any),
            (Call::CancelJob, Reach::Own, Reach::Nothing, Reach::Any),
            (Call::ListJobs, Reach::Nothing, Reach::Any, Reach::Any),
            (Call::RetryJob, Reach::Nothing, Reach::Nothing, Reach::Any),
            (Call::UpdateQueue, Reach::Nothing, Reach::Nothing, Reach::Nothing),
        ] {
            assert_eq!(producer.reach(call, &mail), by_producer, "{call:?}");
            assert_eq!(viewer.reach(call, &mail), by_viewer, "{call:?}");
            assert_eq!(operator.reach(call, &mail), by_operator, "{call:?}");
        }
    }

    #[test]
    fn own_jobs_limits_what_would_go_further() {
        let limited = Principal::new("v", vec![grant(&[Role::Operator], &["*"], true)]);
        for call in [Call::GetJob, Call::ListJobs, Call::RetryJob, Call::GetQueueStats] {
            assert_eq!(limited.reach(call, &queue("mail")), Reach::Own, "{call:?}");
        }
        assert_eq!(limited.queues(Call::ListQueues), []);
    }

    #[test]
    fn the_widest_grant_counts() {
        let grants =
            vec![grant(&[Role::Producer], &["mail"], false), grant(&[Role::Viewer], &["*"], false)];
        let both = Principal::new("both", grants);
        assert_eq!(both.reach(Call::GetJob, &queue("mail")), Reach::Any);
        assert_eq!(both.reach(Call::CancelJob, &queue("mail")), Reach::Own);
        assert_eq!(both.reach(Call::CancelJob, &queue("sms")), Reach::Nothing);
        assert_eq!(both.queues(Call::ListQueues), [pattern("*")]);
    }

    #[test]
    fn who_acts_for_others_owns_all() {
        let roles = [Role::Producer, Role::ActAs];
        let backend = Principal::new("backend", vec![grant(&roles, &["mail"], false)]);
        assert!(backend.acts_for_others(&queue("mail")));
        assert!(!backend.acts_for_others(&queue("sms")));
        assert_eq!(backend.reach(Call::CancelJob, &queue("mail")), Reach::Any);
        let producer = Principal::new("p", vec![grant(&[Role::Producer], &["mail"], false)]);
        assert!(!producer.acts_for_others(&queue("mail")));
    }

    #[test]
    fn a_grant_that_makes_no_sense_is_refused() {
        let all = || vec![pattern("*")];
        assert_eq!(Grant::new(vec![], all(), false), Err(BadGrant::NoRole));
        assert_eq!(Grant::new(vec![Role::Viewer], vec![], false), Err(BadGrant::NoQueue));
        for role in [Role::Worker, Role::Admin, Role::ActAs] {
            let limited = Grant::new(vec![Role::Producer, role], all(), true);
            assert_eq!(limited, Err(BadGrant::NotOwn(role)));
        }
        for role in [Role::Producer, Role::Viewer, Role::Operator] {
            assert!(Grant::new(vec![role], all(), true).is_ok());
        }
    }
}
