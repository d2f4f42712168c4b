//! Which jobs of a queue are meant, and which index finds them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::{Job, State};
use crate::store::{Index, Order};

/// What all jobs meant have in common; what is empty is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// They are in this state.
    pub state: Option<State>,
    /// They are of this type.
    pub job_type: Option<String>,
    /// They have these labels.
    pub labels: BTreeMap<String, String>,
    /// They are of this owner.
    pub owner: Option<String>,
    /// They were enqueued then.
    pub created: Times,
    /// They ended then.
    pub ended: Times,
    /// Their last attempt that failed did so with this code.
    pub failure_code: Option<String>,
}

/// A span on the timeline; open where it has no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The first moment of it.
    pub from: Option<Timestamp>,
    /// The first moment after it.
    pub until: Option<Timestamp>,
}

impl Times {
    /// Leaves of it what is not before `moment`.
    pub fn not_before(&mut self, moment: Timestamp) {
        self.from = self.from.max(Some(moment));
    }

    /// Leaves of it what is before `moment`.
    pub fn before(&mut self, moment: Timestamp) {
        self.until = Some(self.until.map_or(moment, |until| until.min(moment)));
    }

    /// The millisecond after `moment`.
    pub fn after(moment: Timestamp) -> Timestamp {
        moment.after(Duration::from_millis(1))
    }

    fn is_open(self) -> bool {
        self == Self::default()
    }

    fn has(self, moment: Timestamp) -> bool {
        self.from.is_none_or(|from| moment >= from) && self.until.is_none_or(|until| moment < until)
    }

    /// True when a walk in this order that met `moment` meets no moment of the span any more.
    fn is_passed(self, moment: Timestamp, order: Order) -> bool {
        match order {
            Order::Forward => self.until.is_some_and(|until| moment >= until),
            Order::Backward => self.from.is_some_and(|from| moment < from),
        }
    }
}

/// One index to walk, and which way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The index.
    pub index: Index,
    /// Which way.
    pub order: Order,
}

/// The order in which the states follow one another where none is asked for: what runs, what will
/// run, what went wrong, what is done.
const STATES: [State; 9] = [
    State::Leased,
    State::Ready,
    State::Retrying,
    State::Scheduled,
    State::Blocked,
    State::Dead,
    State::Succeeded,
    State::Cancelled,
    State::Expired,
];

/// The fields that an index is sorted by; the first one is its own.
fn sorted_by(index: &Index) -> &'static [&'static str] {
    match index {
        Index::State(State::Ready) => &[],
        Index::State(State::Scheduled | State::Retrying) => &["schedule_time"],
        Index::State(State::Leased) => &["lease_expire_time"],
        Index::State(State::Blocked) | Index::Label(..) | Index::Owner(_) => &["create_time"],
        Index::State(_) => &["end_time", "purge_time"],
    }
}

/// Which way an index is walked when nobody says: what comes next first, what is over last.
fn usual_order(index: &Index) -> Order {
    match index {
        Index::State(state) if !state.is_terminal() => Order::Forward,
        _ => Order::Backward,
    }
}

/// Why a list can't be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// No index finds what the filter asks for.
    Filter(String),
    /// The index that finds it has another order.
    Order(String),
}

impl JobFilter {
    /// True when it means every job.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// True when the job is meant.
    pub fn matches(&self, job: &Job) -> bool {
        let spec = &job.spec;
        let failure = job.details.last_failure.as_ref().map(|failure| failure.code.as_str());
        self.state.is_none_or(|state| job.state == state)
            && self.job_type.as_ref().is_none_or(|it| spec.job_type == *it)
            && self.labels.iter().all(|(key, value)| spec.labels.get(key) == Some(value))
            && self.owner.as_ref().is_none_or(|it| spec.owner == *it)
            && self.created.has(spec.created)
            && (self.ended.is_open() || job.ended.is_some_and(|ended| self.ended.has(ended)))
            && self.failure_code.as_ref().is_none_or(|it| failure == Some(it))
    }

    /// True when the walk over `leg` meets only jobs that are meant.
    pub fn is_exact(&self, leg: &Leg) -> bool {
        let mut rest = self.clone();
        match &leg.index {
            Index::State(_) => rest.state = None,
            Index::Label(key, _) => drop(rest.labels.remove(key)),
            Index::Owner(_) => rest.owner = None,
        }
        rest.is_empty()
    }

    /// True when the walk over `leg` meets no job any more that is meant, once it has met `job`.
    pub fn is_passed(&self, job: &Job, leg: &Leg) -> bool {
        sorted_by(&leg.index).contains(&"create_time")
            && self.created.is_passed(job.spec.created, leg.order)
    }

    /// The indexes that find the jobs, in the order that is asked for: a field, and whether it
    /// descends.
    pub fn walk(&self, order_by: Option<(&str, bool)>) -> Result<Vec<Leg>, Unserved> {
        if self.is_empty() {
            if order_by.is_some() {
                let why = "can't be set without a filter: the states follow one another then";
                return Err(Unserved::Order(why.to_owned()));
            }
            let leg = |state| {
                let index = Index::State(state);
                Leg { order: usual_order(&index), index }
            };
            return Ok(STATES.map(leg).to_vec());
        }
        let label = self.labels.iter().next();
        let label = label.map(|(key, value)| Index::Label(key.clone(), value.clone()));
        let owner = self.owner.clone().map(Index::Owner);
        let state = self.state.map(Index::State);
        let found: Vec<Index> = [label, owner, state].into_iter().flatten().collect();
        let Some(first) = found.first() else {
            let why = "needs a term that an index can serve: state, owner or labels.KEY with =; \
                       type, create_time, end_time and last_failure.code only narrow those";
            return Err(Unserved::Filter(why.to_owned()));
        };
        let Some((field, descends)) = order_by else {
            return Ok(vec![Leg { order: usual_order(first), index: first.clone() }]);
        };
        let order = if descends { Order::Backward } else { Order::Forward };
        if let Some(index) = found.iter().find(|index| sorted_by(index).contains(&field)) {
            return Ok(vec![Leg { index: index.clone(), order }]);
        }
        let fields: Vec<&str> = found.iter().flat_map(|index| sorted_by(index)).copied().collect();
        Err(Unserved::Order(if fields.is_empty() {
            "can't be set for READY jobs: they come in the order in which they will run".to_owned()
        } else {
            format!("is {field:?}; this filter can be sorted by {}", fields.join(", "))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Failure, JobName, Spec};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn job() -> Job {
        let spec = Spec {
            job_type: "welcome".to_owned(),
            labels: [("team".to_owned(), "a".to_owned())].into(),
            owner: "me".to_owned(),
            created: at(1000),
            ..Spec::default()
        };
        let mut job = Job::enqueued(JobName::parse("queues/mail/jobs/j").unwrap(), spec);
        job.state = State::Dead;
        job.ended = Some(at(2000));
        job.details_mut().last_failure = Some(Failure::found("HTTP_503", String::new()));
        job
    }

    fn times(from: u64, until: u64) -> Times {
        Times { from: Some(at(from)), until: Some(at(until)) }
    }

    #[test]
    fn every_term_must_hold() {
        let text = |text: &str| Some(text.to_owned());
        let good = JobFilter {
            state: Some(State::Dead),
            job_type: text("welcome"),
            labels: job().spec.labels.clone(),
            owner: text("me"),
            created: times(1000, 1001),
            ended: times(2000, 2001),
            failure_code: text("HTTP_503"),
        };
        assert!(good.matches(&job()));
        let changes: [fn(&mut JobFilter); 9] = [
            |it| it.state = Some(State::Ready),
            |it| it.job_type = Some(String::new()),
            |it| drop(it.labels.insert("team".to_owned(), "b".to_owned())),
            |it| drop(it.labels.insert("other".to_owned(), String::new())),
            |it| it.owner = Some("you".to_owned()),
            |it| it.created = times(1001, 2000),
            |it| it.created = times(0, 1000),
            |it| it.ended = times(0, 2000),
            |it| it.failure_code = Some("HTTP_500".to_owned()),
        ];
        for change in changes {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(!bad.matches(&job()), "{bad:?}");
        }
        let unfinished = Job { ended: None, ..job() };
        assert!(!JobFilter { ended: times(0, 9000), ..JobFilter::default() }.matches(&unfinished));
    }

    #[test]
    fn the_walk_is_over_the_index_that_has_the_order() {
        let both = JobFilter {
            state: Some(State::Dead),
            labels: job().spec.labels.clone(),
            ..JobFilter::default()
        };
        let label = Index::Label("team".to_owned(), "a".to_owned());
        let leg = |index: &Index, order| Ok(vec![Leg { index: index.clone(), order }]);
        assert_eq!(both.walk(None), leg(&label, Order::Backward));
        assert_eq!(both.walk(Some(("create_time", false))), leg(&label, Order::Forward));
        let dead = Index::State(State::Dead);
        assert_eq!(both.walk(Some(("end_time", true))), leg(&dead, Order::Backward));
        assert!(!both.is_exact(&both.walk(None).unwrap()[0]));
        let Err(Unserved::Order(why)) = both.walk(Some(("priority", false))) else { panic!() };
        assert!(why.contains("create_time, end_time, purge_time"), "{why}");
        let ready = JobFilter { state: Some(State::Ready), ..JobFilter::default() };
        assert!(matches!(ready.walk(Some(("create_time", true))), Err(Unserved::Order(_))));
        assert!(ready.is_exact(&ready.walk(None).unwrap()[0]));
    }

    #[test]
    fn what_no_index_finds_is_refused_with_what_can_be_found() {
        let only = JobFilter { job_type: Some("a".to_owned()), ..JobFilter::default() };
        let Err(Unserved::Filter(why)) = only.walk(None) else { panic!() };
        assert!(why.contains("state, owner or labels.KEY"), "{why}");
    }

    #[test]
    fn without_a_filter_every_state_is_walked_once() {
        let mut states: Vec<State> = JobFilter::default()
            .walk(None)
            .unwrap()
            .into_iter()
            .map(|leg| match leg.index {
                Index::State(state) => state,
                other => panic!("{other:?}"),
            })
            .collect();
        states.sort_unstable();
        assert_eq!(states, State::ALL);
    }

    #[test]
    fn a_walk_by_create_time_ends_where_its_times_end() {
        let filter = JobFilter {
            owner: Some("me".to_owned()),
            created: times(500, 1000),
            ..JobFilter::default()
        };
        let leg = |order| Leg { index: Index::Owner("me".to_owned()), order };
        assert!(filter.is_passed(&job(), &leg(Order::Forward)));
        assert!(!filter.is_passed(&job(), &leg(Order::Backward)));
        let state = Leg { index: Index::State(State::Dead), order: Order::Forward };
        assert!(!filter.is_passed(&job(), &state));
    }
}
