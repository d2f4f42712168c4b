//! Errors as clients read them: code, reason and details.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, RpcStatusExt, StatusExt};

/// An error as clients read it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) reason: String,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) fields: Vec<String>,
    /// Name of the resource that it is about.
    pub(crate) resource: String,
    /// Subject of the precondition that failed.
    pub(crate) precondition: String,
    pub(crate) retry_after: Option<Duration>,
    /// Subject of the quota that is used up.
    pub(crate) quota: String,
}

impl Refusal {
    /// The error of a call that must have failed.
    pub(crate) fn of<T: Debug>(answer: Result<Response<T>, Status>) -> Self {
        let status = answer.unwrap_err();
        Self::read(status.code(), status.message(), &status.get_error_details())
    }

    /// The error of one item of a batch.
    pub(crate) fn of_item(status: &tonic_types::Status) -> Self {
        Self::read(status.code.into(), &status.message, &status.get_error_details())
    }

    fn read(code: Code, message: &str, details: &ErrorDetails) -> Self {
        let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {code} {message}"));
        assert_eq!(info.domain, "lessor.dev");
        let violations = details.bad_request().map_or(&[][..], |bad| &bad.field_violations);
        let preconditions = details.precondition_failure().map(|it| &it.violations);
        let quotas = details.quota_failure().map(|it| &it.violations);
        Self {
            code,
            message: message.to_owned(),
            reason: info.reason.clone(),
            metadata: info.metadata.clone(),
            fields: violations.iter().map(|violation| violation.field.clone()).collect(),
            resource: details
                .resource_info()
                .map(|it| it.resource_name.clone())
                .unwrap_or_default(),
            precondition: preconditions.map(|it| it[0].subject.clone()).unwrap_or_default(),
            quota: quotas.map(|it| it[0].subject.clone()).unwrap_or_default(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }

    /// Demands that this one field was refused, and nothing else.
    pub(crate) fn assert_field(&self, field: &str) {
        assert_eq!(
            (self.code, self.fields.as_slice()),
            (Code::InvalidArgument, &[field.to_owned()][..]),
            "{self:?}"
        );
    }
}
