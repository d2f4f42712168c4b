//! Why a job does not run, as it is told.

use lessor_proto::v1;
use lessor_proto::v1::explain_job_response::Cause as ProtoCause;

use super::queue::large;
use super::time::{proto_moment, proto_span};
use crate::broker::explain::{Cause, Explanation};

/// Writes why a job does not run.
pub(in crate::rpc) fn explanation(explained: Explanation) -> v1::ExplainJobResponse {
    v1::ExplainJobResponse {
        causes: explained.causes.into_iter().map(proto_cause).collect(),
        jobs_ahead: large(explained.ahead),
        estimated_wait: explained.wait.map(proto_span),
    }
}

fn proto_cause(cause: Cause) -> ProtoCause {
    let metadata = cause.metadata.into_iter();
    ProtoCause {
        code: cause.code.to_owned(),
        message: cause.message,
        clears_at: cause.clears_at.map(proto_moment),
        metadata: metadata.map(|(key, value)| (key.to_owned(), value)).collect(),
    }
}
