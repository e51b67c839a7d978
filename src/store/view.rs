//! A job as the API shows it: one conversion for the server and the hooks.

use std::path::Path;

use crate::api::batch::batch_id;
use crate::api::job::{FileView, JobView, NeedView};
use crate::clock::Timestamp;
use crate::job::needs::Need;
use crate::job::state::State;
use crate::job::step::edit::MOVED;
use crate::job::suspension::Suspension;
use crate::job::usual_time::UsualTime;
use crate::job::waiting::wait_reason;
use crate::money::Quota;
use crate::store::details::{JobDetails, LibraryFile};

impl JobDetails {
    /// What its next attempt will probably cost by current prices.
    pub fn next_cost(&self) -> Option<Quota> {
        self.next.as_ref().map(|next| next.estimate.quota)
    }

    /// What its newest attempt was estimated at; before the first one, what the job will probably cost.
    pub fn current_estimate(&self) -> Option<Quota> {
        self.next_cost().filter(|_| self.job.attempts() == 0).or(self.estimate)
    }

    /// The job without history and request, as it is while these suspensions are in force; files with their absolute path
    /// below `library_dir`.
    pub fn view(&self, library_dir: &Path, suspensions: &[Suspension], now: Timestamp) -> JobView {
        let (identity, facts) = (self.job.identity(), self.job.facts());
        JobView {
            id: identity.id,
            name: identity.name.clone(),
            state: self.job.state_name(),
            reason: match self.job.state() {
                State::Held(hold) => Some(hold.explanation(identity.id, !identity.adopted)),
                _ if facts.moved_at.is_some() => Some(MOVED.to_owned()),
                _ => wait_reason(&self.job, suspensions, now).map(|reason| reason.to_string()),
            },
            task_id: self.job.task().map(ToString::to_string),
            model: identity.model.clone(),
            prompt: self.prompt.clone(),
            progress: facts.progress,
            usual_seconds: self.usual.map(UsualTime::seconds),
            priority: identity.priority.get(),
            labels: self.labels.clone(),
            rating: self.rating,
            needs: Need::of(&self.job, now).map(|need| NeedView::new(need, self.next_cost().map(Quota::usd))),
            batch: batch_id(self.batch),
            again_of: self.again_of,
            warnings: self.warnings.clone(),
            max_cost_usd: identity.max_cost.map(Quota::usd),
            estimate_usd: self.current_estimate().map(Quota::usd),
            cost_quota: self.cost.map(Quota::get),
            cost_usd: self.cost.map(Quota::usd),
            created_at: identity.created_at,
            submitted_at: facts.submitted_at,
            completed_at: facts.completed_at,
            finished_at: facts.finished_at,
            // A job that ended has nothing left to download.
            expires_at: facts.expires_at.filter(|_| !self.job.state_name().is_end()),
            dismissed_at: facts.dismissed_at,
            files: self.files.iter().map(|file| file_view(file, library_dir)).collect(),
            error: facts.error.clone(),
            attempts: None,
            history: None,
            defaults: None,
            request: None,
            text: None,
            pictures: None,
            actions: None,
            again_as: None,
        }
    }
}

fn file_view(LibraryFile { key, file, rating }: &LibraryFile, library_dir: &Path) -> FileView {
    FileView {
        path: file.place().location(library_dir),
        kind: key.kind,
        output: key.to_string(),
        rating: *rating,
        bytes: file.bytes,
        sha256: file.sha256.clone(),
        url_host: file.host.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::job::{AttemptView, HistoryView};
    use crate::job::hold::HoldReason;
    use crate::job::output::{Output, OutputKey, OutputKind, OutputState, Refusals, StoredFile, Waiting};
    use crate::job::record::Record;
    use crate::job::state::StateName;
    use crate::job::{Identity, Job, JobFacts, JobId, Priority, TaskId};
    use crate::money::Quota;
    use crate::secret::Secret;

    const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

    /// A downloading job with every field set.
    fn record() -> Record {
        let id = JobId::parse("019d5cb9-2b40-7bbb-8ccc-1234567890ab").unwrap();
        let identity = Identity {
            id,
            name: "sakura".into(),
            model: "wan2.5-t2v".into(),
            priority: Priority::new(10).unwrap(),
            max_cost: Some(Quota::new(250_000)),
            adopted: false,
            created_at: NOW,
        };
        let later = |seconds| Some(NOW.plus(Duration::from_secs(seconds)));
        let waiting = OutputState::Waiting(Waiting {
            link: Secret::new("https://media.example.com/a.mp4?sig=canary"),
            due: NOW,
            tries: 0,
            refusals: Refusals::default(),
            invalid_downloads: 0,
            give_up_at: NOW,
            blocked: None,
            spooled: false,
        });
        let key = OutputKey { kind: OutputKind::Video, index: 1 };
        Record {
            facts: JobFacts {
                progress: 100,
                reserved: Some(Quota::new(80_000)),
                cost: Some(Quota::new(75_000)),
                submitted_at: later(1),
                completed_at: later(61),
                expires_at: later(86_461),
                status_message: Some("media.example.com is busy".into()),
                ..JobFacts::default()
            },
            task_id: TaskId::parse("task_1"),
            outputs: vec![Output { key, expires_at: NOW, state: waiting }],
            state: StateName::Downloading,
            ..Job::accept(identity, None).record()
        }
    }

    fn details(job: Job) -> JobDetails {
        let file = StoredFile {
            bucket: None,
            path: "2026-04-04/sakura.mp4".into(),
            bytes: 1_234_567,
            sha256: "ab".repeat(32),
            host: "media.example.com".into(),
            stored_at: NOW,
        };
        JobDetails {
            nr: 1,
            batch: 17,
            job,
            prompt: Some("春天的\"樱花\"树下".into()),
            labels: [("project".to_owned(), "spring".to_owned())].into(),
            warnings: vec!["`duration` is 7".into()],
            again_of: JobId::parse("019d5cb9-2b40-7bbb-8ccc-1234567890aa"),
            estimate: Some(Quota::new(70_000)),
            next: None,
            cost: Some(Quota::new(75_000)),
            usual: Some(UsualTime::from_seconds([40, 70, 105])),
            rating: Some(4),
            files: vec![LibraryFile {
                key: OutputKey { kind: OutputKind::Video, index: 0 },
                file,
                rating: Some(4),
            }],
            changed: 7,
        }
    }

    #[test]
    fn job_view_matches_the_reference() {
        let details = details(Job::restore(record()).unwrap());
        let history = vec![HistoryView { at: NOW, event: "accepted".into(), detail: "sakura.json".into() }];
        let request = serde_json::from_str(r#"{"model":"wan2.5-t2v", "seed":1.10}"#).unwrap();
        let mut view = details.view(Path::new("/srv/videos"), &[], NOW);
        view.history = Some(history);
        view.attempts = Some(vec![AttemptView {
            key: "019d5cb9-2b40-7bbb-8ccc-1234567890ab".into(),
            base_url: Some("https://qingbo.dev/".into()),
            at: NOW.plus(Duration::from_secs(1)),
            estimate_usd: Some(0.14),
            estimate_source: Some("own".into()),
            frozen_quota: Some(80_000),
            charged_quota: None,
        }]);
        view.request = Some(request);
        let expected = concat!(
            r#"{"id":"019d5cb9-2b40-7bbb-8ccc-1234567890ab","name":"sakura","state":"downloading","#,
            r#""reason":"media.example.com is busy","task_id":"task_1","model":"wan2.5-t2v","#,
            r#""prompt":"春天的\"樱花\"树下","progress":100,"usual_seconds":[40,70,105],"priority":10,"labels":{"project":"spring"},"rating":4,"needs":null,"batch":"b17","#,
            r#""again_of":"019d5cb9-2b40-7bbb-8ccc-1234567890aa","#,
            r#""max_cost_usd":0.5,"estimate_usd":0.14,"cost_quota":75000,"cost_usd":0.15,"created_at":"2026-04-04T06:46:00.000Z","#,
            r#""submitted_at":"2026-04-04T06:46:01.000Z","completed_at":"2026-04-04T06:47:01.000Z","#,
            r#""finished_at":null,"expires_at":"2026-04-05T06:47:01.000Z","dismissed_at":null,"#,
            r#""files":[{"path":"/srv/videos/2026-04-04/sakura.mp4","kind":"video","output":"video-0","rating":4,"bytes":1234567,"#,
            r#""sha256":"abababababababababababababababababababababababababababababababab","#,
            r#""url_host":"media.example.com"}],"warnings":["`duration` is 7"],"error":null,"#,
            r#""attempts":[{"key":"019d5cb9-2b40-7bbb-8ccc-1234567890ab","base_url":"https://qingbo.dev/","#,
            r#""at":"2026-04-04T06:46:01.000Z","estimate_usd":0.14,"estimate_source":"own","frozen_quota":80000,"#,
            r#""charged_quota":null}],"#,
            r#""history":[{"at":"2026-04-04T06:46:00.000Z","event":"accepted","detail":"sakura.json"}],"#,
            r#""request":{"model":"wan2.5-t2v", "seed":1.10}}"#,
        );
        assert_eq!(serde_json::to_string(&view).unwrap(), expected);
        let read: JobView = serde_json::from_str(expected).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), expected, "a view reads back as it was written");
    }

    #[test]
    fn held_job_has_a_reason_and_finished_job_no_deadline() {
        let view = |record: Record| {
            let details = details(Job::restore(record).unwrap());
            serde_json::to_value(details.view(Path::new("/v"), &[], NOW)).unwrap()
        };
        let held = view(Record {
            state: StateName::Held,
            reason: Some(HoldReason::AddressForbidden),
            reason_detail: Some("10.0.0.1".into()),
            held_from: Some(StateName::Downloading),
            ..record()
        });
        assert!(held["reason"].as_str().unwrap().contains("dropreel release 019d5cb9-"), "{held}");
        assert!(!held["expires_at"].is_null());
        assert!(held.get("history").is_none() && held.get("request").is_none());

        let failed = view(Record {
            state: StateName::Failed,
            error_code: Some("task_failed".into()),
            error_message: Some("no".into()),
            ..record()
        });
        assert_eq!(failed["error"], serde_json::json!({"code": "task_failed", "message": "no"}));
        assert!(failed["expires_at"].is_null());
    }
}
