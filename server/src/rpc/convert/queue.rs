//! Queues: what operators ask of them and what is told about them.

use std::time::Duration;

use lessor_proto::v1;

use super::enqueue::{attempt_timeout, lease_duration};
use super::field::Violations;
use super::filter::{self, Term};
use super::list::{direction, page_size};
use super::mask::{self, Mask};
use super::operate::asked;
use super::policy::{number, proto_retention, proto_retry, retention, retry};
use super::push::{proto_push, push};
use super::time::{FARTHEST, proto_span, span, span_opt};
use crate::broker::operate::Asked;
use crate::broker::queues::{Names, Queue, QueueQuery};
use crate::job::id::ParseError;
use crate::job::queue::{DEFAULT_MAX_JOBS, Health, RateLimit};
use crate::job::{
    DEFAULT_ATTEMPT_TIMEOUT, DEFAULT_LEASE_DURATION, MAX_LEASE_LOSSES, QueueName, QueueSettings,
};
use crate::push::Allowed;

/// What an update may name.
const UPDATABLE: [&str; 11] = [
    "retry_policy",
    "lease_duration",
    "attempt_timeout",
    "retention",
    "max_leased",
    "rate_limit",
    "max_jobs",
    "max_bytes",
    "max_lease_losses",
    "health",
    "push",
];

/// What a filter of queues may name.
const FILTERED: &str = "name, paused";

const MOST_PERMITS: u32 = 1_000_000;
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);
const LONGEST_PERIOD: Duration = Duration::from_hours(31 * 24);
const MOST_LOSSES: u32 = 1000;

/// A change of a queue's settings.
pub(in crate::rpc) struct Update {
    /// The queue.
    pub(in crate::rpc) name: QueueName,
    /// Its new settings, as far as the mask names them.
    settings: QueueSettings,
    mask: Mask,
    /// What comes with the change.
    pub(in crate::rpc) asked: Asked,
}

impl Update {
    /// Changes what is to be changed.
    pub(in crate::rpc) fn apply(&self, settings: &mut QueueSettings) {
        let new = &self.settings;
        for field in self.mask.fields() {
            match field {
                "retry_policy" => settings.retry.clone_from(&new.retry),
                "lease_duration" => settings.lease_duration = new.lease_duration,
                "attempt_timeout" => settings.attempt_timeout = new.attempt_timeout,
                "retention" => settings.retention = new.retention,
                "max_leased" => settings.max_leased = new.max_leased,
                "rate_limit" => settings.rate_limit = new.rate_limit,
                "max_jobs" => settings.max_jobs = new.max_jobs,
                "max_bytes" => settings.max_bytes = new.max_bytes,
                "max_lease_losses" => settings.max_lease_losses = new.max_lease_losses,
                "health" => settings.health = new.health,
                "push" => {
                    let push = new.push.clone().map(|push| push.over(settings.push.as_ref()));
                    settings.push = push;
                }
                // The mask was read with the names above.
                _ => {}
            }
        }
    }
}

/// Reads which queue a call is for.
pub(in crate::rpc) fn queue_name(name: &str) -> Result<QueueName, Violations> {
    let mut wrong = Violations::default();
    let queue = wrong.at("name", parse(name));
    wrong.finish(queue)
}

/// Reads the name of a queue, alone or as `queues/{queue}`.
pub(super) fn parse(name: &str) -> Result<QueueName, ParseError> {
    QueueName::parse(name.strip_prefix("queues/").unwrap_or(name))
}

/// Reads which queue is meant, and what comes with the change.
pub(in crate::rpc) fn action(
    proto: v1::QueueActionRequest,
) -> Result<(QueueName, Asked), Violations> {
    let mut wrong = Violations::default();
    let name = wrong.at("name", parse(&proto.name));
    let asked = asked(proto.etag, proto.reason, &mut wrong);
    wrong.finish(name.map(|name| (name, asked)))
}

/// Reads which queue to delete, and whether with its jobs.
pub(in crate::rpc) fn delete(
    proto: v1::DeleteQueueRequest,
) -> Result<(QueueName, bool, Asked), Violations> {
    let v1::DeleteQueueRequest { name, force, etag, reason } = proto;
    let (name, asked) = action(v1::QueueActionRequest { name, etag, reason })?;
    Ok((name, force, asked))
}

/// Reads what to change of which queue.
pub(in crate::rpc) fn update(
    proto: v1::UpdateQueueRequest,
    allowed: &Allowed,
) -> Result<Update, Violations> {
    let mut wrong = Violations::default();
    let Some(mut queue) = proto.queue else {
        wrong.add("queue", "must be set");
        return Err(wrong);
    };
    // A queue may be made without any settings of its own.
    let mask = match proto.update_mask {
        None => Some(Mask::default()),
        some => wrong.at("update_mask", mask::read(some, &UPDATABLE)),
    };
    let etag = std::mem::take(&mut queue.etag);
    let asked = asked(etag, proto.reason, &mut wrong);
    let read = wrong.at("queue", settings(queue, allowed));
    let read = mask.zip(read);
    wrong.finish(read.map(|(mask, (name, settings))| Update { name, settings, mask, asked }))
}

fn settings(proto: v1::Queue, allowed: &Allowed) -> Result<(QueueName, QueueSettings), Violations> {
    let mut wrong = Violations::default();
    let name = wrong.at("name", parse(&proto.name));
    let retry = wrong.at("retry_policy", proto.retry_policy.map(retry).transpose());
    let lease = wrong.at("lease_duration", lease_duration(proto.lease_duration.as_ref()));
    let attempt = wrong.at("attempt_timeout", attempt_timeout(proto.attempt_timeout.as_ref()));
    let retention = wrong.at("retention", proto.retention.as_ref().map(retention).transpose());
    let max_leased =
        wrong.at("max_leased", limit(proto.max_leased.into(), i32::MAX.unsigned_abs()));
    let rate_limit = wrong.at("rate_limit", proto.rate_limit.as_ref().map(rate).transpose());
    let max_jobs = wrong.at("max_jobs", limit(proto.max_jobs, i64::MAX.unsigned_abs()));
    let max_bytes = wrong.at("max_bytes", limit(proto.max_bytes, i64::MAX.unsigned_abs()));
    let losses = wrong.at("max_lease_losses", limit(proto.max_lease_losses.into(), MOST_LOSSES));
    let health = proto.health.as_ref().map_or(Ok(Health::default()), health);
    let health = wrong.at("health", health);
    let endpoint = proto.push.map(|endpoint| push(endpoint, allowed)).transpose();
    let endpoint = wrong.at("push", endpoint);
    let read = || {
        let settings = QueueSettings {
            retry: retry?,
            lease_duration: lease?,
            attempt_timeout: attempt?,
            retention: retention?,
            max_leased: max_leased?,
            rate_limit: rate_limit?,
            max_jobs: max_jobs?,
            max_bytes: max_bytes?,
            max_lease_losses: losses?,
            health: health?,
            push: endpoint?,
            ..QueueSettings::default()
        };
        Some((name?, settings))
    };
    let read = read();
    wrong.finish(read)
}

/// Reads a limit of at most `most`; 0 stands for none, or the usual one.
fn limit<T: Copy + Into<u64> + TryFrom<u64>>(count: i64, most: T) -> Result<Option<T>, Violations> {
    match u64::try_from(count) {
        Ok(0) => Ok(None),
        Ok(count) if count <= most.into() => Ok(T::try_from(count).ok()),
        Ok(_) => Err(format!("must be at most {}", most.into()).into()),
        Err(_) => Err("must not be negative".into()),
    }
}

fn rate(proto: &v1::RateLimit) -> Result<RateLimit, Violations> {
    let mut wrong = Violations::default();
    let permits = wrong.at("permits", permits(proto.permits));
    let period = proto.period.as_ref().ok_or_else(|| Violations::from("must be set"));
    let period = period.and_then(|period| span(period, SHORTEST_PERIOD, LONGEST_PERIOD));
    let period = wrong.at("period", period);
    // Evenly spread, unless a burst is asked for.
    let burst = wrong.at("burst", permits_or(proto.burst, 1));
    let read = || Some(RateLimit { permits: permits?, period: period?, burst: burst? });
    let read = read();
    wrong.finish(read)
}

fn permits_or(count: i32, usual: u32) -> Result<u32, Violations> {
    if count == 0 { Ok(usual) } else { permits(count) }
}

fn permits(count: i32) -> Result<u32, Violations> {
    match u32::try_from(count) {
        Ok(count) if (1..=MOST_PERMITS).contains(&count) => Ok(count),
        _ => Err(format!("must be from 1 to {MOST_PERMITS}").into()),
    }
}

/// Reads thresholds; 0 stands for none.
fn health(proto: &v1::HealthThresholds) -> Result<Health, Violations> {
    let mut wrong = Violations::default();
    let max_ready = wrong.at("max_ready", limit(proto.max_ready, i64::MAX.unsigned_abs()));
    let ratio = proto.max_dead_ratio;
    if !(0.0..=1.0).contains(&ratio) {
        wrong.add("max_dead_ratio", "must be from 0 to 1");
    }
    let age = span_opt(proto.max_oldest_ready_age.as_ref(), Duration::from_millis(1), FARTHEST);
    let age = wrong.at("max_oldest_ready_age", age);
    let read = || {
        Some(Health {
            max_ready: max_ready?.unwrap_or(u64::MAX),
            max_dead_ratio: if ratio == 0.0 { 1.0 } else { ratio },
            max_oldest_ready_age: age?,
        })
    };
    let read = read();
    wrong.finish(read)
}

/// Reads which queues are wanted.
pub(in crate::rpc) fn query(proto: v1::ListQueuesRequest) -> Result<QueueQuery, Violations> {
    let mut wrong = Violations::default();
    let size = wrong.at("page_size", page_size(proto.page_size));
    let mut query = QueueQuery { page_token: proto.page_token, ..QueueQuery::default() };
    let terms = filter::terms(&proto.filter, FILTERED);
    let filtered =
        terms.and_then(|terms| terms.iter().try_for_each(|term| narrow(&mut query, term)));
    wrong.at("filter", filtered);
    let backward = wrong.at("order_by", direction(&proto.order_by, &["name"]));
    let read = size.zip(backward);
    wrong.finish(read.map(|(size, (_, descends))| QueueQuery {
        size,
        backward: descends.unwrap_or(false),
        ..query
    }))
}

fn narrow(query: &mut QueueQuery, term: &Term) -> Result<(), Violations> {
    let value = term.equal();
    match term.name().as_str() {
        "name" if query.names == Names::All => {
            let value = value?;
            query.names = match value.strip_suffix('*') {
                Some(prefix) => Names::Prefix(prefix.to_owned()),
                None => Names::Exactly(value.to_owned()),
            };
        }
        "paused" if query.paused.is_none() => {
            let paused =
                value?.parse().map_err(|_| "compares paused with neither true nor false")?;
            query.paused = Some(paused);
        }
        name @ ("name" | "paused") => return Err(format!("names {name} twice").into()),
        _ => return Err(filter::unknown(term, FILTERED)),
    }
    Ok(())
}

/// Writes one page of queues.
pub(in crate::rpc) fn queues_response(
    (queues, next_page_token): (Vec<Queue>, String),
) -> v1::ListQueuesResponse {
    let queues = queues.iter().map(proto_queue).collect();
    v1::ListQueuesResponse { queues, next_page_token }
}

/// Writes a queue with the settings that apply.
pub(in crate::rpc) fn proto_queue(queue: &Queue) -> v1::Queue {
    let settings = &queue.settings;
    let retry = settings.retry.clone().unwrap_or_default();
    let lease = settings.lease_duration.unwrap_or(DEFAULT_LEASE_DURATION);
    let attempt = settings.attempt_timeout.unwrap_or(DEFAULT_ATTEMPT_TIMEOUT);
    v1::Queue {
        name: queue.name.to_string(),
        paused: settings.paused,
        etag: settings.etag(),
        retry_policy: Some(proto_retry(&retry)),
        lease_duration: Some(proto_span(lease)),
        attempt_timeout: Some(proto_span(attempt)),
        retention: Some(proto_retention(&settings.retention.unwrap_or_default())),
        max_leased: number(settings.max_leased.unwrap_or(0)),
        rate_limit: settings.rate_limit.map(|rate| v1::RateLimit {
            permits: number(rate.permits),
            period: Some(proto_span(rate.period)),
            burst: number(rate.burst),
        }),
        max_jobs: large(settings.max_jobs.unwrap_or(DEFAULT_MAX_JOBS)),
        max_bytes: large(settings.max_bytes.unwrap_or(0)),
        max_lease_losses: number(settings.max_lease_losses.unwrap_or(MAX_LEASE_LOSSES)),
        health: Some(proto_health(settings.health)),
        push: settings.push.as_ref().map(proto_push),
    }
}

fn proto_health(health: Health) -> v1::HealthThresholds {
    let Health { max_ready, max_dead_ratio, max_oldest_ready_age } = health;
    v1::HealthThresholds {
        max_ready: if max_ready == u64::MAX { 0 } else { large(max_ready) },
        max_dead_ratio: if max_dead_ratio < 1.0 { max_dead_ratio } else { 0.0 },
        max_oldest_ready_age: max_oldest_ready_age.map(proto_span),
    }
}

/// Writes a number that the protocol has with a sign.
pub(in crate::rpc) fn large(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use prost_types::Duration as ProtoDuration;

    use super::*;

    fn queue(change: impl FnOnce(&mut v1::Queue)) -> v1::Queue {
        let mut queue = v1::Queue { name: "mail".to_owned(), ..v1::Queue::default() };
        change(&mut queue);
        queue
    }

    fn rate(permits: i32, seconds: i64, burst: i32) -> v1::RateLimit {
        let period = Some(ProtoDuration { seconds, nanos: 0 });
        v1::RateLimit { permits, period, burst }
    }

    fn health(change: impl FnOnce(&mut v1::HealthThresholds)) -> v1::Queue {
        let mut health = v1::HealthThresholds::default();
        change(&mut health);
        queue(|it| it.health = Some(health))
    }

    #[test]
    fn a_limit_that_makes_no_sense_is_named() {
        let table = [
            (queue(|it| it.max_leased = -1), "max_leased"),
            (queue(|it| it.max_jobs = -1), "max_jobs"),
            (queue(|it| it.max_bytes = i64::MIN), "max_bytes"),
            (queue(|it| it.max_lease_losses = 1001), "max_lease_losses"),
            (queue(|it| it.lease_duration = Some(ProtoDuration::default())), "lease_duration"),
            (queue(|it| it.attempt_timeout = Some(ProtoDuration::default())), "attempt_timeout"),
            (queue(|it| it.rate_limit = Some(rate(0, 1, 0))), "rate_limit.permits"),
            (queue(|it| it.rate_limit = Some(rate(-1, 1, 0))), "rate_limit.permits"),
            (queue(|it| it.rate_limit = Some(rate(1, 0, 0))), "rate_limit.period"),
            (queue(|it| it.rate_limit = Some(rate(1, 1, -1))), "rate_limit.burst"),
            (
                queue(|it| it.rate_limit = Some(v1::RateLimit { period: None, ..rate(1, 1, 1) })),
                "rate_limit.period",
            ),
            (health(|it| it.max_ready = -1), "health.max_ready"),
            (health(|it| it.max_dead_ratio = 1.5), "health.max_dead_ratio"),
            (health(|it| it.max_dead_ratio = f64::NAN), "health.max_dead_ratio"),
            (queue(|it| it.name = "?".to_owned()), "name"),
        ];
        for (queue, field) in table {
            let wrong = settings(queue, &Allowed::default()).unwrap_err();
            let told: Vec<&str> = wrong.list().iter().map(|one| one.field.as_str()).collect();
            assert_eq!(told, [field]);
        }
    }

    #[test]
    fn settings_come_back_as_they_went() {
        let sent = queue(|it| {
            it.max_leased = 5;
            it.rate_limit = Some(rate(10, 60, 3));
            it.max_jobs = 7;
            it.max_bytes = 8;
            it.max_lease_losses = 9;
            it.health = Some(v1::HealthThresholds { max_ready: 3, ..Default::default() });
        });
        let (name, settings) = settings(sent.clone(), &Allowed::default()).unwrap();
        let told = proto_queue(&Queue { name, settings });
        assert_eq!(
            (told.max_leased, told.rate_limit, told.max_jobs, told.max_bytes, told.health),
            (sent.max_leased, sent.rate_limit, sent.max_jobs, sent.max_bytes, sent.health)
        );
        assert_eq!(told.max_lease_losses, sent.max_lease_losses);
    }

    #[test]
    fn only_what_the_mask_names_is_changed() {
        let sent = queue(|it| {
            it.max_leased = 5;
            it.max_jobs = 7;
        });
        let paths = vec!["max_leased".to_owned(), "rate_limit".to_owned()];
        let request = v1::UpdateQueueRequest {
            queue: Some(sent),
            update_mask: Some(prost_types::FieldMask { paths }),
            reason: String::new(),
        };
        let update = update(request, &Allowed::default());
        let mut settings = QueueSettings { revision: 2, paused: true, ..QueueSettings::default() };
        let limit = RateLimit { permits: 1, period: Duration::from_secs(1), burst: 1 };
        settings.rate_limit = Some(limit);
        update.unwrap().apply(&mut settings);
        let expected = QueueSettings { max_leased: Some(5), rate_limit: None, ..settings.clone() };
        assert_eq!(settings, expected);
        assert_eq!((settings.max_jobs, settings.paused, settings.revision), (None, true, 2));
    }

    #[test]
    fn every_field_that_may_be_named_is_changed() {
        let full = QueueSettings {
            revision: 0,
            paused: false,
            retry: Some(crate::job::RetryPolicy::default()),
            lease_duration: Some(Duration::from_secs(1)),
            attempt_timeout: Some(Duration::from_secs(2)),
            retention: Some(crate::job::Retention::default()),
            max_leased: Some(1),
            rate_limit: Some(RateLimit { permits: 1, period: Duration::from_secs(1), burst: 1 }),
            max_jobs: Some(2),
            max_bytes: Some(3),
            max_lease_losses: Some(4),
            health: Health { max_ready: 5, ..Health::default() },
            push: Some(crate::job::Push::to("https://example.com")),
        };
        let paths = UPDATABLE.iter().map(|field| (*field).to_owned()).collect();
        let mask = mask::read(Some(prost_types::FieldMask { paths }), &UPDATABLE).unwrap();
        let name = QueueName::parse("mail").unwrap();
        let update = Update { name, settings: full.clone(), mask, asked: Asked::default() };
        let mut settings = QueueSettings::default();
        update.apply(&mut settings);
        assert_eq!(settings, full);
    }

    #[test]
    fn a_filter_of_queues_knows_name_and_paused() {
        let list = |filter: &str| {
            let filter = filter.to_owned();
            query(v1::ListQueuesRequest { filter, ..v1::ListQueuesRequest::default() })
        };
        let read = list("name = \"mail-*\" AND paused = true").unwrap();
        assert_eq!((read.names, read.paused), (Names::Prefix("mail-".to_owned()), Some(true)));
        assert_eq!(list("name=mail").unwrap().names, Names::Exactly("mail".to_owned()));
        for bad in ["ready > 5", "name > a", "paused = maybe", "name=a AND name=b"] {
            assert_eq!(list(bad).unwrap_err().list()[0].field, "filter", "{bad}");
        }
    }
}
