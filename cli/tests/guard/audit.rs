//! The audit log: who did what to what, and whether that was allowed.

use std::collections::BTreeSet;

use lessor::proto::bulk_jobs_request::Action;
use lessor::proto::job_broker_admin_client::JobBrokerAdminClient;
use lessor::proto::job_broker_client::JobBrokerClient;
use lessor::proto::test_clock_client::TestClockClient;
use lessor::proto::{
    AdvanceClockRequest, BulkJobsRequest, CancelJobRequest, CreateScheduleRequest,
    DeleteQueueRequest, DrainWorkerRequest, EnqueueRequest, Job, JobActionRequest,
    PurgeJobsRequest, Queue, QueueActionRequest, Schedule, ScheduleActionRequest, UpdateJobRequest,
    UpdateQueueRequest, UpdateScheduleRequest, job,
};
use lessor_server::auth::Call;
use serde_json::Value;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::machine::broker::Broker;
use crate::{MEMORY, identities};

const JOB: &str = "queues/mail/jobs/j1";

/// Calls everything that is written down, and tells which calls those were.
async fn call_all(channel: Channel, token: &str) -> Vec<Call> {
    let bearer: AsciiMetadataValue = format!("Bearer {token}").parse().unwrap();
    let with_token = move |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", bearer.clone());
        Ok::<_, Status>(request)
    };
    let channel = InterceptedService::new(channel, with_token);
    let mut jobs = JobBrokerClient::new(channel.clone());
    let mut admin = JobBrokerAdminClient::new(channel.clone());
    let mut clock = TestClockClient::new(channel);
    let mut called = Vec::new();
    let queue = || QueueActionRequest { name: "queues/mail".into(), ..Default::default() };
    let name = || JobActionRequest { name: JOB.into(), ..Default::default() };
    let nightly =
        || ScheduleActionRequest { name: "schedules/nightly".into(), ..Default::default() };
    let schedule = |name: &str| {
        let job = EnqueueRequest { queue: "mail".into(), ..Default::default() };
        Some(Schedule {
            name: name.into(),
            cron: "0 3 * * *".into(),
            job: Some(job),
            ..Default::default()
        })
    };
    macro_rules! call {
        ($client:ident.$method:ident($request:expr), $call:ident) => {
            // Whether there is such a job does not matter: it is asked who may touch it first.
            let _done = Box::pin($client.$method($request)).await;
            called.push(Call::$call);
        };
    }
    let changed = Queue { name: "queues/mail".into(), ..Default::default() };
    call!(
        admin.update_queue(UpdateQueueRequest { queue: Some(changed), ..Default::default() }),
        UpdateQueue
    );
    call!(admin.pause_queue(queue()), PauseQueue);
    call!(admin.resume_queue(queue()), ResumeQueue);
    let changed = Job { name: JOB.into(), priority: 7, ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["priority".into()] });
    call!(admin.update_job(UpdateJobRequest { job: Some(changed), update_mask }), UpdateJob);
    call!(admin.retry_job(name()), RetryJob);
    call!(admin.promote_job(name()), PromoteJob);
    call!(admin.revoke_lease(name()), RevokeLease);
    call!(jobs.cancel_job(CancelJobRequest { name: JOB.into(), ..Default::default() }), CancelJob);
    call!(admin.delete_job(name()), DeleteJob);
    let bulk = BulkJobsRequest {
        queue: "mail".into(),
        action: Action::Cancel.into(),
        ..Default::default()
    };
    call!(admin.bulk_jobs(bulk), BulkJobs);
    let purge = PurgeJobsRequest {
        queue: "mail".into(),
        state: job::State::Dead.into(),
        ..Default::default()
    };
    call!(admin.purge_jobs(purge), PurgeJobs);
    let create = CreateScheduleRequest { schedule: schedule(""), schedule_id: "nightly".into() };
    call!(admin.create_schedule(create), CreateSchedule);
    let update = UpdateScheduleRequest {
        schedule: schedule("schedules/nightly"),
        update_mask: Some(prost_types::FieldMask { paths: vec!["cron".into()] }),
        ..Default::default()
    };
    call!(admin.update_schedule(update), UpdateSchedule);
    call!(admin.pause_schedule(nightly()), PauseSchedule);
    call!(admin.resume_schedule(nightly()), ResumeSchedule);
    call!(admin.trigger_schedule(nightly()), TriggerSchedule);
    call!(admin.delete_schedule(nightly()), DeleteSchedule);
    call!(
        admin.drain_worker(DrainWorkerRequest { worker_id: "w1".into(), ..Default::default() }),
        DrainWorker
    );
    let delete =
        DeleteQueueRequest { name: "queues/mail".into(), force: true, ..Default::default() };
    call!(admin.delete_queue(delete), DeleteQueue);
    let second = prost_types::Duration { seconds: 1, nanos: 0 };
    call!(clock.advance_clock(AdvanceClockRequest { duration: Some(second) }), AdvanceClock);
    called
}

/// What the audit log tells, a line for each call.
fn told(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "lessor::audit").collect()
}

#[tokio::test]
async fn every_audited_call_is_told_with_who_did_what_to_what_and_whether_it_was_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.toml");
    let all = [
        ("root", "admin", "*"),
        ("reader", "viewer", "*"),
        ("sms-admin", "admin", "sms"),
        ("shop", "producer", "mail"),
    ];
    std::fs::write(&file, identities(&all)).unwrap();
    let tokens = ["--auth-tokens", file.to_str().unwrap(), "--manual-clock"];
    let mut broker = Broker::start(&[&MEMORY[..], &tokens[..]].concat()).await;

    let called = Box::pin(call_all(broker.channel(), "root-token")).await;
    let audited: Vec<Call> =
        Call::ALL.iter().copied().filter(|call| call.rule().is_audited).collect();
    let paths = |calls: &[Call]| calls.iter().map(|call| call.path()).collect::<BTreeSet<_>>();
    assert_eq!(paths(&called), paths(&audited), "a call is missing in this test");
    for token in ["reader-token", "sms-admin-token", "shop-token", "made-up-token"] {
        Box::pin(call_all(broker.channel(), token)).await;
    }
    broker.process.signal("TERM");
    broker.process.ended().await;

    let log = broker.process.stderr();
    let lines = told(&log);
    let of = |principal: &str, path: &str| {
        let mut found =
            lines.iter().filter(|line| line["principal"] == principal && line["call"] == path);
        let line = found.next().unwrap_or_else(|| panic!("{principal} {path} is not told:\n{log}"));
        assert!(found.next().is_none(), "{principal} {path} is told twice");
        line
    };
    for call in audited {
        let path = call.path();
        let done = of("root", path);
        let outcome = done["outcome"].as_str().unwrap();
        assert!(["done", "failed"].contains(&outcome), "{done}");
        assert_eq!(outcome == "failed", done["reason"].is_string(), "{done}");
        let subject = done["subject"].as_str().unwrap();
        let what = match path.rsplit('/').next().unwrap() {
            "AdvanceClock" => "",
            "DrainWorker" => "workers/w1",
            "CreateSchedule" => "queues/mail",
            name if name.ends_with("Schedule") => "schedules/nightly",
            name if name.ends_with("Job") || name == "RevokeLease" => JOB,
            _ => "queues/mail",
        };
        assert_eq!(subject, what, "{done}");

        let refused = |principal, reason: &str| {
            let line = of(principal, path);
            let found = (line["outcome"].as_str(), line["reason"].as_str(), line["level"].as_str());
            assert_eq!(found, (Some("refused"), Some(reason), Some("WARN")), "{line}");
            line["subject"].as_str().unwrap_or_default().to_owned()
        };
        refused("reader", "ROLE");
        refused("", "NO_CREDENTIAL");
        if call == Call::CancelJob {
            assert_eq!(refused("shop", "NOT_OWNER"), JOB);
        } else {
            refused("shop", "ROLE");
        }
        // Whom the role does not reach there; the clock is nowhere in particular.
        if call != Call::AdvanceClock {
            assert_eq!(refused("sms-admin", "ROLE"), what);
        }
    }
    let done = ["PauseQueue", "ResumeQueue", "CreateSchedule", "TriggerSchedule", "DeleteSchedule"];
    for name in done {
        let path = format!("/lessor.v1.JobBrokerAdmin/{name}");
        assert_eq!(of("root", &path)["outcome"], "done");
    }
    for secret in ["root-token", "made-up-token", "Bearer"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
