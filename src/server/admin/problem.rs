//! Error answers of the admin server: problem details (RFC 9457).

use std::fmt;

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use utoipa::IntoResponses;

use crate::api::problem::{Candidate, JobFileProblem, ProblemDetails};
use crate::job::JobId;
use crate::jobfile;
use crate::server::body::BodyError;
use crate::store::error::StoreError;
use crate::store::job_files::IngestError;

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
    /// The estimate is above the limit of the request.
    TooExpensive,
    /// The `Idempotency-Key` belongs to another request.
    IdempotencyKeyReused,
    /// Only the daemon that leads can do it, and this one follows.
    NotLeader,
}

impl ProblemKind {
    const fn urn(self) -> &'static str {
        match self {
            Self::Generic => "about:blank",
            Self::InvalidJobFile => "urn:dropreel:problem:invalid-job-file",
            Self::DuplicateJob => "urn:dropreel:problem:duplicate-job",
            Self::AmbiguousJob => "urn:dropreel:problem:ambiguous-job",
            Self::IdempotencyKeyReused => "urn:dropreel:problem:idempotency-key-reused",
            Self::ActionRejected => "urn:dropreel:problem:action-rejected",
            Self::TooExpensive => "urn:dropreel:problem:too-expensive",
            Self::NotLeader => "urn:dropreel:problem:not-leader",
        }
    }

    const fn title(self) -> Option<&'static str> {
        match self {
            Self::Generic => None,
            Self::InvalidJobFile => Some("Invalid job file"),
            Self::DuplicateJob => Some("Duplicate job"),
            Self::AmbiguousJob => Some("Ambiguous job"),
            Self::IdempotencyKeyReused => Some("Idempotency key reused"),
            Self::ActionRejected => Some("Action rejected"),
            Self::TooExpensive => Some("Too expensive"),
            Self::NotLeader => Some("Not the leader"),
        }
    }
}

/// The error answers of every operation, for the OpenAPI document.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "describes what `Problem` answers")]
pub(super) enum ProblemResponses {
    /// The request is invalid or cannot be fulfilled.
    #[response(status = "4XX", content_type = "application/problem+json")]
    Client(ProblemDetails),
    /// The daemon failed to answer.
    #[response(status = "5XX", content_type = "application/problem+json")]
    Server(ProblemDetails),
}

/// An error answer.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    details: Box<ProblemDetails>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem whose status says it all; `detail` is a sentence for people.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::of(ProblemKind::Generic, status, detail)
    }

    fn of(kind: ProblemKind, status: StatusCode, detail: impl Into<String>) -> Self {
        let details = ProblemDetails {
            r#type: kind.urn().to_owned(),
            title: kind.title().or(status.canonical_reason()).unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            ..ProblemDetails::default()
        };
        Self { status, details: Box::new(details), headers: Vec::new() }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// This daemon follows another one, which asks the provider.
    pub(super) fn not_leader(leader: &str) -> Self {
        let detail =
            format!("this daemon follows {leader}, which alone asks the provider: send the request there");
        Self::of(ProblemKind::NotLeader, StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    pub(super) fn unknown_address() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no such address")
    }

    pub(super) fn method_not_allowed(methods: &[Method]) -> Self {
        let names = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("this address allows {names} only"));
        match HeaderValue::from_str(&names) {
            Ok(allowed) => problem.header(header::ALLOW, allowed),
            Err(_) => problem,
        }
    }

    pub(super) fn unknown_job(reference: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("no job has the id or name `{reference}`"))
    }

    /// `candidates` are the newest of the jobs that match.
    pub(super) fn ambiguous_job(reference: &str, candidates: Vec<Candidate>) -> Self {
        let detail = format!("several jobs match `{reference}`; use a full id");
        let mut problem = Self::of(ProblemKind::AmbiguousJob, StatusCode::CONFLICT, detail);
        problem.details.candidates = Some(candidates);
        problem
    }

    /// The jobs that a reference may mean.
    pub(super) fn candidates(&self) -> &[Candidate] {
        self.details.candidates.as_deref().unwrap_or_default()
    }

    /// The state of the jobs does not allow the action.
    pub(super) fn action_rejected(reason: impl Into<String>) -> Self {
        Self::of(ProblemKind::ActionRejected, StatusCode::CONFLICT, reason)
    }

    /// Adds the reasons why the daemon is not ready.
    pub(super) fn with_reasons(mut self, reasons: Vec<String>) -> Self {
        self.details.ready = Some(false);
        self.details.reasons = Some(reasons);
        self
    }

    /// Adds a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// A job file with these problems.
    pub(super) fn invalid_job_file(problems: &[jobfile::Problem]) -> Self {
        let detail = match problems {
            [] => "the job file is invalid".to_owned(),
            [one] => one.to_string(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        };
        let mut problem = Self::of(ProblemKind::InvalidJobFile, StatusCode::UNPROCESSABLE_ENTITY, detail);
        problem.details.errors = Some(problems.iter().map(job_file_problem).collect());
        problem
    }

    /// With the messages about a job file translated.
    pub(super) fn translated(mut self, translate: impl Fn(&str) -> String) -> Self {
        for error in self.details.errors.iter_mut().flatten() {
            error.message = translate(&error.message);
        }
        self
    }

    /// The jobs cost more than the request allows.
    pub(super) fn too_expensive(detail: impl Into<String>) -> Self {
        Self::of(ProblemKind::TooExpensive, StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// A limit is reached for now.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        Self::unavailable(detail)
    }

    /// A transient problem.
    fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .header(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))
    }

    fn duplicate(error: &IngestError, first: JobId) -> Self {
        let mut problem = Self::of(ProblemKind::DuplicateJob, StatusCode::CONFLICT, error.to_string());
        problem.details.first_job = Some(first);
        problem
    }
}

/// As the API shows it.
pub(super) fn job_file_problem(problem: &jobfile::Problem) -> JobFileProblem {
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
            StoreError::DiskFull(_) | StoreError::Busy | StoreError::Unavailable(_) => {
                tracing::warn!("admin request failed for now: {error}");
                Self::unavailable(error.to_string())
            }
            StoreError::FileReplaced | StoreError::Fatal(_) | StoreError::Closed => {
                tracing::error!("admin request failed: {error}");
                Self::unavailable(error.to_string())
            }
            StoreError::DuplicateTask(_)
            | StoreError::CorruptJob(_)
            | StoreError::UnknownWord { .. }
            | StoreError::Aborted(_)
            | StoreError::Database(_) => {
                tracing::error!("admin request failed: {error}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Duplicate { first, .. } | IngestError::KeyUsed { first, .. } => {
                Self::duplicate(&error, first)
            }
            IngestError::IdempotencyKeyReused => Self::of(
                ProblemKind::IdempotencyKeyReused,
                StatusCode::UNPROCESSABLE_ENTITY,
                error.to_string(),
            ),
            IngestError::KeyStaged { .. } => Self::unavailable(error.to_string()),
            IngestError::Unreadable(why) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, why),
            IngestError::Store(error) => error.into(),
        }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            BodyError::Malformed => StatusCode::BAD_REQUEST,
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
        let mut response = HttpResponseBuilder::new(self.status);
        for (name, value) in &self.headers {
            response.insert_header((name.clone(), value.clone()));
        }
        // Strings and numbers always serialize.
        let body = serde_json::to_vec(&self.details).unwrap_or_default();
        response.content_type("application/problem+json").body(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobfile::ObjectPlace;

    #[test]
    fn problem_has_the_members_of_rfc_9457_and_its_own() {
        let first = JobId::parse("019d5cb9-2b40-7bbb-8ccc-1234567890ab").unwrap();
        let problem =
            Problem::from(IngestError::KeyUsed { key: "k".into(), object: ObjectPlace::default(), first });
        let response = problem.error_response();
        assert_eq!(response.status(), 409);
        assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json");
        let body = actix_web::body::MessageBody::try_into_bytes(response.into_body()).unwrap();
        assert_eq!(
            body,
            r#"{"type":"urn:dropreel:problem:duplicate-job","title":"Duplicate job","status":409,"detail":"the key `k` was already used by job 019d5cb9-2b40-7bbb-8ccc-1234567890ab; a key is run once only","first_job":"019d5cb9-2b40-7bbb-8ccc-1234567890ab"}"#
        );
    }

    #[test]
    fn only_transient_store_errors_have_retry_after() {
        for error in
            [StoreError::DiskFull(None), StoreError::Busy, StoreError::FileReplaced, StoreError::Closed]
        {
            let response = Problem::from(error).error_response();
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers().get("retry-after").unwrap(), "5");
        }
        let bug = Problem::from(StoreError::Aborted("a bug".into())).error_response();
        assert_eq!((bug.status().as_u16(), bug.headers().contains_key("retry-after")), (500, false));
    }
}
