use std::fmt::Write as _;

use super::*;
use crate::job::{JobName, QueueName, ScheduleId, State};
use crate::store::Room;

const ALL: [Reason; 35] = [
    Reason::NoCredential,
    Reason::Expired,
    Reason::Role,
    Reason::NotOwner,
    Reason::InvalidField,
    Reason::PayloadTooLarge,
    Reason::BadLeaseToken,
    Reason::JobNotFound,
    Reason::JobExists,
    Reason::Duplicate,
    Reason::JobTerminal,
    Reason::JobLeased,
    Reason::WrongState,
    Reason::EtagMismatch,
    Reason::QueueNotFound,
    Reason::WorkerNotFound,
    Reason::QueueNotEmpty,
    Reason::ScheduleNotFound,
    Reason::ScheduleExists,
    Reason::RequestIdReused,
    Reason::LeaseLost,
    Reason::LeaseSettled,
    Reason::RateLimited,
    Reason::TooManyStreams,
    Reason::QueueFull,
    Reason::StoreMemory,
    Reason::StoreUnavailable,
    Reason::KeysUnavailable,
    Reason::WorkerSilent,
    Reason::Draining,
    Reason::CursorTrimmed,
    Reason::StoreReset,
    Reason::RecordCorrupt,
    Reason::FeatureDisabled,
    Reason::Internal,
];

fn name() -> JobName {
    JobName::parse("queues/mail/jobs/j1").unwrap()
}

/// One of each kind.
fn faults() -> Vec<Fault> {
    use broker::Error;
    let queue = QueueName::parse("mail").unwrap();
    let schedule = ScheduleId::parse("nightly").unwrap();
    let refused = |why| Error::Refused { name: name(), state: State::Succeeded, why };
    let errors = [
        Error::NotFound(name()),
        Error::Exists { name: name(), state: State::Ready },
        Error::Duplicate { name: name(), state: State::Ready },
        Error::QueueFull { queue: name().queue, room: Room { jobs: Some(7), bytes: None } },
        refused(Refusal::Terminal),
        refused(Refusal::Leased),
        refused(Refusal::WrongState),
        Error::EtagMismatch,
        Error::NoQueue(queue.clone()),
        Error::NoWorker(crate::job::WorkerId::parse("w").unwrap()),
        Error::QueueNotEmpty(queue),
        Error::BadPageToken,
        Error::NoSchedule(schedule.clone()),
        Error::ScheduleExists(schedule),
        Error::BadContinuation,
        Error::RequestReused,
        Error::FollowUp { index: 3, why: Box::new(Error::RequestReused) },
        Error::Withheld,
        Error::LeaseLost { name: name(), state: None, attempt: 2 },
        Error::LeaseSettled { name: name(), outcome: Outcome::Released },
        Error::CursorTrimmed { oldest: "c1".to_owned() },
        Error::StoreReset,
        Error::BadCursor,
        Error::Overloaded,
        Error::StoreFull("10.0.0.1 has no memory".to_owned()),
        Error::Unavailable("connection refused by 10.0.0.1".to_owned()),
        Error::Silent,
        Error::NotSent { told: 2, sent: 1 },
        Error::Draining,
        Error::Corrupt { name: name().to_string(), why: "truncated".to_owned() },
    ];
    let mut faults: Vec<Fault> = errors.into_iter().map(Fault::from).collect();
    faults.push(Violations::too_large(10, 11).into());
    let no_token = crate::job::LeaseToken::parse("?").unwrap_err();
    faults.push(Violations::bad_lease_token(&no_token).into());
    faults.push(Fault::not_built("WaitJob"));
    faults.push(Fault::new(Reason::TooManyStreams, "too many calls"));
    faults.push(Fault::role("not allowed", Role::Operator));
    faults.push(crate::auth::Denied::Nothing.into());
    faults.push(crate::auth::Denied::Expired.into());
    faults.push(crate::auth::Denied::NoKeys.into());
    faults.push(Fault::new(Reason::NotOwner, "not one of its own"));
    faults
}

fn details_word(detail: Detail) -> &'static str {
    match detail {
        Detail::None => "",
        Detail::Fields => "BadRequest",
        Detail::Resource(_) => "ResourceInfo",
        Detail::Precondition => "PreconditionFailure",
        Detail::Quota => "QuotaFailure",
    }
}

fn table() -> String {
    let mut table =
        "| Code | Reason | When | What to do | Metadata | Further details |\n".to_owned();
    table.push_str("|---|---|---|---|---|---|\n");
    for reason in ALL {
        let row = reason.row();
        let keys: Vec<String> = row.metadata.iter().map(|key| format!("`{key}`")).collect();
        let mut details = details_word(row.detail).to_owned();
        if let Some(pause) = row.retry_after {
            if !details.is_empty() {
                details.push_str(", ");
            }
            write!(details, "RetryInfo {pause:?}").unwrap();
        }
        let code = code_word(row.code);
        let (word, when, advice) = (row.word, row.when, row.advice);
        let keys = keys.join(", ");
        writeln!(table, "| {code} | `{word}` | {when} | {advice} | {keys} | {details} |").unwrap();
    }
    table
}

fn code_word(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::Aborted => "ABORTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Unavailable => "UNAVAILABLE",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        other => panic!("{other:?} is in no row of the table"),
    }
}

#[test]
fn the_protocol_page_has_this_table() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (_, rest) = text.split_once("<!-- errors:begin -->\n").unwrap();
    let (section, _) = rest.split_once("<!-- errors:end -->").unwrap();
    let table = table();
    assert_eq!(section.trim(), table.trim(), "put this table into docs/protocol.md:\n{table}");
}

#[test]
fn every_status_has_the_details_of_its_row() {
    let mut met = Vec::new();
    for fault in faults() {
        let row = fault.reason.row();
        met.push(fault.reason);
        let status = Status::from(fault);
        assert_eq!(status.code(), row.code);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (row.word, DOMAIN));
        let mut keys: Vec<&str> = info.metadata.keys().map(String::as_str).collect();
        keys.sort_unstable();
        let mut expected = row.metadata.to_vec();
        expected.sort_unstable();
        assert_eq!(keys, expected, "{}", row.word);
        assert_eq!(details.bad_request().is_some(), row.detail == Detail::Fields);
        assert_eq!(details.resource_info().is_some(), matches!(row.detail, Detail::Resource(_)));
        assert_eq!(details.precondition_failure().is_some(), row.detail == Detail::Precondition);
        assert_eq!(details.quota_failure().is_some(), row.detail == Detail::Quota);
        assert_eq!(details.retry_info().and_then(|info| info.retry_delay), row.retry_after);
    }
    for reason in ALL {
        assert!(met.contains(&reason), "{reason:?} is never given");
    }
}

#[test]
fn causes_stay_in_the_log() {
    for fault in faults() {
        assert!(!fault.message.contains("10.0.0.1"), "{}", fault.message);
    }
}

#[test]
fn a_batch_item_has_the_same_details_as_a_call() {
    for fault in faults() {
        let item = tonic_types::Status::from(fault.clone());
        let status = Status::from(fault);
        let types = |status: &tonic_types::Status| -> Vec<String> {
            status.details.iter().map(|detail| detail.type_url.clone()).collect()
        };
        let whole = tonic_types::Status::decode(status.details()).unwrap();
        assert!(!types(&item).is_empty());
        assert_eq!(types(&item), types(&whole));
        assert_eq!((item.code, item.message.as_str()), (status.code() as i32, status.message()));
    }
}

#[test]
fn only_transient_faults_invite_a_retry() {
    for reason in ALL {
        let row = reason.row();
        let transient = matches!(row.code, Code::Unavailable | Code::ResourceExhausted);
        assert_eq!(row.retry_after.is_some(), transient, "{}", row.word);
    }
}
