//! What [`OnDuplicate`](crate::job::OnDuplicate) and
//! [`DedupScope::UntilStarted`](crate::job::DedupScope) mean in a store.

use crate::fixture::{
    Queue, UNTIL_FINISHED, acked, at, deduplicated, expired, extension, id_of, ids, kept, meeting,
    nacked, payload, request, seconds, spec,
};
use crate::job::operate;
use crate::job::transition::Disposition;
use crate::job::{DedupScope, EventKind, Job, OnDuplicate, Spec, State};
use crate::store::{Counts, Inserted};

const UNTIL_STARTED: DedupScope = DedupScope::UntilStarted { cap: None };
const WINDOW: DedupScope = DedupScope::Window(std::time::Duration::from_hours(1));

/// Where the holder of a key may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Scheduled,
    Fresh,
    Leased,
    Retrying,
    /// Ready, but it was leased before.
    Again,
    Succeeded,
    Dead,
    Cancelled,
}

const STAGES: [Stage; 8] = [
    Stage::Scheduled,
    Stage::Fresh,
    Stage::Leased,
    Stage::Retrying,
    Stage::Again,
    Stage::Succeeded,
    Stage::Dead,
    Stage::Cancelled,
];

impl Stage {
    fn state(self) -> State {
        match self {
            Self::Scheduled => State::Scheduled,
            Self::Fresh | Self::Again => State::Ready,
            Self::Leased => State::Leased,
            Self::Retrying => State::Retrying,
            Self::Succeeded => State::Succeeded,
            Self::Dead => State::Dead,
            Self::Cancelled => State::Cancelled,
        }
    }

    fn holds(self, scope: DedupScope) -> bool {
        match scope {
            DedupScope::UntilStarted { .. } => matches!(self, Self::Scheduled | Self::Fresh),
            DedupScope::UntilFinished { .. } => !self.state().is_terminal(),
            DedupScope::Window(_) => true,
        }
    }

    fn verdict(self, scope: DedupScope, on_duplicate: OnDuplicate) -> Inserted {
        let holder = id_of("holder");
        if !self.holds(scope) {
            return Inserted::New;
        }
        match on_duplicate {
            OnDuplicate::Keep => Inserted::Duplicate(holder),
            OnDuplicate::Reject => Inserted::Rejected(holder, self.state()),
            OnDuplicate::Replace => match self {
                Self::Scheduled | Self::Fresh => Inserted::Replaced(holder),
                _ => Inserted::Duplicate(holder),
            },
            OnDuplicate::RunAfter => match self {
                Self::Leased => Inserted::Behind(holder),
                _ if self.state().is_pending() => Inserted::Replaced(holder),
                _ => Inserted::Duplicate(holder),
            },
        }
    }

    /// A holder of the key in this stage.
    async fn holder(self, queue: &Queue, scope: DedupScope) -> Job {
        let scheduled = (self == Self::Scheduled).then(|| at(500));
        queue.add("holder", Spec { scheduled, ..deduplicated("key", scope) }).await;
        match self {
            Self::Scheduled | Self::Fresh => {}
            Self::Cancelled => queue.cancel("holder", at(0)).await,
            Self::Leased => drop(queue.claim_one(at(0)).await),
            _ => {
                let job = queue.claim_one(at(0)).await;
                let end = match self {
                    Self::Retrying => nacked(&job, Disposition::Retry(Some(seconds(500))), at(0)),
                    Self::Again => nacked(&job, Disposition::Release, at(0)),
                    Self::Succeeded => acked(&job, at(0)),
                    _ => nacked(&job, Disposition::Dead, at(0)),
                };
                queue.apply(end, at(0)).await;
            }
        }
        queue.get("holder").await
    }
}

every_store!(
    async fn each_meeting_of_a_held_key_goes_by_the_table(queue: Queue) {
        for (scope_name, scope) in
            [("started", UNTIL_STARTED), ("finished", UNTIL_FINISHED), ("window", WINDOW)]
        {
            for on_duplicate in [
                OnDuplicate::Keep,
                OnDuplicate::Reject,
                OnDuplicate::Replace,
                OnDuplicate::RunAfter,
            ] {
                for stage in STAGES {
                    let case = format!("{scope_name}-{on_duplicate:?}-{stage:?}").to_lowercase();
                    let queue = queue.sibling(&case);
                    let holder = stage.holder(&queue, scope).await;
                    let item = queue.item("new", meeting(deduplicated("key", scope), on_duplicate));
                    let outcome = queue.insert_one(item).await;
                    assert_eq!(outcome, stage.verdict(scope, on_duplicate), "{case}");
                    let new = queue.state("new").await;
                    match outcome {
                        Inserted::New => assert_eq!(new, Some(State::Ready), "{case}"),
                        Inserted::Behind(_) => assert_eq!(new, Some(State::Blocked), "{case}"),
                        _ => assert_eq!(new, None, "{case}"),
                    }
                    if !matches!(outcome, Inserted::Replaced(_)) {
                        assert_eq!(queue.get("holder").await, holder, "{case}");
                    }
                }
            }
        }
    }

    async fn a_key_held_until_the_start_is_free_from_the_first_lease_on(queue: Queue) {
        let double = |id: &str| queue.item(id, deduplicated("key", UNTIL_STARTED));
        queue.add("a", deduplicated("key", UNTIL_STARTED)).await;
        assert_eq!(queue.insert_one(double("b")).await, Inserted::Duplicate(id_of("a")));
        let first = queue.claim_one(at(1)).await;
        assert_eq!(queue.insert_one(double("b")).await, Inserted::New);
        // What becomes of the first job concerns the key no more.
        queue.apply(acked(&first, at(2)), at(2)).await;
        assert_eq!(queue.insert_one(double("c")).await, Inserted::Duplicate(id_of("b")));
    }

    async fn a_key_held_until_the_start_is_free_when_its_job_is_cancelled(queue: Queue) {
        queue.add("a", deduplicated("key", UNTIL_STARTED)).await;
        queue.cancel("a", at(1)).await;
        let next = queue.item("b", deduplicated("key", UNTIL_STARTED));
        assert_eq!(queue.insert_one(next).await, Inserted::New);
    }

    async fn a_replaced_job_does_what_was_asked_last(queue: Queue) {
        queue.add("first", spec()).await;
        queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        queue.add("last", spec()).await;
        let newer = Spec {
            created: at(5),
            payload: Some(payload("newer")),
            labels: [("tenant".to_owned(), "t1".to_owned())].into(),
            ..replacing()
        };
        let outcome = queue.insert_one(queue.item("new", newer.clone())).await;
        assert_eq!(outcome, Inserted::Replaced(id_of("holder")));
        let job = queue.get("holder").await;
        assert_eq!(*job.spec, Spec { created: at(0), ..newer });
        assert_eq!((job.state, job.revision), (State::Ready, 1));
        let event = queue.events().await.pop().unwrap();
        assert_eq!((event.kind, event.reason.as_str()), (EventKind::Deduplicated, "REPLACED"));
        assert_eq!(event.job, Some(id_of("holder")));
        let label = crate::store::Index::Label("tenant".to_owned(), "t1".to_owned());
        assert_eq!(queue.list(&label).await, ["holder"]);
        assert_eq!(ids(&queue.claim(9, at(6)).await), ["first", "holder", "last"]);
    }

    async fn a_replaced_job_starts_when_it_was_asked_to_last(queue: Queue) {
        queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let later = |moment| Spec { created: at(5), scheduled: Some(moment), ..replacing() };
        for (wish, state, time) in [
            (later(at(100)), State::Scheduled, at(100)),
            (later(at(50)), State::Scheduled, at(50)),
            (Spec { created: at(5), ..replacing() }, State::Ready, at(5)),
        ] {
            let outcome = queue.insert_one(queue.item("new", wish)).await;
            assert_eq!(outcome, Inserted::Replaced(id_of("holder")));
            let job = queue.get("holder").await;
            assert_eq!((job.state, job.at), (state, time));
        }
        assert_eq!(ids(&queue.claim(9, at(6)).await), ["holder"]);
        assert_eq!(queue.promote(at(200)).await, 0);
        assert_eq!(queue.claim(9, at(200)).await, []);
    }

    async fn a_replaced_job_of_another_priority_moves_behind_the_others_there(queue: Queue) {
        queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        queue.add("low", spec()).await;
        queue.add("high", crate::fixture::priority(5)).await;
        let urgent = Spec { created: at(5), priority: 5, ..replacing() };
        queue.insert_one(queue.item("new", urgent)).await;
        assert_eq!(ids(&queue.claim(9, at(6)).await), ["high", "holder", "low"]);
        assert_eq!(queue.claim(9, at(6)).await, []);
    }

    async fn a_window_begins_anew_when_its_job_is_replaced(queue: Queue) {
        let window = |second| {
            let wish = deduplicated("key", DedupScope::Window(seconds(100)));
            Spec { created: at(second), ..meeting(wish, OnDuplicate::Replace) }
        };
        queue.add("holder", Spec { scheduled: Some(at(500)), ..window(0) }).await;
        for second in [90, 180, 270] {
            let wish = Spec { scheduled: Some(at(500)), ..window(second) };
            let outcome = queue.insert_one(queue.item("new", wish)).await;
            assert_eq!(outcome, Inserted::Replaced(id_of("holder")), "after {second} s");
        }
    }

    async fn a_replacement_remembers_its_request(queue: Queue) {
        queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let again = || queue.asked("new", replacing(), request(1, 1));
        assert_eq!(queue.insert_one(again()).await, Inserted::Replaced(id_of("holder")));
        assert_eq!(queue.insert_one(again()).await, Inserted::Replayed(id_of("holder")));
        assert_eq!(queue.get("holder").await.revision, 1);
    }

    async fn a_rejection_refuses_its_group(queue: Queue) {
        queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let reject = meeting(deduplicated("key", UNTIL_FINISHED), OnDuplicate::Reject);
        let group =
            vec![queue.item("a", spec()), queue.item("b", reject), queue.item("c", replacing())];
        let refusal = Inserted::Rejected(id_of("holder"), State::Ready);
        let outcomes = queue.insert_group(group).await;
        assert_eq!(outcomes, [Inserted::Withheld, refusal, Inserted::Withheld]);
        assert_eq!(queue.count().await.ready, 1);
        assert_eq!(queue.get("holder").await.revision, 0);
    }

    async fn a_replacement_is_undone_with_its_group(queue: Queue) {
        let holder = queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        queue.add("taken", spec()).await;
        let wish = Spec { priority: 9, ..replacing() };
        let group = vec![queue.item("new", wish), queue.chosen("taken", spec())];
        let outcomes = queue.insert_group(group).await;
        assert_eq!(outcomes, [Inserted::Withheld, Inserted::Exists(State::Ready)]);
        assert_eq!(queue.get("holder").await, holder);
        assert_eq!(ids(&queue.claim(9, at(1)).await), ["holder", "taken"]);
    }

    async fn a_job_runs_after_the_one_that_is_leased(queue: Queue) {
        let holder = queue.add_leased("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let outcome = queue.insert_one(queue.item("next", after(at(1)))).await;
        assert_eq!(outcome, Inserted::Behind(id_of("holder")));
        let wanted = Counts { leased: 1, blocked: 1, ..Counts::default() };
        assert_eq!(queue.count().await, wanted);
        assert_eq!(queue.claim(9, at(2)).await, []);
        assert_eq!(queue.promote(at(20)).await, 0);
        assert_eq!(queue.next_due().await, Some(at(30)));
        queue.extend(extension(&holder, at(90)), at(20)).await;
        queue.apply(acked(&holder, at(40)), at(40)).await;
        let next = queue.get("next").await;
        assert_eq!((next.state, next.at, next.spec.created), (State::Ready, at(40), at(1)));
        let events = queue.events().await;
        let told: Vec<_> = events.iter().rev().take(2).map(|event| event.kind).collect();
        assert_eq!(told, [EventKind::Ready, EventKind::Succeeded]);
        assert_eq!(ids(&queue.claim(9, at(41)).await), ["next"]);
        // It holds the key now.
        let double = queue.item("double", deduplicated("key", UNTIL_FINISHED));
        assert_eq!(queue.insert_one(double).await, Inserted::Duplicate(id_of("next")));
        let behind = queue.insert_one(queue.item("third", after(at(41)))).await;
        assert_eq!(behind, Inserted::Behind(id_of("next")));
    }

    async fn whatever_ends_a_job_lets_the_next_one_run(queue: Queue) {
        for end in ["acked", "dead", "lost", "cancelled", "deleted", "nothing"] {
            let queue = queue.sibling(end);
            let mut spec = deduplicated("key", UNTIL_FINISHED);
            if end == "nothing" {
                spec.retention = kept(seconds(0), None);
            }
            let holder = queue.add_leased("holder", spec).await;
            queue.insert_one(queue.item("next", after(at(1)))).await;
            match end {
                "acked" | "nothing" => queue.apply(acked(&holder, at(60)), at(60)).await,
                "dead" => queue.apply(nacked(&holder, Disposition::Dead, at(60)), at(60)).await,
                "lost" => {
                    let mut worn = holder.clone();
                    worn.counters.lease_losses = 9;
                    queue.apply(expired(&worn, at(60)), at(60)).await;
                }
                _ => {
                    queue.apply(nacked(&holder, Disposition::Release, at(60)), at(60)).await;
                    assert_eq!(queue.state("next").await, Some(State::Blocked), "{end}");
                    match end {
                        "deleted" => queue.delete("holder", at(60)).await,
                        _ => queue.cancel("holder", at(60)).await,
                    }
                }
            }
            assert_eq!(queue.state("next").await, Some(State::Ready), "{end}");
            assert_eq!(queue.count().await.blocked, 0, "{end}");
            assert_eq!(ids(&queue.claim(9, at(61)).await), ["next"], "{end}");
        }
    }

    async fn one_that_is_ready_again_is_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        let holder = queue.add_leased("holder", deduplicated("key", UNTIL_FINISHED)).await;
        queue.insert_one(queue.item("next", after(at(1)))).await;
        queue.catch_up(&mut signals).await;
        queue.apply(acked(&holder, at(2)), at(2)).await;
        signals.expect(crate::store::Signal::Ready(queue.name.clone())).await;
    }

    async fn a_retry_of_the_holder_goes_before_the_next(queue: Queue) {
        let holder = queue.add_leased("holder", deduplicated("key", UNTIL_FINISHED)).await;
        queue.insert_one(queue.item("next", after(at(1)))).await;
        queue.apply(nacked(&holder, Disposition::Retry(None), at(2)), at(2)).await;
        assert_eq!(queue.state("next").await, Some(State::Blocked));
        assert_eq!(ids(&queue.claim(9, at(3)).await), ["holder"]);
    }

    async fn only_one_waits_and_it_does_what_was_asked_last(queue: Queue) {
        let holder = queue.add_leased("holder", deduplicated("key", UNTIL_FINISHED)).await;
        queue.insert_one(queue.item("next", after(at(1)))).await;
        let newer = Spec { payload: Some(payload("newer")), ..after(at(2)) };
        let outcome = queue.insert_one(queue.item("third", newer)).await;
        assert_eq!(outcome, Inserted::Replaced(id_of("next")));
        let next = queue.get("next").await;
        assert_eq!((next.state, next.revision), (State::Blocked, 1));
        assert_eq!(next.spec.payload, Some(payload("newer")));
        assert_eq!(next.spec.created, at(1));
        assert_eq!(queue.find("third").await, None);
        queue.apply(acked(&holder, at(3)), at(3)).await;
        assert_eq!(ids(&queue.claim(9, at(4)).await), ["next"]);
    }

    async fn others_meet_the_holder_and_not_who_waits(queue: Queue) {
        queue.add_leased("holder", deduplicated("key", UNTIL_FINISHED)).await;
        queue.insert_one(queue.item("next", after(at(1)))).await;
        let kept = queue.item("x", deduplicated("key", UNTIL_FINISHED));
        assert_eq!(queue.insert_one(kept).await, Inserted::Duplicate(id_of("holder")));
        let replacing = queue.item("x", replacing());
        assert_eq!(queue.insert_one(replacing).await, Inserted::Duplicate(id_of("holder")));
        let reject = meeting(deduplicated("key", UNTIL_FINISHED), OnDuplicate::Reject);
        let refusal = Inserted::Rejected(id_of("holder"), State::Leased);
        assert_eq!(queue.insert_one(queue.item("x", reject)).await, refusal);
    }

    async fn one_that_waits_no_more_is_not_run(queue: Queue) {
        for end in ["cancelled", "deleted"] {
            let queue = queue.sibling(end);
            let holder = queue.add_leased("holder", deduplicated("key", UNTIL_FINISHED)).await;
            queue.insert_one(queue.item("next", after(at(1)))).await;
            match end {
                "cancelled" => queue.cancel("next", at(2)).await,
                _ => queue.delete("next", at(2)).await,
            }
            assert_eq!(queue.count().await.blocked, 0, "{end}");
            let kept = queue.item("x", deduplicated("key", UNTIL_FINISHED));
            assert_eq!(queue.insert_one(kept).await, Inserted::Duplicate(id_of("holder")), "{end}");
            let outcome = queue.insert_one(queue.item("third", after(at(3)))).await;
            assert_eq!(outcome, Inserted::Behind(id_of("holder")), "{end}");
            queue.apply(acked(&holder, at(4)), at(4)).await;
            assert_eq!(ids(&queue.claim(9, at(5)).await), ["third"], "{end}");
        }
    }

    async fn one_that_waits_goes_on_to_wait_for_its_own_time(queue: Queue) {
        let holder = queue.add_leased("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let later = Spec { scheduled: Some(at(100)), ..after(at(1)) };
        let outcome = queue.insert_one(queue.item("next", later)).await;
        assert_eq!(outcome, Inserted::Behind(id_of("holder")));
        queue.apply(acked(&holder, at(2)), at(2)).await;
        let next = queue.get("next").await;
        assert_eq!((next.state, next.at), (State::Scheduled, at(100)));
        assert_eq!(queue.promote(at(100)).await, 1);
    }

    async fn one_that_waits_is_undone_with_its_group(queue: Queue) {
        let holder = queue.add_leased("holder", deduplicated("key", UNTIL_FINISHED)).await;
        queue.add("taken", crate::fixture::scheduled(at(500))).await;
        let group = vec![queue.item("next", after(at(0))), queue.chosen("taken", spec())];
        let outcomes = queue.insert_group(group).await;
        assert_eq!(outcomes, [Inserted::Withheld, Inserted::Exists(State::Scheduled)]);
        assert_eq!((queue.find("next").await, queue.count().await.blocked), (None, 0));
        queue.apply(acked(&holder, at(1)), at(1)).await;
        assert_eq!(queue.claim(9, at(2)).await, []);
    }

    async fn a_job_after_one_that_waits_for_its_time_takes_its_place(queue: Queue) {
        let holder = Spec { scheduled: Some(at(100)), ..deduplicated("key", UNTIL_FINISHED) };
        queue.add("holder", holder).await;
        let newer = Spec { payload: Some(payload("newer")), ..after(at(5)) };
        let outcome = queue.insert_one(queue.item("next", newer)).await;
        assert_eq!(outcome, Inserted::Replaced(id_of("holder")));
        let job = queue.get("holder").await;
        assert_eq!((job.state, job.at), (State::Scheduled, at(100)), "its time stays");
        assert_eq!(job.spec.payload, Some(payload("newer")));
    }

    async fn a_lapsed_job_that_is_replaced_runs(queue: Queue) {
        let lapsing = |created, moment| Spec { created, expires: Some(moment), ..replacing() };
        queue.add("holder", lapsing(at(0), at(10))).await;
        queue.add("other", spec()).await;
        assert_eq!(ids(&queue.claim(9, at(11)).await), ["other"]);
        let outcome = queue.insert_one(queue.item("new", lapsing(at(12), at(60)))).await;
        assert_eq!(outcome, Inserted::Replaced(id_of("holder")));
        assert_eq!(queue.overdue(at(13)).await, []);
        assert_eq!(ids(&queue.claim(9, at(13)).await), ["holder"]);
        assert_eq!(queue.claim(9, at(13)).await, []);
    }

    async fn one_that_waited_takes_the_key_even_if_its_window_is_open(queue: Queue) {
        let holder = queue.add_leased("holder", deduplicated("key", WINDOW)).await;
        queue.insert_one(queue.item("next", after(at(1)))).await;
        queue.apply(acked(&holder, at(2)), at(2)).await;
        let double = queue.item("double", deduplicated("key", UNTIL_FINISHED));
        assert_eq!(queue.insert_one(double).await, Inserted::Duplicate(id_of("next")));
    }

    async fn a_job_does_not_hold_the_key_of_an_earlier_one_of_its_id(queue: Queue) {
        let brief = Spec { retention: kept(seconds(0), None), ..deduplicated("key", WINDOW) };
        queue.insert_one(queue.chosen("a", brief)).await;
        let job = queue.claim_one(at(0)).await;
        queue.apply(acked(&job, at(1)), at(1)).await;
        assert_eq!(queue.insert_one(queue.chosen("a", spec())).await, Inserted::New);
        let other = queue.item("b", deduplicated("key", UNTIL_FINISHED));
        assert_eq!(queue.insert_one(other).await, Inserted::New);
    }

    async fn two_that_share_a_key_may_each_have_one_behind(queue: Queue) {
        let brief = DedupScope::Window(std::time::Duration::from_millis(50));
        let first = queue.add_leased("first", deduplicated("key", brief)).await;
        let behind = |created| {
            meeting(Spec { created, ..deduplicated("key", brief) }, OnDuplicate::RunAfter)
        };
        let outcome = queue.insert_one(queue.item("behind-first", behind(at(0)))).await;
        assert_eq!(outcome, Inserted::Behind(id_of("first")));
        // The key becomes free in the time of the case or in real time.
        let second = crate::fixture::eventually("the key to become free", async || {
            let spec = Spec { created: at(1), ..deduplicated("key", UNTIL_FINISHED) };
            let outcome = queue.insert_one(queue.item("second", spec)).await;
            (outcome == Inserted::New).then_some(())
        });
        second.await;
        let second = queue.claim_one(at(1)).await;
        let outcome = queue.insert_one(queue.item("behind-second", behind(at(2)))).await;
        assert_eq!(outcome, Inserted::Behind(id_of("second")));
        queue.apply(acked(&first, at(3)), at(3)).await;
        assert_eq!(ids(&queue.claim(9, at(4)).await), ["behind-first"]);
        queue.apply(acked(&second, at(5)), at(5)).await;
        assert_eq!(ids(&queue.claim(9, at(6)).await), ["behind-second"]);
        assert_eq!(queue.count().await.blocked, 0);
    }

    async fn a_redriven_job_does_not_take_its_key_again(queue: Queue) {
        let first = queue.add_leased("first", deduplicated("key", UNTIL_FINISHED)).await;
        queue.apply(nacked(&first, Disposition::Dead, at(1)), at(1)).await;
        queue.add("second", deduplicated("key", UNTIL_FINISHED)).await;
        queue.redrive("first", at(2)).await;
        let double = || queue.item("x", deduplicated("key", UNTIL_FINISHED));
        assert_eq!(queue.insert_one(double()).await, Inserted::Duplicate(id_of("second")));
        let redriven = operate::cancel(&queue.get("first").await, "", at(3)).unwrap();
        queue.apply(redriven, at(3)).await;
        assert_eq!(queue.insert_one(double()).await, Inserted::Duplicate(id_of("second")));
    }
);

/// Takes the place of who holds the key.
fn replacing() -> Spec {
    meeting(deduplicated("key", UNTIL_FINISHED), OnDuplicate::Replace)
}

/// Runs after who holds the key.
fn after(created: crate::clock::Timestamp) -> Spec {
    Spec { created, ..meeting(deduplicated("key", UNTIL_FINISHED), OnDuplicate::RunAfter) }
}
