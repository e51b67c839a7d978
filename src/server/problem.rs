//! Every error answer of the admin door: problem details after RFC 9457.

use std::fmt;

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::job::JobId;
use crate::jobfile;
use crate::server::body::BodyError;
use crate::store::error::StoreError;
use crate::store::intake::IngestError;

/// What passes by itself may be tried again after so many seconds.
const TRY_AGAIN: &str = "5";

/// What kind of problem it is, for programs: the `type` of RFC 9457. These words are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No more than the status says.
    Plain,
    /// The job file is wrong; `errors` says where and what.
    JobFile,
    /// It was taken in before; `first_job` says as what.
    SeenBefore,
    /// Several jobs are meant; `candidates` names the newest of them.
    Ambiguous,
    /// The job's state does not allow it.
    Refused,
}

impl Kind {
    const fn urn(self) -> &'static str {
        match self {
            Self::Plain => "about:blank",
            Self::JobFile => "urn:dropreel:problem:job-file",
            Self::SeenBefore => "urn:dropreel:problem:seen-before",
            Self::Ambiguous => "urn:dropreel:problem:ambiguous",
            Self::Refused => "urn:dropreel:problem:refused",
        }
    }

    const fn title(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::JobFile => Some("The job file is wrong"),
            Self::SeenBefore => Some("Taken in before"),
            Self::Ambiguous => Some("Several jobs are meant"),
            Self::Refused => Some("Not possible in this state"),
        }
    }
}

/// A problem as it is told.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    kind: Kind,
    detail: String,
    more: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Its members in the order of RFC 9457, section 3.1.
#[derive(Serialize)]
struct Members<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    more: &'a Map<String, Value>,
}

/// A problem as programs read it (RFC 9457). What else it has depends on its type: `errors` of a job file, `first_job` of
/// a repeated one, `candidates` for an ambiguous name, `reasons` of a daemon that is not ready.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[allow(dead_code, reason = "what `Members` and `Problem::with` write, said in the API's description")]
pub(super) struct ProblemView {
    /// `about:blank`, or a URN that names the kind.
    r#type: String,
    /// The kind, for people.
    title: String,
    status: u16,
    /// What happened and what to do, for people.
    detail: String,
    /// Everything wrong with a job file.
    #[schema(nullable = false)]
    errors: Option<Vec<FileProblemView>>,
    #[schema(nullable = false)]
    first_job: Option<String>,
    #[schema(nullable = false)]
    candidates: Option<Vec<CandidateView>>,
    #[schema(nullable = false)]
    reasons: Option<Vec<String>>,
}

/// One thing wrong with a job file.
#[derive(ToSchema)]
#[schema(as = FileProblem)]
#[allow(dead_code, reason = "as above")]
struct FileProblemView {
    /// Where in the document (RFC 6901).
    pointer: String,
    message: String,
    line: u64,
    column: u64,
}

/// A job that may be meant.
#[derive(ToSchema)]
#[schema(as = Candidate)]
#[allow(dead_code, reason = "as above")]
struct CandidateView {
    id: String,
    name: String,
    state: String,
}

impl Problem {
    /// A problem that the status names well enough; `detail` is a sentence for people.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::of(Kind::Plain, status, detail)
    }

    /// A problem of a kind of ours.
    pub(super) fn of(kind: Kind, status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), more: Map::new(), headers: Vec::new() }
    }

    /// The request itself is wrong.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is nothing at this address.
    pub(super) fn nothing_here() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing at this address")
    }

    /// There is something at this address, for these methods only.
    pub(super) fn only_for(methods: &[Method]) -> Self {
        let names = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("this address is for {names} only"));
        match HeaderValue::from_str(&names) {
            Ok(allowed) => problem.header(header::ALLOW, allowed),
            Err(_) => problem,
        }
    }

    /// With one more member.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
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
        Self::of(Kind::JobFile, StatusCode::UNPROCESSABLE_ENTITY, detail).with("errors", json!(problems))
    }

    fn passing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .header(header::RETRY_AFTER, HeaderValue::from_static(TRY_AGAIN))
    }

    fn seen_before(refusal: &IngestError, first: JobId) -> Self {
        Self::of(Kind::SeenBefore, StatusCode::CONFLICT, refusal.to_string())
            .with("first_job", first.to_string())
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
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status.canonical_reason().unwrap_or("Error");
        let members = Members {
            r#type: self.kind.urn(),
            title: self.kind.title().unwrap_or(status),
            status: self.status.as_u16(),
            detail: &self.detail,
            more: &self.more,
        };
        let mut answer = HttpResponseBuilder::new(self.status);
        for (name, value) in &self.headers {
            answer.insert_header((name.clone(), value.clone()));
        }
        // Texts and numbers always have a JSON form.
        let body = serde_json::to_vec(&members).unwrap_or_default();
        answer.content_type("application/problem+json").body(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_members_of_rfc_9457_in_their_order_and_its_own_behind() {
        let problem = Problem::of(Kind::SeenBefore, StatusCode::CONFLICT, "seen").with("first_job", "7");
        let answer = problem.error_response();
        assert_eq!(answer.status(), 409);
        assert_eq!(answer.headers().get("content-type").unwrap(), "application/problem+json");
        let body = actix_web::body::MessageBody::try_into_bytes(answer.into_body()).unwrap();
        assert_eq!(
            body,
            r#"{"type":"urn:dropreel:problem:seen-before","title":"Taken in before","status":409,"detail":"seen","first_job":"7"}"#
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
