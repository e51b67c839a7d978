//! Error answers of the admin server: problem details (RFC 9457).

use std::fmt;

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};

use crate::api::problem::{Candidate, JobFileProblem, ProblemDetails};
use crate::job::JobId;
use crate::jobfile;
use crate::server::body::BodyError;
use crate::store::error::StoreError;
use crate::store::intake::IngestError;

/// `Retry-After` of a transient problem, in seconds.
const RETRY_AFTER_SECONDS: &str = "5";

/// The `type` of RFC 9457. The URNs are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProblemKind {
    /// The HTTP status says it all.
    Generic,
    /// The job file is invalid; `errors` lists where and why.
    InvalidJobFile,
    /// The job file or its key was accepted before; `first_job` is the job made then.
    DuplicateJob,
    /// Several jobs match the reference; `candidates` lists the newest.
    AmbiguousJob,
    /// The state of the job does not allow the action.
    ActionRejected,
}

impl ProblemKind {
    const fn urn(self) -> &'static str {
        match self {
            Self::Generic => "about:blank",
            Self::InvalidJobFile => "urn:dropreel:problem:invalid-job-file",
            Self::DuplicateJob => "urn:dropreel:problem:duplicate-job",
            Self::AmbiguousJob => "urn:dropreel:problem:ambiguous-job",
            Self::ActionRejected => "urn:dropreel:problem:action-rejected",
        }
    }

    const fn title(self) -> Option<&'static str> {
        match self {
            Self::Generic => None,
            Self::InvalidJobFile => Some("Invalid job file"),
            Self::DuplicateJob => Some("Duplicate job"),
            Self::AmbiguousJob => Some("Ambiguous job"),
            Self::ActionRejected => Some("Action rejected"),
        }
    }
}

/// A problem as it is told.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    details: Box<ProblemDetails>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem that the status names well enough; `detail` is a sentence for people.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::of(ProblemKind::Generic, status, detail)
    }

    /// A problem of a kind of ours.
    pub(super) fn of(kind: ProblemKind, status: StatusCode, detail: impl Into<String>) -> Self {
        let details = ProblemDetails {
            r#type: kind.urn().to_owned(),
            title: kind.title().or(status.canonical_reason()).unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            ..ProblemDetails::default()
        };
        Self { status, details: Box::new(details), headers: Vec::new() }
    }

    /// The request itself is wrong.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is nothing at this address.
    pub(super) fn nothing_here() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no such address")
    }

    /// There is something at this address, for these methods only.
    pub(super) fn only_for(methods: &[Method]) -> Self {
        let names = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("this address allows {names} only"));
        match HeaderValue::from_str(&names) {
            Ok(allowed) => problem.header(header::ALLOW, allowed),
            Err(_) => problem,
        }
    }

    /// With the jobs that may be meant.
    pub(super) fn with_candidates(mut self, candidates: Vec<Candidate>) -> Self {
        self.details.candidates = Some(candidates);
        self
    }

    /// With the reasons why the daemon is not ready.
    pub(super) fn with_reasons(mut self, reasons: Vec<String>) -> Self {
        self.details.ready = Some(false);
        self.details.reasons = Some(reasons);
        self
    }

    /// With a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// A job file that is wrong, with everything that is wrong with it.
    pub(super) fn job_file(problems: &[jobfile::Problem]) -> Self {
        let detail = match problems {
            [] => "the job file is refused".to_owned(),
            [one] => one.to_string(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        };
        let mut problem = Self::of(ProblemKind::InvalidJobFile, StatusCode::UNPROCESSABLE_ENTITY, detail);
        problem.details.errors = Some(problems.iter().map(file_problem).collect());
        problem
    }

    fn passing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .header(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))
    }

    fn seen_before(refusal: &IngestError, first: JobId) -> Self {
        let mut problem = Self::of(ProblemKind::DuplicateJob, StatusCode::CONFLICT, refusal.to_string());
        problem.details.first_job = Some(first);
        problem
    }
}

fn file_problem(problem: &jobfile::Problem) -> JobFileProblem {
    JobFileProblem {
        pointer: problem.pointer.clone(),
        message: problem.message.clone(),
        line: problem.line,
        column: problem.column,
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchJob(_) => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            StoreError::DiskFull | StoreError::Busy => {
                tracing::warn!("the admin door could not answer for now: {error}");
                Self::passing(error.to_string())
            }
            StoreError::Fatal(_) | StoreError::Closed => {
                tracing::error!("the admin door could not answer: {error}");
                Self::passing(error.to_string())
            }
            StoreError::TaskTaken(_)
            | StoreError::Broken(_)
            | StoreError::UnknownWord { .. }
            | StoreError::Abandoned(_)
            | StoreError::Sqlite(_) => {
                tracing::error!("the admin door could not answer: {error}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Repeated { first, .. } | IngestError::KeySeen { first, .. } => {
                Self::seen_before(&error, first)
            }
            IngestError::Unread(why) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, why),
            IngestError::Store(error) => error.into(),
        }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.details.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponseBuilder::new(self.status);
        for (name, value) in &self.headers {
            answer.insert_header((name.clone(), value.clone()));
        }
        // Texts and numbers always have a JSON form.
        let body = serde_json::to_vec(&self.details).unwrap_or_default();
        answer.content_type("application/problem+json").body(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_members_of_rfc_9457_in_their_order_and_its_own_behind() {
        let first = JobId::parse("019d5cb9-2b40-7bbb-8ccc-1234567890ab").unwrap();
        let problem = Problem::from(IngestError::KeySeen { key: "k".into(), place: 0, first });
        let answer = problem.error_response();
        assert_eq!(answer.status(), 409);
        assert_eq!(answer.headers().get("content-type").unwrap(), "application/problem+json");
        let body = actix_web::body::MessageBody::try_into_bytes(answer.into_body()).unwrap();
        assert_eq!(
            body,
            r#"{"type":"urn:dropreel:problem:duplicate-job","title":"Duplicate job","status":409,"detail":"the key `k` was already used by job 019d5cb9-2b40-7bbb-8ccc-1234567890ab; a key is run once only","first_job":"019d5cb9-2b40-7bbb-8ccc-1234567890ab"}"#
        );
    }

    #[test]
    fn what_passes_by_itself_says_when_to_try_again() {
        for error in [StoreError::DiskFull, StoreError::Busy, StoreError::Closed] {
            let answer = Problem::from(error).error_response();
            assert_eq!(answer.status(), 503);
            assert_eq!(answer.headers().get("retry-after").unwrap(), "5");
        }
        let bug = Problem::from(StoreError::Abandoned("a bug".into())).error_response();
        assert_eq!((bug.status().as_u16(), bug.headers().contains_key("retry-after")), (500, false));
    }
}
