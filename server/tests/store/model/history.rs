//! One random history of one queue, on a store that may fail and on the model side by side.

mod check;
mod claim;
mod hand_over;
mod operate;

use std::time::Duration;

use fastrand::Rng;

use super::SEED;
use super::memory::{Forgotten, Memory};
use crate::clock::Timestamp;
use crate::fixture::{
    Queue, at, extension, failure, given_back, id_of, next_secret, payload, request, roomy, seconds,
};
use crate::job::transition::{self, Disposition, Verb, Verdict};
use crate::job::{
    Cancel, Dedup, DedupKey, DedupScope, Event, EventKind, Job, JobId, JobIds, Keep, OnDuplicate,
    Progress, Retention, RetryPolicy, Spec, State, Transition,
};
use crate::store::faulty::{Fault, Faulty};
use crate::store::{Commit, Error, Extension, Group, Guarded, Insert, Result, Room, Store};

/// More than any queue of a history holds.
const ALL: usize = 10_000;

/// What a call came to.
enum Reply<T> {
    /// It was carried out and answered.
    Answered(T),
    /// It was carried out, and the answer is lost.
    Unheard,
    /// It was not carried out.
    Undone,
}

pub(super) struct History {
    seed: u64,
    step: u32,
    random: Rng,
    /// Looks at the store behind the faults.
    queue: Queue,
    store: Faulty,
    memory: Memory,
    now: Timestamp,
    /// Each lease there was, as it began.
    leases: Vec<Job>,
    /// Jobs as they were read at some time.
    readings: Vec<Job>,
    /// How many finished jobs are kept, of those that succeeded and of the dead.
    counts: [Option<u32>; 2],
    ids: u32,
    /// It is the only one that runs, to be looked at.
    is_told: bool,
    trail: Vec<String>,
}

/// Says how to see a failure again.
impl Drop for History {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, step, trail, .. } = self;
            eprintln!("at step {step} of {SEED}={seed}, which alone also tells what came before");
            for call in &trail[trail.len().saturating_sub(12)..] {
                eprintln!("  {call}");
            }
        }
    }
}

impl History {
    /// A history in a queue of its own beside `queue`; this share of its calls fails.
    pub(super) fn new(queue: &Queue, seed: u64, faults: f64) -> Self {
        let mut random = Rng::with_seed(seed);
        let store = Faulty::new(queue.store.clone());
        store.fail_at_random(seed, faults);
        let counts = [(); 2].map(|()| [None, Some(1), Some(4)][random.usize(..3)]);
        Self {
            seed,
            step: 0,
            random,
            queue: queue.sibling(&format!("seed-{seed}")),
            store,
            memory: Memory::default(),
            now: at(0),
            leases: Vec::new(),
            readings: Vec::new(),
            counts,
            ids: 0,
            is_told: std::env::var_os(SEED).is_some(),
            trail: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, steps: u32) {
        for step in 1..=steps {
            self.step = step;
            self.advance();
            match self.random.u32(..100) {
                0..24 => self.insert().await,
                24..40 => self.claim().await,
                40..45 => self.hand_over().await,
                45..53 => self.extend().await,
                53..70 => self.settle().await,
                70..82 => self.operate().await,
                82..88 => self.promote().await,
                88..94 => self.sweep().await,
                94..97 => self.configure().await,
                _ => self.purge().await,
            }
            self.look_around().await;
            if step % 10 == 0 {
                self.compare_lists().await;
            }
        }
        self.compare_all().await;
        self.drain().await;
    }

    fn advance(&mut self) {
        let span = match self.random.u32(..100) {
            0..40 => 0,
            40..75 => self.random.u64(..1_000),
            75..97 => self.random.u64(..30_000),
            _ => self.random.u64(..600_000),
        };
        self.now = self.now.after(Duration::from_millis(span));
        // A broker whose clock is a little behind; but what has lapsed does not come back.
        if self.one_in(20) {
            let earlier = self.now.before(Duration::from_millis(self.random.u64(..200)));
            let between = earlier..=self.now;
            let mut expiries = self.memory.jobs().filter_map(|job| job.spec.expires);
            if !expiries.any(|moment| between.contains(&moment)) {
                self.now = earlier;
            }
        }
    }

    /// The answer of a call on the faulty store, with what the fault was.
    fn reply<T>(&mut self, what: impl Fn() -> String, result: Result<T>) -> Reply<T> {
        let made = self.store.take_made();
        if self.is_told {
            self.trail.push(format!("{:?} {} {made:?}", self.now, what()));
        }
        match (result, made.as_slice()) {
            (Ok(answer), []) => Reply::Answered(answer),
            (Err(Error::Unavailable(_)), [(_, Fault::After)]) => Reply::Unheard,
            (Err(Error::Unavailable(_)), [(_, Fault::Before)]) => Reply::Undone,
            (Err(error), _) => panic!("{}: {error}", what()),
            (Ok(_), made) => panic!("{}: {made:?} did not fail", what()),
        }
    }

    async fn insert(&mut self) {
        let mut groups: Vec<Group> = (0..self.random.usize(1..3)).map(|_| self.group()).collect();
        // As a client does, until it is answered.
        loop {
            let result = self.store.insert(&self.queue.name, groups.clone(), self.now).await;
            let reply = self.reply(|| told(&groups), result);
            if !matches!(reply, Reply::Undone) {
                let wanted = self.memory.insert(&groups, self.now);
                if let Reply::Answered(outcomes) = reply {
                    assert_eq!(outcomes, wanted);
                    return;
                }
            }
            let items = groups.iter_mut().flat_map(|group| &mut group.inserts);
            for item in items.filter(|item| !item.chosen_id) {
                item.job.name.id = self.fresh_id();
            }
        }
    }

    fn group(&mut self) -> Group {
        let jobs = self.one_in(4).then(|| self.random.u64(..30));
        let room = Room { jobs, bytes: None };
        let atomic = self.random.bool();
        if self.one_in(3) {
            return Group { room, atomic, ..self.batch() };
        }
        let items = (0..self.random.usize(1..4)).map(|_| self.item()).collect();
        Group { room, atomic, ..roomy(items) }
    }

    /// Jobs that one request asks for, perhaps not for the first time.
    fn batch(&mut self) -> Group {
        let number = self.random.u32(..15);
        let mut request = request(1000 + u128::from(number), 0);
        // A store may forget what a request asked for that made nothing.
        request.digest = u64::from(self.memory.has_made(&request.id) && self.one_in(10));
        let items = (0..=number % 7).map(|index| {
            let id = JobIds::of(&request.id).at(index);
            let spec = self.spec();
            self.queue.chosen(id.as_str(), spec)
        });
        Group { request: Some(request), ..roomy(items.collect()) }
    }

    fn item(&mut self) -> Insert {
        let spec = self.spec();
        let chosen_id = self.one_in(4);
        let id = if chosen_id {
            id_of(&format!("chosen-{}", self.random.u32(..8)))
        } else {
            self.fresh_id()
        };
        let request = self.one_in(3).then(|| {
            let number = u128::from(self.random.u32(..30));
            request(number, u64::from(self.one_in(10)))
        });
        Insert { request, chosen_id, ..self.queue.item(id.as_str(), spec) }
    }

    fn spec(&mut self) -> Spec {
        let random = &mut self.random;
        let priority = [-1000, 0, 0, 0, 1, 1000][random.usize(..6)];
        let backoff = [0, 500, 20_000][random.usize(..3)];
        let mut keep = |count| Keep { span: seconds([0, 10, 60, 3600][random.usize(..4)]), count };
        let retention = Retention { succeeded: keep(self.counts[0]), dead: keep(self.counts[1]) };
        let scheduled = self.one_in(4).then(|| self.now.after(self.span(60_000)));
        let long = seconds(30 * 24 * 3600);
        let scope = match self.random.u32(..5) {
            0 => DedupScope::Window(long),
            1 => DedupScope::UntilFinished { cap: Some(long) },
            2 => DedupScope::UntilStarted { cap: None },
            _ => DedupScope::UntilFinished { cap: None },
        };
        let key = format!("key {}", self.random.u32(..4));
        let key = DedupKey::parse(&key).unwrap();
        let on_duplicate = match self.random.u32(..6) {
            0 | 1 => OnDuplicate::Replace,
            2 | 3 => OnDuplicate::RunAfter,
            4 => OnDuplicate::Reject,
            _ => OnDuplicate::Keep,
        };
        let dedup = Dedup { key, scope, on_duplicate };
        let job_type = ["", "x", "y"][self.random.usize(..3)].to_owned();
        let labels = self.one_in(2).then(|| ("label".to_owned(), "value".to_owned()));
        let expires = self.one_in(6).then(|| {
            scheduled.unwrap_or(self.now).after(self.span(60_000) + Duration::from_millis(1))
        });
        Spec {
            job_type,
            labels: labels.into_iter().collect(),
            expires,
            attempt_timeout: self.one_in(4).then(|| self.span(60_000)),
            payload: self.one_in(2).then(|| payload(&"p".repeat(self.random.usize(..300)))),
            priority,
            created: self.now,
            scheduled,
            retry: RetryPolicy {
                max_attempts: [None, Some(1), Some(3)][self.random.usize(..3)],
                initial_backoff: Duration::from_millis(backoff),
                ..RetryPolicy::default()
            },
            lease_duration: self.one_in(3).then(|| self.span(60_000)),
            dedup: self.one_in(3).then_some(dedup),
            retention,
            ..Spec::default()
        }
    }

    async fn extend(&mut self) {
        let mut extensions = Vec::new();
        for _ in 0..self.random.usize(1..4) {
            let Some(job) = self.some_lease() else { return };
            let lease = job.lease.clone().unwrap();
            let name = job.name.clone();
            let progress = self.one_in(2).then(|| Progress {
                percent: f64::from(self.random.u32(..=100)),
                ..Progress::default()
            });
            let mut event =
                Event::new(EventKind::Progress, self.now, name.queue, name.id, State::Leased);
            event.from = Some(State::Leased);
            event.progress.clone_from(&progress);
            let secret = self.one_in(10).then(next_secret);
            let cancel = self.one_in(4).then(|| Cancel {
                by: self.now.after(self.span(30_000)),
                reason: format!("step {}", self.step),
            });
            extensions.push(Extension {
                secret: secret.unwrap_or(lease.secret),
                until: (!self.one_in(4)).then(|| self.now.after(self.span(60_000))),
                event: progress.is_some().then_some(event),
                progress,
                checkpoint: self.one_in(4).then(|| payload(&format!("step {}", self.step))),
                cancel,
                ..extension(&job, self.now)
            });
        }
        let result = self.store.extend(&self.queue.name, extensions.clone(), self.now).await;
        let reply = self.reply(|| format!("{extensions:?}"), result);
        if !matches!(reply, Reply::Undone) {
            let wanted = self.memory.extend(&extensions);
            if let Reply::Answered(outcomes) = reply {
                assert_eq!(outcomes, wanted);
            }
        }
    }

    /// Settles leases, those of the present and of the past, as a broker does.
    async fn settle(&mut self) {
        let settlements: Vec<Transition> =
            (0..self.random.usize(1..5)).filter_map(|_| self.settlement()).collect();
        let mut commits = Vec::new();
        for transition in settlements {
            let then = if transition.to == State::Succeeded && self.one_in(4) {
                (0..self.random.usize(1..3)).map(|_| self.item()).collect()
            } else {
                Vec::new()
            };
            commits.push(Commit { transition: Box::new(transition), then });
        }
        let Some(outcomes) = self.commit_with(commits.clone()).await else { return };
        for (Commit { transition, .. }, outcome) in commits.iter().zip(outcomes) {
            if outcome == Guarded::Lost && transition.to == State::Succeeded {
                self.settle_late(transition).await;
            }
        }
    }

    fn settlement(&mut self) -> Option<Transition> {
        let lease = self.some_lease()?;
        let now = self.now;
        let token = lease.token().unwrap();
        if self.one_in(2) {
            let result = self.one_in(2).then(|| payload(&format!("result {}", self.step)));
            return Some(transition::ack(&token, result, lease.held_key(), now));
        }
        let delay = self.span(30_000);
        let disposition = match self.random.u32(..6) {
            0 => Disposition::Dead,
            1 => Disposition::Release,
            2 => Disposition::Snooze(delay),
            3 => Disposition::Retry(Some(delay)),
            4 => Disposition::Retry(None),
            _ => return Some(given_back(&lease, now)),
        };
        let why = self.one_in(2).then(|| failure("NO_LUCK"));
        let checkpoint = self.one_in(4).then(|| payload("checkpoint"));
        let random = self.random.f64();
        transition::nack(&lease, &token, disposition, why, checkpoint, now, random)
    }

    /// An ack found its lease gone: perhaps nobody else had the job.
    async fn settle_late(&mut self, ack: &Transition) {
        let secret = ack.attempt.as_ref().unwrap().secret;
        let lease = self
            .leases
            .iter()
            .find(|job| job.name == ack.name && job.lease.as_ref().unwrap().secret == secret);
        let token = lease.unwrap().token().unwrap();
        let job = self.memory.get(&ack.name.id);
        let verdict = transition::settle_again(job, &token, Verb::Ack, None, self.now);
        if let Verdict::Late(late) = verdict {
            self.commit(vec![*late]).await;
        }
    }

    /// Commits, and answers the outcomes if they were heard.
    async fn commit(&mut self, transitions: Vec<Transition>) -> Option<Vec<Guarded>> {
        self.commit_with(transitions.into_iter().map(Commit::from).collect()).await
    }

    async fn commit_with(&mut self, commits: Vec<Commit>) -> Option<Vec<Guarded>> {
        let result = self.store.commit(&self.queue.name, commits.clone(), self.now).await;
        let reply = self.reply(|| format!("{commits:?}"), result);
        if matches!(reply, Reply::Undone) {
            return None;
        }
        let (wanted, forgotten) = self.memory.commit(&commits, self.now);
        for forgotten in forgotten {
            self.forget(forgotten).await;
        }
        let Reply::Answered(outcomes) = reply else { return None };
        assert_eq!(outcomes, wanted);
        Some(outcomes)
    }

    async fn promote(&mut self) {
        let limit = [1, 3, ALL][self.random.usize(..3)];
        let result = self.store.promote(&self.queue.name, self.now, limit).await;
        let reply = self.reply(|| format!("promote {limit}"), result);
        if !matches!(reply, Reply::Undone) {
            let wanted = self.memory.promote(self.now, limit);
            if let Reply::Answered(count) = reply {
                assert_eq!(count, wanted);
            }
        }
    }

    async fn purge(&mut self) {
        let limit = [1, 3, ALL][self.random.usize(..3)];
        let result = self.store.purge(&self.queue.name, self.now, limit).await;
        let reply = self.reply(|| format!("purge {limit}"), result);
        if !matches!(reply, Reply::Undone) {
            let forgotten = self.memory.purge(self.now, limit);
            if let Reply::Answered(count) = reply {
                assert_eq!(count, forgotten.gone);
            }
            self.forget(forgotten).await;
        }
    }

    /// Asks the store which jobs it forgot: where the promise leaves that open, the model follows.
    async fn forget(&mut self, Forgotten { among, gone, in_turn }: Forgotten) {
        let mut missing = Vec::new();
        for id in &among {
            if self.queue.find(id.as_str()).await.is_none() {
                missing.push(id);
            }
        }
        assert_eq!(missing.len(), gone, "{missing:?} of {among:?}");
        let time = |id: &JobId| self.memory.get(id).unwrap().at;
        let last_gone = missing.iter().map(|id| time(id)).max();
        let kept = among.iter().filter(|id| !missing.contains(id));
        let first_kept = kept.map(time).min();
        let fair = !in_turn || first_kept.is_none() || last_gone <= first_kept;
        assert!(fair, "{missing:?} of {among:?} went out of turn");
        for id in missing {
            self.memory.forget(id);
        }
    }

    /// Some lease there was; most often one that still lives.
    fn some_lease(&mut self) -> Option<Job> {
        let is_leased = |job: &&Job| job.state == State::Leased;
        let living: Vec<&Job> = self.memory.jobs().filter(is_leased).collect();
        if living.is_empty() || self.random.u32(..5) == 0 {
            let past = self.random.usize(..self.leases.len().max(1));
            return self.leases.get(past).cloned();
        }
        Some(living[self.random.usize(..living.len())].clone())
    }

    fn fresh_id(&mut self) -> JobId {
        self.ids += 1;
        // So that the order of ids is not that of insertion.
        id_of(&format!("{:03}-{}", self.random.u32(..1000), self.ids))
    }

    fn one_in(&mut self, number: u32) -> bool {
        self.random.u32(..number) == 0
    }

    /// Up to so many milliseconds.
    fn span(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.random.u64(..most))
    }
}

fn told(groups: &[Group]) -> String {
    let item = |item: &Insert| {
        let Insert { job, chosen_id, request, .. } = item;
        format!("{} chosen {chosen_id} {request:?} {:?}", job.name.id, job.spec)
    };
    let group = |group: &Group| {
        let items: Vec<String> = group.inserts.iter().map(item).collect();
        (group.room, group.atomic, group.request, items)
    };
    format!("insert {:?}", groups.iter().map(group).collect::<Vec<_>>())
}
