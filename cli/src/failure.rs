//! How a command fails: one sentence to stderr, and an exit code that scripts can tell apart.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use lessor::{Code, Reason};

use crate::settings::BadConfig;

/// Ctrl-C: the user knows, so nothing is said.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// A command that has said what there was to say, and that is not "done".
#[derive(Debug, thiserror::Error)]
#[error("exit code {0}")]
pub(crate) struct Exit(pub(crate) u8);

/// What the user asked for cannot be; found by us and not by clap.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.is::<Interrupted>() {
        return ExitCode::from(130);
    }
    if let Some(&Exit(code)) = error.downcast_ref() {
        return ExitCode::from(code);
    }
    // Whoever read our output has read enough.
    if error.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let call = error.downcast_ref::<lessor::Error>();
    let sentence = call.map_or_else(|| format!("{error:#}"), sentence);
    eprintln!("lessor: {sentence}");
    match call {
        Some(call) => ExitCode::from(exit_code(call.code())),
        None if error.is::<Usage>() => ExitCode::from(2),
        None if error.is::<BadConfig>() || is_bad_file(error) => ExitCode::from(78),
        None => ExitCode::FAILURE,
    }
}

/// A file that the settings name is not what it should be.
fn is_bad_file(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(lessor_server::Error::Credentials(_) | lessor_server::Error::Tls(_))
    )
}

pub(crate) fn exit_code(code: Code) -> u8 {
    match code {
        Code::InvalidArgument => 2,
        Code::NotFound => 3,
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted | Code::OutOfRange => 4,
        Code::Unauthenticated | Code::PermissionDenied => 5,
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => 6,
        _ => 1,
    }
}

/// What happened, the reason's word, the fields at fault, and what to do.
pub(crate) fn sentence(error: &lessor::Error) -> String {
    let mut sentence = error.message().to_owned();
    if let Some(reason) = error.reason() {
        sentence = format!("{sentence} ({reason})");
    }
    for violation in error.field_violations() {
        let known = error.message();
        if !(known.contains(&violation.field) && known.contains(&violation.description)) {
            sentence = format!("{sentence}; {}: {}", violation.field, violation.description);
        }
    }
    if let Some(advice) = advice(error) {
        sentence = format!("{sentence}; {advice}");
    }
    sentence
}

fn advice(error: &lessor::Error) -> Option<String> {
    if let Some(pause) = error.retry_after() {
        return Some(format!("try again in {}", humantime::format_duration(pause)));
    }
    let advice = match (error.code(), error.kind()) {
        (_, Some(Reason::PayloadTooLarge)) => "store it elsewhere and send a reference",
        (_, Some(Reason::BadLeaseToken)) => "use the token as `lessor lease` printed it",
        (_, Some(Reason::JobNotFound)) => {
            "check the name; a finished job is forgotten after its retention"
        }
        (_, Some(Reason::JobExists)) => "use that job, or choose another id",
        (_, Some(Reason::RequestIdReused)) => "use a new request id for a new request",
        (_, Some(Reason::LeaseLost)) => "drop the work, for another worker may have the job",
        (_, Some(Reason::LeaseSettled)) => "nothing is left to do for this lease",
        (_, Some(Reason::JobLeased)) => "cancel it, or revoke its lease first",
        (_, Some(Reason::QueueNotEmpty)) => "purge its jobs first, or delete them too with --force",
        (_, Some(Reason::EtagMismatch)) => "look at it again, then repeat the command",
        (_, Some(Reason::CursorTrimmed | Reason::StoreReset)) => {
            "begin again, with --oldest or from now"
        }
        (_, Some(Reason::Internal)) => "report it, with the broker's log",
        (Code::Unavailable, None) => "check that a broker runs there, or name another --server",
        (Code::DeadlineExceeded, _) => "try again, or give it more time with --timeout",
        (Code::Unavailable | Code::ResourceExhausted, _) => "try again later",
        (Code::Unimplemented, _) => "the broker is older than this command",
        _ => return None,
    };
    Some(advice.to_owned())
}
