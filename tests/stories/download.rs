//! Faults of downloads: no invalid file is published, and no output that can be downloaded is given up.

use std::time::Duration;

use crate::support::{Rig, files_below, quick};

/// Name, sandbox plan, expected final state.
const FAULTS: &[(&str, &str, &str)] = &[
    ("not-ready", "ready=1500ms", "succeeded"),
    ("not-ready-403", "media=403x2", "succeeded"),
    ("not-ready-400", "media=400x2", "succeeded"),
    ("unauthorised", "media=401x1", "succeeded"),
    ("wants-our-key", "media-key=yes", "succeeded"),
    ("busy", "media=503x2", "succeeded"),
    ("error", "media=500", "succeeded"),
    ("gateway", "media=502", "succeeded"),
    ("slow-down", "media=429", "succeeded"),
    ("short", "media=short", "succeeded"),
    ("cut", "media=cut", "succeeded"),
    ("sound-cut", "kind=audio media=cut", "succeeded"),
    ("picture-cut", "kind=image media=cut", "succeeded"),
    ("chunk-cut", "media=chunk-cut", "succeeded"),
    ("reset-0", "media=reset:0", "succeeded"),
    ("reset", "media=reset:4KiB", "succeeded"),
    ("reset-twice", "media=reset:4KiBx2", "succeeded"),
    ("resume-refused", "media=reset:4KiB ranges=refused", "succeeded"),
    ("resume-ignored", "media=reset:4KiB ranges=ignored", "succeeded"),
    ("resume-wrong", "media=reset:4KiB ranges=wrong", "succeeded"),
    ("resume-weak", "media=reset:4KiB etag=weak", "succeeded"),
    ("resume-changed", "media=reset:4KiB etag=changes", "succeeded"),
    ("resume-blind", "media=reset:4KiB etag=changes ranges=blind", "succeeded"),
    ("html", "media=html200x1", "succeeded"),
    ("magic", "media=magicx1", "succeeded"),
    ("no-index", "media=no-moovx1", "succeeded"),
    ("half", "media=halfx1", "succeeded"),
    ("zero", "media=zerox1", "succeeded"),
    ("gzip", "media=gzipx1", "succeeded"),
    ("chunked", "length=chunked", "succeeded"),
    ("close", "length=close", "succeeded"),
    ("octets", "media-type=application/octet-stream", "succeeded"),
    ("redirected", "media=redirect:same", "succeeded"),
    ("large", "size=3MiB", "succeeded"),
    ("fresh-links", "links=fresh media=404x2", "succeeded"),
    ("redirect-metadata", "media=redirect:metadata", "held"),
    ("redirect-file", "media=redirect:file", "held"),
    ("redirect-userinfo", "media=redirect:userinfo", "held"),
    ("gone", "link=2s expired=410 media=410 links=same", "expired"),
];

#[tokio::test]
async fn download_faults_end_as_expected() {
    let rig = Rig::start("").await;
    for (name, plan, _) in FAULTS {
        rig.drop(&format!("{name}.json"), quick(name, plan));
    }
    let states = rig.until_settled(FAULTS.len()).await;
    for (name, plan, expected) in FAULTS {
        assert_eq!(states[*name], *expected, "{name} ({plan}): {:#}", rig.job(name).await);
    }
    let quarantined = files_below(&rig.path("quarantine"));
    for name in ["html", "magic", "no-index", "half", "zero"] {
        let kept =
            quarantined.iter().any(|path| path.file_name().unwrap().to_string_lossy().starts_with(name));
        assert!(kept, "{name} is not in quarantine: {quarantined:?}");
    }
    rig.finish().await;
}

#[tokio::test]
async fn page_instead_of_a_video_holds_the_job() {
    let rig = Rig::start("").await;
    rig.drop("page.json", quick("page", "media=html200"));
    let job = rig.until("page", &["held"]).await;
    assert!(job["reason"].as_str().unwrap().contains("quarantine"), "{job:#}");
    assert!(job["files"].as_array().unwrap().is_empty());
    rig.sandbox.set_fault_plan("").unwrap();
    rig.finish().await;
}

#[tokio::test]
async fn private_address_is_never_contacted_unless_allowed() {
    let mut rig = Rig::set_up("").await;
    rig.set("DOWNLOADS__ALLOW_PRIVATE_ADDRESSES", "false");
    rig.start_daemon().await;
    rig.drop("a.json", quick("a", ""));
    let job = rig.until("a", &["held"]).await;
    assert!(job["reason"].as_str().unwrap().contains("127.0.0.1"), "{job:#}");
    assert!(!rig.sandbox.ledger().calls.contains_key("media"), "{:?}", rig.sandbox.ledger().calls);
    rig.finish().await;
}

#[tokio::test]
async fn expired_link_is_replaced_by_a_fresh_one() {
    let mut rig = Rig::set_up("link=1s").await;
    rig.set("DOWNLOADS__CONCURRENCY", "1");
    rig.start_daemon().await;
    assert_eq!(rig.post("/api/v1/pause", serde_json::json!({"what": "downloads"})).await.0, 200);
    rig.drop("a.json", quick("a", ""));
    rig.until("a", &["downloading"]).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    rig.post("/api/v1/resume", serde_json::json!({})).await;
    rig.until("a", &["succeeded"]).await;
    rig.finish().await;
}
