//! Lists: what all have in common, and which jobs are wanted.

use std::collections::btree_map::Entry;

use lessor_proto::v1;
use prost::Message;

use super::field::Violations;
use super::filter::{self, Operator, Term};
use super::job::{proto_job, state_word};
use super::queue;
use crate::broker::filter::{JobFilter, Times, Unserved};
use crate::broker::lists::{JobPage, JobQuery};
use crate::job::{Job, State};

const USUAL_PAGE: usize = 50;
const LARGEST_PAGE: usize = 1000;

/// Reads how many entries a page has at most.
pub(super) fn page_size(number: i32) -> Result<usize, Violations> {
    match usize::try_from(number) {
        Ok(0) => Ok(USUAL_PAGE),
        Ok(size) => Ok(size.min(LARGEST_PAGE)),
        Err(_) => Err("must not be negative".into()),
    }
}

/// Reads a field of `known` to sort by and whether it descends; both `None` when nothing is asked.
pub(super) fn direction<'a>(
    order_by: &str,
    known: &[&'a str],
) -> Result<(Option<&'a str>, Option<bool>), Violations> {
    let mut words = order_by.split_whitespace();
    let Some(field) = words.next() else { return Ok((None, None)) };
    let descends = match (words.next(), words.next()) {
        (None, _) | (Some("asc"), None) => false,
        (Some("desc"), None) => true,
        _ => return Err("must be one field, alone or with asc or desc".into()),
    };
    let found = known.iter().find(|known| **known == field).ok_or_else(|| {
        let known = known.join(", ");
        Violations::from(format!("is {field:?}; what can be sorted by here is {known}"))
    })?;
    Ok((Some(found), Some(descends)))
}

/// What a filter of jobs may name.
const FILTERED: &str = "state, type, labels.KEY, owner, create_time, end_time, last_failure.code";

/// Reads which jobs are wanted, and how much of each; `owner` limits them to the jobs of one.
pub(in crate::rpc) fn jobs(
    proto: v1::ListJobsRequest,
    owner: Option<String>,
) -> Result<(JobQuery, v1::JobView), Violations> {
    let mut wrong = Violations::default();
    let queue = wrong.at("queue", queue::parse(&proto.queue));
    let size = wrong.at("page_size", page_size(proto.page_size));
    let view = v1::JobView::try_from(proto.view).map_err(|_| "is an unknown value");
    let view = wrong.at("view", view);
    let order = wrong.at("order_by", direction(&proto.order_by, &SORTED));
    let filter = wrong.at("filter", job_filter(&proto.filter, owner));
    let walk = filter.as_ref().zip(order).and_then(|(filter, order)| {
        let walk = filter.walk(order.0.zip(order.1));
        walk.map_err(|unserved| unserved_field(unserved, &mut wrong)).ok()
    });
    let read = || {
        let query = JobQuery {
            queue: queue?,
            filter: filter?,
            walk: walk?,
            arguments: format!("{}\n{}", proto.filter, proto.order_by),
            size: size?,
            page_token: proto.page_token,
        };
        Some((query, view?))
    };
    let read = read();
    wrong.finish(read)
}

/// The fields that some index is sorted by.
const SORTED: [&str; 5] =
    ["create_time", "schedule_time", "lease_expire_time", "end_time", "purge_time"];

/// Notes what can't be served.
pub(super) fn unserved_field(unserved: Unserved, wrong: &mut Violations) {
    match unserved {
        Unserved::Filter(why) => wrong.add("filter", why),
        Unserved::Order(why) => wrong.add("order_by", why),
    }
}

/// Reads a filter of jobs; `owner` limits it to the jobs of one.
pub(super) fn job_filter(text: &str, owner: Option<String>) -> Result<JobFilter, Violations> {
    let mut filter = JobFilter::default();
    for term in filter::terms(text, FILTERED)? {
        narrow(&mut filter, &term)?;
    }
    if let Some(owner) = owner
        && filter.owner.get_or_insert_with(|| owner.clone()) != &owner
    {
        return Err("names another owner than the caller, who may see no other jobs".into());
    }
    Ok(filter)
}

fn narrow(filter: &mut JobFilter, term: &Term) -> Result<(), Violations> {
    let parts: Vec<&str> = term.field.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["state"] => once(&mut filter.state, state(term.equal()?)?, term),
        ["type"] => once(&mut filter.job_type, term.equal()?.to_owned(), term),
        ["owner"] => once(&mut filter.owner, some_text(term)?, term),
        ["last_failure", "code"] => once(&mut filter.failure_code, some_text(term)?, term),
        ["create_time"] => bound(&mut filter.created, term),
        ["end_time"] => bound(&mut filter.ended, term),
        ["labels", key @ ..] if !key.is_empty() => match filter.labels.entry(key.join(".")) {
            Entry::Occupied(_) => Err(twice(term)),
            Entry::Vacant(entry) => {
                entry.insert(term.equal()?.to_owned());
                Ok(())
            }
        },
        _ => Err(filter::unknown(term, FILTERED)),
    }
}

/// Text that no job without it has.
fn some_text(term: &Term) -> Result<String, Violations> {
    match term.equal()? {
        "" => Err(format!("needs a value after {}", term.name()).into()),
        text => Ok(text.to_owned()),
    }
}

fn once<T>(place: &mut Option<T>, value: T, term: &Term) -> Result<(), Violations> {
    if place.replace(value).is_some() { Err(twice(term)) } else { Ok(()) }
}

fn twice(term: &Term) -> Violations {
    format!("names {} twice: a job can't have two values of it", term.name()).into()
}

fn bound(times: &mut Times, term: &Term) -> Result<(), Violations> {
    let moment = term.time()?;
    match term.operator {
        Operator::Less => times.before(moment),
        Operator::LessOrEqual => times.before(Times::after(moment)),
        Operator::Greater => times.not_before(Times::after(moment)),
        Operator::GreaterOrEqual => times.not_before(moment),
        Operator::Equal => {
            times.not_before(moment);
            times.before(Times::after(moment));
        }
    }
    Ok(())
}

/// Reads a state by its name, with or without the prefix that the protocol gives it.
fn state(word: &str) -> Result<State, Violations> {
    let upper = word.to_ascii_uppercase();
    let word = upper.strip_prefix("STATE_").unwrap_or(&upper);
    State::ALL.into_iter().find(|state| state_word(*state) == word).ok_or_else(|| {
        let known: Vec<&str> = State::ALL.into_iter().map(state_word).collect();
        format!("compares state with {word:?}, which is none of {}", known.join(", ")).into()
    })
}

/// Writes one page of jobs.
pub(in crate::rpc) fn jobs_response(page: &JobPage, view: v1::JobView) -> v1::ListJobsResponse {
    v1::ListJobsResponse {
        jobs: page.jobs.iter().map(|job| entry(job, view)).collect(),
        next_page_token: page.next_page_token.clone(),
        event_cursor: page.event_cursor.clone(),
    }
}

/// Bytes that a job takes in a page, with its tag and length.
pub(in crate::rpc) fn entry_bytes(job: &Job, view: v1::JobView) -> usize {
    entry(job, view).encoded_len() + 8
}

fn entry(job: &Job, view: v1::JobView) -> v1::Job {
    // A list shows little, unless more is asked for.
    let view = if view == v1::JobView::Full { view } else { v1::JobView::Basic };
    proto_job(job, view)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_default_and_a_cap() {
        assert_eq!((page_size(0), page_size(7), page_size(5000)), (Ok(50), Ok(7), Ok(1000)));
        assert!(page_size(-1).is_err());
    }

    #[test]
    fn a_limit_to_the_jobs_of_one_can_not_be_lifted_by_a_filter() {
        let me = || Some("me".to_owned());
        for text in ["", "state=ready", "owner=me"] {
            assert_eq!(job_filter(text, me()).unwrap().owner, me(), "{text}");
        }
        assert!(job_filter("owner=you", me()).is_err());
    }

    fn refused(change: impl FnOnce(&mut v1::ListJobsRequest)) -> String {
        let queue = "mail".to_owned();
        let mut proto = v1::ListJobsRequest { queue, ..v1::ListJobsRequest::default() };
        change(&mut proto);
        jobs(proto, None).unwrap_err().to_string()
    }

    #[test]
    fn a_filter_names_what_jobs_have() {
        let text = "state = dead AND type=welcome AND labels.a.b=c AND owner=me AND \
                    last_failure.code=HTTP_503 AND create_time >= 1970-01-01T00:00:01Z AND \
                    create_time < 1970-01-01T00:00:09Z AND end_time <= 1970-01-01T00:00:02Z";
        let filter = job_filter(text, None).unwrap();
        let at = |millis| Some(crate::clock::Timestamp::from_millis(millis));
        assert_eq!(filter.state, Some(State::Dead));
        assert_eq!(filter.labels, [("a.b".to_owned(), "c".to_owned())].into());
        assert_eq!(filter.created, Times { from: at(1000), until: at(9000) });
        assert_eq!(filter.ended, Times { from: None, until: at(2001) });
        assert_eq!(filter.owner.as_deref(), Some("me"));
        assert_eq!(filter.failure_code.as_deref(), Some("HTTP_503"));
        for exact in
            ["create_time = 1970-01-01T00:00:01Z", "create_time = 1970-01-01T02:00:01+02:00"]
        {
            assert_eq!(
                job_filter(exact, None).unwrap().created,
                Times { from: at(1000), until: at(1001) }
            );
        }
        for word in ["READY", "state_ready", "STATE_READY"] {
            assert_eq!(
                job_filter(&format!("state={word}"), None).unwrap().state,
                Some(State::Ready)
            );
        }
    }

    #[test]
    fn what_can_not_be_served_is_refused_with_what_can() {
        let table = [
            ("attempt > 3", "what can be named is state, type, labels.KEY"),
            ("labels = a", "what can be named is"),
            ("state > READY", "can compare state only with ="),
            ("state = WAITING", "none of SCHEDULED, READY, LEASED"),
            ("state=READY AND state=DEAD", "names state twice"),
            ("owner = \"\"", "needs a value after owner"),
            ("create_time > yesterday", "is not a time such as"),
            ("type = welcome", "needs a term that an index can serve: state, owner or labels.KEY"),
        ];
        for (filter, expected) in table {
            let why = refused(|it| it.filter = filter.to_owned());
            assert!(why.starts_with("filter ") && why.contains(expected), "{filter}: {why}");
        }
        let orders = [
            ("", "create_time", "without a filter"),
            ("state=READY", "create_time", "in the order in which they will run"),
            ("state=DEAD", "create_time", "can be sorted by end_time"),
            ("state=DEAD", "priority", "what can be sorted by here is"),
        ];
        for (filter, order, expected) in orders {
            let why = refused(|it| {
                it.filter = filter.to_owned();
                it.order_by = order.to_owned();
            });
            assert!(why.starts_with("order_by ") && why.contains(expected), "{filter}: {why}");
        }
        assert!(refused(|it| it.view = 99).starts_with("view "));
        assert!(refused(|it| it.queue.clear()).starts_with("queue "));
    }

    #[test]
    fn an_order_is_one_field_and_a_direction() {
        let known = ["name", "create_time"];
        assert_eq!(direction(" ", &known), Ok((None, None)));
        assert_eq!(direction("name", &known), Ok((Some("name"), Some(false))));
        assert_eq!(direction("create_time  desc", &known), Ok((Some("create_time"), Some(true))));
        for bad in ["state", "name up", "name desc desc", "name, create_time"] {
            assert!(direction(bad, &known).is_err(), "{bad}");
        }
    }
}
