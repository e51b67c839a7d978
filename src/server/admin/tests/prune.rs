//! Pruning by HTTP: what is rejected, what is deleted, what stays.

use std::path::Path;

use super::*;
use crate::clock::Timestamp;
use crate::store::job_files::{FileToIngest, Source};

const LONG_AGO: Timestamp = Timestamp::from_millis(1_600_000_000_000);

fn put(path: &Path, at: Timestamp) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "{}").unwrap();
    let at = std::time::UNIX_EPOCH + Duration::from_millis(at.millis().unsigned_abs());
    std::fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
}

impl TestAdmin {
    /// A job whose file was dropped long ago and lies in that day's folder.
    async fn add_old_job(&self, name: &str) -> JobId {
        let file_name = Some(format!("{name}.json"));
        let file = FileToIngest {
            source: Source::Inbox,
            file_name,
            sha256: name.into(),
            bytes: 2,
            idempotency_key: None,
            inputs_sha256: None,
        };
        let drafts = Box::new(std::iter::once(Ok(draft(name))));
        let taken = self.rig.store.ingest(file, drafts, LONG_AGO).await.unwrap();
        let to = self.archive(&format!("accepted/{}/{name}.json", LONG_AGO.date()));
        put(&to, LONG_AGO);
        let moved = vec![(taken.nr, Some(to.display().to_string()))];
        self.rig.store.mark_moved(moved, LONG_AGO).await.unwrap();
        taken.jobs[0]
    }

    fn archive(&self, name: &str) -> std::path::PathBuf {
        self.rig.folder.path().join(name)
    }
}

#[tokio::test]
async fn invalid_or_too_short_age_is_rejected() {
    let admin = TestAdmin::start();
    for (body, status, detail) in [
        (r#"{"older_than":"30d"}"#, 422, "at least 31d"),
        (r#"{"older_than":"1h","dry_run":true}"#, 422, "this month"),
        (r#"{"older_than":"soon"}"#, 400, "is not a duration"),
        (r#"{"older_than":"9999d"}"#, 400, "at most 3660d"),
        (r#"{"older_than":"90d","force":true}"#, 400, "force"),
        (r#"["90d",true]"#, 400, "not a JSON object"),
        ("{}", 400, "older_than"),
    ] {
        assert_problem(&admin.post("/api/v1/prune", body).await, status, detail);
    }
    assert_problem(&admin.get("/api/v1/prune").await, 405, "POST");
}

#[tokio::test]
async fn prune_deletes_only_old_finished_jobs_and_their_files() {
    let admin = TestAdmin::start();
    let over = admin.add_old_job("over").await;
    admin.rig.store.apply(over, Event::Operator(OperatorAction::Cancel), LONG_AGO).await.unwrap();
    admin.add_old_job("waiting").await;
    let now = Clock::machine().now();
    let day = LONG_AGO.date();
    let old = [format!("accepted/{day}/over.json"), "rejected/bad.json".into(), "quarantine/a.html".into()];
    let kept = [format!("accepted/{day}/waiting.json"), format!("accepted/{day}/picture.png")];
    for name in &old {
        put(&admin.archive(name), LONG_AGO);
    }
    put(&admin.archive(&kept[1]), LONG_AGO);
    put(&admin.archive("rejected/new.json"), now);

    let dry = admin.post("/api/v1/prune", r#"{"older_than":"90d","dry_run":true}"#).await.json();
    assert_eq!((&dry["jobs"], &dry["files"], &dry["bytes"]), (&json!(1), &json!(3), &json!(6)), "{dry}");
    assert_eq!(dry["more"], false);
    assert!(old.iter().all(|name| admin.archive(name).exists()));
    assert_eq!(admin.get(&format!("/api/v1/jobs/{over}")).await.status, 200);

    let done = admin.post("/api/v1/prune", r#"{"older_than":"90d"}"#).await.json();
    assert_eq!((&done["jobs"], &done["files"], &done["failed"]), (&json!(1), &json!(3), &json!(0)), "{done}");
    assert_problem(&admin.get(&format!("/api/v1/jobs/{over}")).await, 404, "no job has");
    assert!(!old.iter().any(|name| admin.archive(name).exists()));
    assert!(kept.iter().all(|name| admin.archive(name).exists()));
    assert!(admin.archive("rejected/new.json").exists());
    assert_eq!(names(&admin.get("/api/v1/jobs").await.json()), ["waiting"]);

    let again = admin.post("/api/v1/prune", r#"{"older_than":"90d"}"#).await.json();
    assert_eq!((&again["jobs"], &again["files"]), (&json!(0), &json!(0)));
}
