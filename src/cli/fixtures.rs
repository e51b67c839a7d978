//! Jobs for the tests of the commands.

use crate::api::job::{
    AttemptView, FileView, HistoryView, JobView, NeedActionView, NeedView, PossibleActionView,
};
use crate::clock::Timestamp;
use crate::job::output::OutputKind;
use crate::job::state::StateName;
use crate::job::{JobId, UsedDefault};

/// When the job was created.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

/// A job with a name that a terminal would act on.
pub(crate) fn job(state: StateName) -> JobView {
    JobView {
        id: JobId::parse("01a2069b-5192-7000-8002-4ba8a661699c").unwrap(),
        name: "春天\u{1b}[2J".into(),
        state,
        reason: Some("the task was not finished in time".into()),
        task_id: Some("task-1".into()),
        model: "wan2.5-t2v".into(),
        prompt: Some("樱花".into()),
        progress: 45,
        usual_seconds: None,
        priority: 0,
        labels: [("project".to_owned(), "spring".to_owned())].into(),
        rating: Some(4),
        needs: (state == StateName::Held).then(need),
        batch: "b17".into(),
        again_of: JobId::parse("01a2069b-5192-7000-8002-4ba8a6616990"),
        max_cost_usd: Some(0.5),
        estimate_usd: Some(0.14),
        cost_quota: Some(75_000),
        cost_usd: Some(0.15),
        created_at: NOW,
        submitted_at: None,
        completed_at: None,
        finished_at: None,
        expires_at: None,
        dismissed_at: None,
        files: vec![file()],
        warnings: vec!["`duration` is 7: wan2.5-t2v makes 5 or 10 s".into()],
        error: None,
        attempts: Some(vec![attempt()]),
        defaults: Some(vec![UsedDefault {
            key: "duration".into(),
            value: Some("5".into()),
            file: "spring/defaults.json".into(),
        }]),
        history: Some(vec![HistoryView { at: NOW, event: "accepted".into(), detail: String::new() }]),
        request: None,
        text: None,
        pictures: None,
        again_as: Some(vec![JobId::parse("01a2069b-5192-7000-8002-4ba8a6616991").unwrap()]),
        actions: Some(vec![action("release", true), action("cancel", false)]),
    }
}

fn need() -> NeedView {
    let action = |action: &str, does: &str, cost_usd, may_be_billed_again| NeedActionView {
        action: action.to_owned(),
        does: does.to_owned(),
        cost_usd,
        may_be_billed_again,
    };
    NeedView {
        cause: "timed_out".into(),
        actions: vec![
            action("release", "polls it again", Some(0.0), false),
            action("retry", "submits it as a new task", Some(0.15), true),
            action("cancel", "gives it up", Some(0.0), false),
        ],
    }
}

fn action(action: &str, may_be_billed_again: bool) -> PossibleActionView {
    PossibleActionView { action: action.to_owned(), may_be_billed_again }
}

fn attempt() -> AttemptView {
    AttemptView {
        key: "01a2069b-5192-7000-8002-4ba8a661699c".into(),
        base_url: Some("https://qingbo.dev/".into()),
        at: NOW,
        estimate_usd: Some(0.14),
        estimate_source: Some("own".into()),
        frozen_quota: Some(80_000),
        charged_quota: Some(75_000),
    }
}

pub(crate) fn file() -> FileView {
    FileView {
        path: "/videos/a.mp4".into(),
        kind: OutputKind::Video,
        output: "video-0".into(),
        rating: Some(4),
        bytes: 2048,
        sha256: "ab".repeat(32),
        url_host: "media.example.com".into(),
    }
}

/// Compares with `tests/golden/NAME.txt`. After an intended change, rewrite it with `DROPREEL_GOLDEN=write` and review
/// the difference.
#[track_caller]
pub(crate) fn assert_golden(name: &str, actual: &str) {
    let path = format!("{}/tests/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let actual = format!("{actual}\n");
    if std::env::var_os("DROPREEL_GOLDEN").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), actual);
}
