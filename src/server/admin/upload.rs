//! `POST /api/v1/jobs`: accepts a job file with the checks of the inbox, and answers at once.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

use crate::api::estimate::CostEstimate;
use crate::api::list::CreatedJobs;
use crate::failpoints::{self, FailPoint};
use crate::job::JobId;
use crate::jobfile::{
    self, Defaults, DefaultsFile, Draft, Form, Inspection, JobFileReader, LineError, Lines,
    MAX_DEFAULTS_BYTES, MAX_PROBLEMS, inputs_sha256,
};
use crate::money::Quota;
use crate::pricing::total::EstimateTotal;
use crate::rng::Rng;
use crate::server::admin::http::{json_response, media_type};
use crate::server::admin::pictures::{HandedOver, MAX_NAMES_BYTES};
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::query::Query;
use crate::server::admin::state::AdminState;
use crate::server::body::{BodyLimit, declared_length, read_body};
use crate::sha256::sha256_hex;
use crate::store::estimates::Bodies;
use crate::store::job_files::idempotency::IdempotencyKey;
use crate::store::job_files::{Drafts, FileToIngest, Source};
use crate::store::new_jobs::NewDrafts;

/// The name of jobs from a file without a name.
const DEFAULT_NAME: &str = "job";
/// Most new jobs in the answer; `count` is the number of all.
const MAX_SHOWN: usize = 500;

/// A job file in the body of a request.
#[derive(Clone)]
pub(super) struct Upload {
    pub(super) name: Option<String>,
    form: Form,
    reader: JobFileReader,
    /// How many bytes at the beginning of the body name pictures.
    picture_names: Option<usize>,
    /// How many bytes of the body behind them are defaults, and how messages name them.
    defaults: Option<(usize, String)>,
    /// The local pictures that its requests may name.
    pictures: HandedOver,
    /// Of what names pictures, for the idempotency key.
    picture_names_sha256: Option<String>,
    /// Of the request, if it may be repeated.
    idempotency_key: Option<String>,
    /// The most that its jobs may cost in all.
    max_cost: Option<Quota>,
    /// Run its jobs although the same file was accepted within 24 hours.
    again: bool,
}

/// `POST /api/v1/jobs`: accepts a job file as a whole, or rejects it.
#[utoipa::path(
    post,
    path = "/api/v1/jobs",
    tag = "jobs",
    summary = "Submit a job file; it is accepted as a whole or rejected. The provider bills every job",
    params(
        ("name" = Option<String>, Query, description = "The file name without its folder; jobs are named after it"),
        ("pictures_bytes" = Option<u64>, Query, description = "How many bytes at the beginning of the body are a JSON object that gives each local picture, by its path in the job file, the name that POST /api/v1/pictures answered. A request may also use that name itself"),
        ("defaults_bytes" = Option<u64>, Query, description = "How many bytes, behind the pictures, are defaults (as in defaults.json); the job file follows"),
        ("defaults_name" = Option<String>, Query, description = "How messages and the jobs name the defaults"),
        ("max_cost_usd" = Option<f64>, Query, description = "Accept nothing if the estimate of all jobs is above this", minimum = 0),
        ("again" = Option<bool>, Query, description = "Run the jobs although the same file was accepted within 24 hours, as `again` in their `dropreel` object does"),
        ("Idempotency-Key" = Option<String>, Header, description = "Up to 255 characters of your choice. The same key with the same request makes no further job and gets the same jobs as answer, for a week; with another request: 422")
    ),
    request_body(description = "A job file (schema/job-file.schema.json): one object or an array; one object per line as application/x-ndjson; a table as text/csv; one prompt per line as text/x-prompts", content((Object = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"), (String = "text/x-prompts"))),
    responses(
        (status = 201, description = "The jobs are committed", body = CreatedJobs),
        ProblemResponses
    )
)]
pub(super) async fn submit_jobs(
    request: HttpRequest,
    mut body: web::Payload,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let parameters = ["name", "max_cost_usd", "again", "pictures_bytes", "defaults_bytes", "defaults_name"];
    let upload = Upload::from_request(&request, &admin, &parameters)?;
    // Held until the jobs are committed.
    let _permit = match upload.is_long(&request) {
        true => Some(admin.long_upload.acquire().await),
        false => None,
    };
    let limit = upload.limit(&admin);
    let bytes = Bytes::from(read_body(&request, &mut body, limit, &admin.server.clock).await?);
    let (upload, bytes) = upload.take_picture_names(bytes, &admin)?;
    let (upload, bytes) =
        upload.take_defaults(bytes)?.map_err(|problems| Problem::invalid_job_file(&problems))?;
    let _copies_stay = admin.server.pictures.keep_all().await;
    let limited = upload.max_cost.map(|max_cost| (max_cost, upload.clone(), bytes.clone()));
    let (file, drafts) = web::block(move || upload.read(bytes)).await.map_err(|_| panicked())??;
    if let Some((max_cost, upload, bytes)) = limited
        && !admin.server.store.was_ingested(file.clone()).await?
    {
        let total = admin.server.store.estimate_all(upload.bodies(bytes)).await?;
        check_cost(&total, max_cost)?;
    }
    let name = file.file_name.clone().unwrap_or_else(|| "a job file without a name".to_owned());
    let ingested = admin.server.store.ingest(file, drafts, admin.server.clock.now()).await?;
    failpoints::hit(FailPoint::ApiJobsCommitted);
    let count = ingested.jobs.len();
    tracing::info!("accepted {name} by HTTP: {count} job{}", if count == 1 { "" } else { "s" });
    Ok(created_response(&admin, &ingested.jobs).await)
}

/// The answer once the jobs are committed. It is 201 even if they cannot be read back: a client that sees an
/// error would submit them again.
pub(super) async fn created_response(admin: &AdminState, jobs: &[JobId]) -> HttpResponse {
    let mut jobs_shown = Vec::new();
    for job in jobs.iter().take(MAX_SHOWN) {
        match admin.server.store.details(*job).await {
            Ok(details) => jobs_shown.push(details),
            Err(error) => {
                tracing::warn!("new jobs not in the answer: {error}");
                break;
            }
        }
    }
    let views = admin.job_views(&jobs_shown).await.unwrap_or_else(|error| {
        tracing::warn!("new jobs not in the answer: {error}");
        Vec::new()
    });
    json_response(StatusCode::CREATED, &CreatedJobs { jobs: views, count: jobs.len() })
}

pub(super) fn check_cost(total: &EstimateTotal, max_cost: Quota) -> Result<(), Problem> {
    if total.quota <= max_cost {
        return Ok(());
    }
    let cost = CostEstimate::from(total).describe();
    let jobs = if total.jobs == 1 { "1 job".to_owned() } else { format!("{} jobs", total.jobs) };
    Err(Problem::too_expensive(format!(
        "{jobs}, {cost}: more than the limit of {max_cost}; nothing was accepted"
    )))
}

pub(super) fn panicked() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a bug: reading the job file panicked")
}

impl Upload {
    /// From a request that may have these parameters.
    pub(super) fn from_request(
        request: &HttpRequest,
        admin: &AdminState,
        parameters: &[&'static str],
    ) -> Result<Self, Problem> {
        let query = Query::parse(request, parameters)?;
        let name = query.single("name")?.filter(|name| !name.is_empty()).map(str::to_owned);
        if let Some(name) = &name {
            let is_file_name = !name.contains(['/', '\0']) && name.len() <= 255;
            is_file_name
                .then_some(())
                .ok_or_else(|| Problem::bad_request("`name` must be a file name without its folder"))?;
        }
        let form = media_type(request.headers()).and_then(|media_type| Form::of_media_type(&media_type));
        let form = form.unwrap_or(Form::Document);
        let defaults_name = query.single("defaults_name")?.filter(|name| !name.is_empty());
        let defaults = query.number("defaults_bytes")?.map(|bytes| {
            let name = defaults_name.unwrap_or("the defaults").to_owned();
            (usize::try_from(bytes).unwrap_or(usize::MAX), name)
        });
        let picture_names = query.number("pictures_bytes")?;
        let picture_names = picture_names.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let idempotency_key = read_idempotency_key(request)?;
        let max_cost = read_max_cost(&query)?;
        let again = match query.single("again")? {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Problem::bad_request("`again` must be `true` or `false`")),
        };
        Ok(Self {
            name,
            form,
            reader: JobFileReader::new(admin.server.file_limits.clone(), admin.server.rng.clone()),
            picture_names,
            defaults,
            pictures: HandedOver::new(admin, BTreeMap::new()),
            picture_names_sha256: None,
            idempotency_key,
            max_cost,
            again,
        })
    }

    /// Takes what names pictures from the beginning of the body, and returns the rest.
    pub(super) fn take_picture_names(
        self,
        mut body: Bytes,
        admin: &AdminState,
    ) -> Result<(Self, Bytes), Problem> {
        let Some(bytes) = self.picture_names else { return Ok((self, body)) };
        if bytes > body.len() {
            return Err(Problem::bad_request("the body is shorter than its `pictures_bytes`"));
        }
        let names = body.split_to(bytes);
        let pictures = HandedOver::named_in(admin, &names)?;
        Ok((Self { pictures, picture_names_sha256: Some(sha256_hex(&names)), ..self }, body))
    }

    /// Takes the defaults from the beginning of the body, and returns the job file that follows. The inner error has what is
    /// wrong with the defaults.
    pub(super) fn take_defaults(
        self,
        mut body: Bytes,
    ) -> Result<Result<(Self, Bytes), Vec<jobfile::Problem>>, Problem> {
        let Some((bytes, name)) = &self.defaults else { return Ok(Ok((self, body))) };
        if *bytes > body.len() {
            return Err(Problem::bad_request("the body is shorter than its `defaults_bytes`"));
        }
        match DefaultsFile::read(name, &body.split_to(*bytes)) {
            Ok(file) => {
                let reader = self.reader.with_defaults(Arc::new(Defaults::new("", [&file])));
                Ok(Ok((Self { reader, ..self }, body)))
            }
            Err(refusal) => Ok(Err(jobfile::bad_defaults(name, &refusal))),
        }
    }

    /// The key with a digest of the request: of its form, its name, its body, its defaults, and whether to run it again.
    fn idempotency_key(&self, body: &[u8]) -> Option<IdempotencyKey> {
        let key = self.idempotency_key.clone()?;
        let again = if self.again { "\0again" } else { "" };
        let mut request = format!("{:?}\0{:?}\0{}{again}", self.form, self.name, sha256_hex(body));
        if let Some(defaults) = self.reader.defaults.sha256() {
            request += &format!("\0{defaults}");
        }
        if let Some(names) = &self.picture_names_sha256 {
            request += &format!("\0pictures {names}");
        }
        Some(IdempotencyKey { key, request_sha256: sha256_hex(request.as_bytes()) })
    }

    pub(super) fn limit(&self, admin: &AdminState) -> BodyLimit {
        let limits = &self.reader.limits;
        let (max_bytes, timeout) = match self.form {
            Form::Document => (limits.max_bytes, admin.limits.document_timeout),
            _ => (limits.max_stream_bytes, admin.limits.lines_timeout),
        };
        let of_defaults = if self.defaults.is_some() { MAX_DEFAULTS_BYTES } else { 0 };
        let of_pictures = if self.picture_names.is_some() { MAX_NAMES_BYTES } else { 0 };
        BodyLimit { max_bytes: max_bytes + of_defaults + of_pictures, timeout }
    }

    /// Whether it is, or may be, longer than a document may be.
    pub(super) fn is_long(&self, request: &HttpRequest) -> bool {
        self.form != Form::Document
            && declared_length(request).is_none_or(|length| length > self.reader.limits.max_bytes)
    }

    /// What the checks find in it; each of its jobs goes to `each`. Blocks.
    pub(super) fn inspect(&self, bytes: &[u8], mut each: impl FnMut(&Draft)) -> Inspection {
        if let Some(why) = self.name.as_deref().and_then(jobfile::refused_name) {
            return Inspection::rejected(why);
        }
        let mut missing = Vec::new();
        let each = |draft: &mut Draft| {
            if missing.len() < MAX_PROBLEMS {
                missing.extend(self.pictures.preview(draft));
            }
            each(draft);
        };
        let mut found = match self.form {
            Form::Document => Inspection::of_document(&self.reader, bytes, self.stem(), each),
            form => Inspection::of_lines(&self.reader, form, bytes, self.stem(), each)
                .unwrap_or_else(|error| Inspection::rejected(&error.to_string())),
        };
        found.errors.append(&mut missing);
        found
    }

    /// The requests of its jobs, see [`Self::drafts`].
    pub(super) fn bodies(self, bytes: Bytes) -> Bodies {
        Box::new(self.drafts(bytes).map(|draft| draft.body))
    }

    /// Its jobs, as far as it can be read. They are parsed as they are taken.
    ///
    /// `repeat` draws the same seeds each time, so that quotes are found again.
    pub(super) fn drafts(self, bytes: Bytes) -> NewDrafts {
        let again = self.again;
        let reader = JobFileReader { rng: Rng::seeded(0), ..self.reader.clone() };
        let allow = move |draft: Draft| Draft { again: draft.again || again, ..draft };
        match self.form {
            Form::Document => {
                let drafts = reader.read_document(&bytes, self.stem()).unwrap_or_default();
                Box::new(drafts.into_iter().map(allow))
            }
            form => {
                let lines = reader.read_lines(form, Cursor::new(bytes), self.stem());
                Box::new(lines.filter_map(Result::ok).map(allow))
            }
        }
    }

    /// The file as the store knows it.
    pub(super) fn file(&self, bytes: &[u8]) -> FileToIngest {
        FileToIngest {
            source: Source::Api,
            idempotency_key: self.idempotency_key(bytes),
            file_name: self.name.clone(),
            inputs_sha256: inputs_sha256(&self.reader.defaults, self.pictures.contents()),
            sha256: sha256_hex(bytes),
            bytes: bytes.len() as u64,
        }
    }

    fn stem(&self) -> &str {
        self.name.as_deref().map_or(DEFAULT_NAME, jobfile::stem)
    }

    /// Parses and checks the whole file. Blocks.
    fn read(self, bytes: Bytes) -> Result<(FileToIngest, Drafts), Problem> {
        if let Some(why) = self.name.as_deref().and_then(jobfile::refused_name) {
            return Err(Problem::invalid_job_file(&[file_problem(why)]));
        }
        let (file, stem, again) = (self.file(&bytes), self.stem().to_owned(), self.again);
        let pictures = self.pictures;
        let allow = move |draft: Draft| Draft { again: draft.again || again, ..draft };
        let drafts: Drafts = match self.form {
            Form::Document => {
                let drafts = self.reader.read_document(&bytes, &stem);
                let drafts = drafts.map_err(|refusal| Problem::invalid_job_file(&refusal.problems))?;
                Box::new(pictures.resolve_all(drafts)?.into_iter().map(move |draft| Ok(allow(draft))))
            }
            form => {
                check_lines(self.reader.read_lines(form, &bytes[..], &stem), &pictures)?;
                // Parsed again while the jobs are written: all drafts at once would need more memory than the
                // file.
                let lines = self.reader.read_lines(form, Cursor::new(bytes), &stem);
                Box::new(lines.map(move |line| {
                    let draft = line.map(allow).map_err(|error| error.to_string())?;
                    pictures.resolve(draft).map_err(|problems| described(&problems))
                }))
            }
        };
        Ok((file, drafts))
    }
}

/// The most that all jobs of a request may cost.
pub(super) fn read_max_cost(query: &Query) -> Result<Option<Quota>, Problem> {
    let Some(usd) = query.single("max_cost_usd")? else { return Ok(None) };
    let example = "`max_cost_usd` must be an amount in US dollars, such as 0.5";
    Quota::parse_usd(usd).map(Some).ok_or_else(|| Problem::bad_request(example))
}

/// The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header): any visible text, in quotes or without.
pub(super) fn read_idempotency_key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let mut keys = request.headers().get_all("idempotency-key");
    let Some(key) = keys.next() else { return Ok(None) };
    let text = key.to_str().map(|key| key.trim().trim_matches('"')).unwrap_or_default();
    if keys.next().is_some() || text.is_empty() || text.len() > 255 {
        return Err(Problem::bad_request(
            "`Idempotency-Key` must be one text of 1 to 255 visible characters",
        ));
    }
    Ok(Some(text.to_owned()))
}

fn described(problems: &[jobfile::Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn check_lines(lines: Lines<&[u8]>, pictures: &HandedOver) -> Result<(), Problem> {
    let mut problems = Vec::new();
    for line in lines {
        match line {
            Ok(draft) => problems.extend(pictures.resolve(draft).err().unwrap_or_default()),
            Err(LineError::Refused(refusal)) => problems.extend(refusal.problems),
            Err(LineError::Unreadable(error)) => problems.push(file_problem(&error.to_string())),
        }
    }
    // One more than the limit: the last says how many were left out.
    problems.truncate(MAX_PROBLEMS + 1);
    if problems.is_empty() { Ok(()) } else { Err(Problem::invalid_job_file(&problems)) }
}

fn file_problem(message: &str) -> jobfile::Problem {
    jobfile::Problem { pointer: String::new(), message: message.to_owned(), line: 1, column: 1 }
}
