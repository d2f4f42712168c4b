//! The audit log: structured lines under the target `lessor::audit`, one for each change that
//! operators and administrators make and for each refusal. They tell who did what to what, and how
//! it ended; never a token, never a payload.

use http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::access::Caller;
use crate::auth::Principal;
use crate::rpc::status::Fault;

const TARGET: &str = "lessor::audit";

/// Writes down that a call was not let in.
pub(super) fn refused(principal: Option<&Principal>, path: &str, fault: &Fault) {
    let principal = principal.map_or("", Principal::name);
    let reason = fault.word();
    tracing::warn!(target: TARGET, principal, call = path, outcome = "refused", reason, "refused");
}

/// Writes down how a call ended, if that is of interest.
pub(super) fn answered(caller: &Caller, headers: &HeaderMap) {
    let (principal, call) = (caller.principal.name(), caller.call.path());
    // A status stands among the headers when there is nothing but a status.
    let failed = Status::from_header_map(headers).filter(|status| status.code() != Code::Ok);
    let is_refused = failed.as_ref().is_some_and(|status| status.code() == Code::PermissionDenied);
    if !is_refused && !caller.call.rule().is_audited {
        return;
    }
    let subject = caller.subject.get().map_or("", String::as_str);
    let Some(status) = failed else {
        tracing::info!(target: TARGET, principal, call, subject, outcome = "done", "done");
        return;
    };
    let info = status.get_error_details().error_info().map(|info| info.reason.clone());
    let reason = info.unwrap_or_default();
    if is_refused {
        tracing::warn!(
            target: TARGET, principal, call, subject, outcome = "refused", reason, "refused"
        );
    } else {
        tracing::info!(
            target: TARGET, principal, call, subject, outcome = "failed", reason, "failed"
        );
    }
}
