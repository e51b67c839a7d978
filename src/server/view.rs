//! A job as the API shows it (docs/reference.md#http). The view is not the row: the row may change without
//! it, and nothing secret is in it by accident.

use std::borrow::Cow;
#[allow(unused_imports, reason = "named in the description of the API")]
use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::job::output::{OutputKind, StoredFile};
use crate::job::state::State;
use crate::job::{JobError, JobId, Labels, Priority};
use crate::money::Quota;
use crate::store::query::{HistoryEntry, JobDetails};

/// A job. `history` and `request` are only in a job shown alone.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub(super) struct JobView<'a> {
    #[schema(value_type = String, format = "uuid")]
    id: JobId,
    name: &'a str,
    #[schema(value_type = StateWord)]
    state: &'static str,
    /// What it waits for, or why it is held and which command goes on.
    #[schema(value_type = Option<String>)]
    reason: Option<Cow<'a, str>>,
    task_id: Option<&'a str>,
    model: &'a str,
    prompt: Option<&'a str>,
    /// 0 to 100, as the provider told it last.
    #[schema(maximum = 100)]
    progress: u8,
    /// Higher first.
    #[schema(value_type = i32, minimum = -100, maximum = 100)]
    priority: Priority,
    #[schema(value_type = BTreeMap<String, String>)]
    labels: &'a Labels,
    /// What it was charged; 500,000 are one US dollar.
    #[schema(value_type = Option<i64>)]
    cost_quota: Option<Quota>,
    cost_usd: Option<f64>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    submitted_at: Option<Timestamp>,
    /// When the provider finished it.
    #[schema(value_type = Option<String>, format = DateTime)]
    completed_at: Option<Timestamp>,
    /// When it ended here.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// When its first link dies, while something is still to be downloaded.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    files: Vec<FileView<'a>>,
    #[schema(value_type = Option<ErrorView>)]
    error: Option<&'a JobError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    history: Option<Vec<HistoryView<'a>>>,
    /// The user's own text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    request: Option<&'a RawValue>,
}

/// A file in the library.
#[derive(Serialize, ToSchema)]
#[schema(as = File)]
struct FileView<'a> {
    #[schema(value_type = String)]
    path: Cow<'a, str>,
    #[schema(value_type = KindWord)]
    kind: &'static str,
    bytes: u64,
    sha256: &'a str,
    /// The host it came from.
    url_host: &'a str,
}

/// Something that happened.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryEntry)]
struct HistoryView<'a> {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    event: &'a str,
    detail: &'a str,
}

/// Why a job failed.
#[derive(ToSchema)]
#[schema(as = JobError)]
#[allow(dead_code, reason = "says in the API's description what another room's type looks like")]
struct ErrorView {
    /// For programs.
    code: String,
    /// For people.
    message: String,
}

/// The states of a job.
#[derive(ToSchema)]
#[schema(as = State, rename_all = "lowercase")]
#[allow(dead_code, reason = "as above; a test holds it to the words there are")]
pub(super) enum StateWord {
    Pending,
    Submitting,
    Queued,
    Processing,
    Downloading,
    Succeeded,
    Failed,
    Cancelled,
    Expired,
    Held,
}

/// What an output is.
#[derive(ToSchema)]
#[schema(as = Kind, rename_all = "lowercase")]
#[allow(dead_code, reason = "as above")]
enum KindWord {
    Video,
    Image,
    Audio,
}

impl<'a> JobView<'a> {
    /// The job as lists and events show it; files are given with their place on this machine.
    pub(super) fn of(sight: &'a JobDetails, library_dir: &Path) -> Self {
        let (identity, learned) = (sight.job.identity(), sight.job.learned());
        let ended = sight.job.state_name().is_end();
        Self {
            id: identity.id,
            name: &identity.name,
            state: sight.job.state_name().as_str(),
            reason: match sight.job.state() {
                State::Held(hold) => Some(Cow::Owned(hold.sentence(identity.id))),
                _ => learned.remark.as_deref().map(Cow::Borrowed),
            },
            task_id: sight.job.task().map(crate::job::TaskId::as_str),
            model: &identity.model,
            prompt: sight.prompt.as_deref(),
            progress: learned.progress,
            priority: identity.priority,
            labels: &sight.labels,
            cost_quota: learned.cost,
            cost_usd: learned.cost.map(Quota::usd),
            created_at: identity.created_at,
            submitted_at: learned.submitted_at,
            completed_at: learned.completed_at,
            finished_at: learned.finished_at,
            // A job at its end has nothing left that could die.
            expires_at: learned.expires_at.filter(|_| !ended),
            files: sight.files.iter().map(|(kind, file)| FileView::of(*kind, file, library_dir)).collect(),
            error: learned.error.as_ref(),
            history: None,
            request: None,
        }
    }

    /// The job as it is shown alone: with its history, and with what the user asked for, in the user's own text.
    pub(super) fn in_full(
        sight: &'a JobDetails,
        library_dir: &Path,
        history: &'a [HistoryEntry],
        request: Option<&'a RawValue>,
    ) -> Self {
        let entries = history.iter().map(|entry| HistoryView {
            at: entry.at,
            event: &entry.event,
            detail: &entry.detail,
        });
        Self { history: Some(entries.collect()), request, ..Self::of(sight, library_dir) }
    }
}

/// A job as the API shows it, for hooks: they are told what programs are shown.
pub fn described(sight: &JobDetails, library_dir: &Path) -> serde_json::Value {
    // Texts, numbers and maps of texts always have a JSON form.
    serde_json::to_value(JobView::of(sight, library_dir)).unwrap_or_default()
}

impl<'a> FileView<'a> {
    fn of(kind: OutputKind, file: &'a StoredFile, library_dir: &Path) -> Self {
        Self {
            path: Cow::Owned(library_dir.join(&file.path).to_string_lossy().into_owned()),
            kind: kind.as_str(),
            bytes: file.bytes,
            sha256: &file.sha256,
            url_host: &file.host,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::hold::HoldReason;
    use crate::job::output::{Output, OutputKey, OutputState, Refusals};
    use crate::job::record::Record;
    use crate::job::state::StateName;
    use crate::job::{Identity, Job, JobFacts, TaskId};
    use crate::secret::Secret;
    use crate::server::rig::NOW;

    /// A job that has everything a job can have while it is being fetched.
    fn record() -> Record {
        let id = JobId::parse("019d5cb9-2b40-7bbb-8ccc-1234567890ab").unwrap();
        let identity = Identity {
            id,
            name: "sakura".into(),
            model: "wan2.5-t2v".into(),
            priority: Priority::new(10).unwrap(),
            created_at: NOW,
        };
        let later = |seconds| Some(NOW.plus(Duration::from_secs(seconds)));
        let waiting = OutputState::Waiting {
            link: Secret::new("https://media.example.com/a.mp4?sig=canary"),
            refusals: Refusals::default(),
            unfit: 0,
        };
        let key = OutputKey { kind: OutputKind::Video, index: 1 };
        Record {
            learned: JobFacts {
                progress: 100,
                reserved: Some(Quota::new(80_000)),
                cost: Some(Quota::new(75_000)),
                submitted_at: later(1),
                completed_at: later(61),
                expires_at: later(86_461),
                remark: Some("media.example.com is busy".into()),
                ..JobFacts::default()
            },
            task: TaskId::parse("task_1"),
            outputs: vec![Output { key, expires_at: NOW, state: waiting }],
            state: StateName::Downloading,
            ..Job::accept(identity, None).record()
        }
    }

    fn sight(job: Job) -> JobDetails {
        let file = StoredFile {
            path: "2026-04-04/sakura.mp4".into(),
            bytes: 1_234_567,
            sha256: "ab".repeat(32),
            host: "media.example.com".into(),
            stored_at: NOW,
        };
        JobDetails {
            job,
            prompt: Some("春天的\"樱花\"树下".into()),
            labels: [("project".to_owned(), "spring".to_owned())].into(),
            files: vec![(OutputKind::Video, file)],
            changed: 7,
        }
    }

    #[test]
    fn job_view_matches_the_reference() {
        let sight = sight(Job::restore(record()).unwrap());
        let history = [HistoryEntry { at: NOW, event: "accepted".into(), detail: "sakura.json".into() }];
        let request: Box<RawValue> = serde_json::from_str(r#"{"model":"wan2.5-t2v", "seed":1.10}"#).unwrap();
        let view = JobView::in_full(&sight, Path::new("/srv/videos"), &history, Some(&request));
        let expected = concat!(
            r#"{"id":"019d5cb9-2b40-7bbb-8ccc-1234567890ab","name":"sakura","state":"downloading","#,
            r#""reason":"media.example.com is busy","task_id":"task_1","model":"wan2.5-t2v","#,
            r#""prompt":"春天的\"樱花\"树下","progress":100,"priority":10,"labels":{"project":"spring"},"#,
            r#""cost_quota":75000,"cost_usd":0.15,"created_at":"2026-04-04T06:46:00.000Z","#,
            r#""submitted_at":"2026-04-04T06:46:01.000Z","completed_at":"2026-04-04T06:47:01.000Z","#,
            r#""finished_at":null,"expires_at":"2026-04-05T06:47:01.000Z","#,
            r#""files":[{"path":"/srv/videos/2026-04-04/sakura.mp4","kind":"video","bytes":1234567,"#,
            r#""sha256":"abababababababababababababababababababababababababababababababab","#,
            r#""url_host":"media.example.com"}],"error":null,"#,
            r#""history":[{"at":"2026-04-04T06:46:00.000Z","event":"accepted","detail":"sakura.json"}],"#,
            r#""request":{"model":"wan2.5-t2v", "seed":1.10}}"#,
        );
        assert_eq!(serde_json::to_string(&view).unwrap(), expected);
    }

    #[test]
    fn a_held_job_says_for_what_it_waits_and_a_finished_one_has_no_deadline() {
        let shown = |record: Record| {
            let sight = sight(Job::restore(record).unwrap());
            serde_json::to_value(JobView::of(&sight, Path::new("/v"))).unwrap()
        };
        let hold = Some((HoldReason::MediaForbidden, "10.0.0.1".to_owned()));
        let back_to = Some(StateName::Downloading);
        let held = shown(Record { state: StateName::Held, hold, back_to, ..record() });
        assert!(held["reason"].as_str().unwrap().contains("dropreel release 019d5cb9-"), "{held}");
        assert!(!held["expires_at"].is_null());
        assert!(held.get("history").is_none() && held.get("request").is_none());

        let error = Some(JobError { code: "task_failed".into(), message: "no".into() });
        let failed = shown(Record {
            state: StateName::Failed,
            learned: JobFacts { error, ..record().learned },
            ..record()
        });
        assert_eq!(failed["error"], serde_json::json!({"code": "task_failed", "message": "no"}));
        assert!(failed["expires_at"].is_null());
    }
}
