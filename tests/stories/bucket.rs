//! Videos in a bucket: an S3 server on a real socket, which fails in every way that such servers do.

use std::time::Duration;

use dropreel::clock::{Clock, Timestamp};
use dropreel::library::Library;
use dropreel::library::bucket::Bucket;
use dropreel::library::epoch_record::{EpochRecord, RecordError};
use dropreel::rng::Rng;
use dropreel::secret::Secret;
use dropreel::settings::{BucketKeys, BucketSettings, LibraryMode};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::bucket::{BucketServer, Fault, KEY_ID, NAME, SECRET_KEY};
use crate::support::{Rig, files_below, quick};

async fn rig(server: &BucketServer) -> Rig {
    let mut rig = Rig::set_up("").await;
    server.configure(&mut rig);
    rig.start_daemon().await;
    rig
}

/// The key of the only file of a job that succeeded, after a look that the object and its sidecar are whole.
fn check_stored(server: &BucketServer, job: &Value) -> String {
    let file = &job["files"][0];
    let path = file["path"].as_str().unwrap();
    let key = path.strip_prefix(&format!("s3://{NAME}/")).unwrap_or_else(|| panic!("{job:#}"));
    assert!(key.starts_with("spring/") && key.contains(job["id"].as_str().unwrap()), "{key}");
    let objects = server.objects();
    let video = &objects.get(key).unwrap_or_else(|| panic!("no {key}: {:?}", objects.keys())).content;
    assert_eq!(video.len() as u64, file["bytes"].as_u64().unwrap());
    assert_eq!(data_encoding::HEXLOWER.encode(&Sha256::digest(video)), file["sha256"].as_str().unwrap());
    let sidecar: Value = serde_json::from_slice(&objects[&format!("{key}.json")].content).unwrap();
    assert_eq!([&sidecar["job"], &sidecar["sha256"]], [&job["id"], &file["sha256"]]);
    assert!(sidecar["cost_quota"].is_number(), "{sidecar:#}");
    key.to_owned()
}

fn spooled(rig: &Rig) -> Vec<std::path::PathBuf> {
    let mut parts = files_below(&rig.path("videos"));
    parts.retain(|path| path.extension().is_some_and(|ending| ending == "part"));
    parts
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..3600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never: {what}");
}

/// Ends a story with a look that bucket and database agree.
async fn finish(server: &BucketServer, rig: Rig) {
    server.check(&rig.path("dropreel.db")).unwrap();
    assert!(!rig.output().contains(SECRET_KEY));
    rig.finish().await;
}

#[tokio::test]
async fn video_lands_in_the_bucket_and_plays_by_range() {
    let server = BucketServer::start();
    let rig = rig(&server).await;
    rig.until_output(", library s3://").await;
    rig.drop("small.json", quick("樱花 50%", ""));
    rig.drop("large.json", quick("large", "size=20MiB"));
    let small = rig.until("樱花 50%", &["succeeded"]).await;
    let large = rig.until("large", &["succeeded"]).await;
    check_stored(&server, &small);
    let key = check_stored(&server, &large);
    assert_eq!(server.objects()[&key].media_type, "video/mp4");
    assert_eq!(server.count("PUT", ".mp4"), 4, "one piece for the small file, three for the large one");
    until("the spool is freed", async || spooled(&rig).is_empty()).await;
    let events: Vec<_> =
        large["history"].as_array().unwrap().iter().filter_map(|entry| entry["event"].as_str()).collect();
    assert!(events.ends_with(&["completed", "spooled", "stored", "succeeded"]), "{events:?}");

    let printed = rig.run(&["path", "large"]).await;
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), format!("s3://{NAME}/{key}\n"));
    let media = format!("{}/media/{}/1", rig.admin(), large["id"].as_str().unwrap());
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let video = server.objects()[&key].content.clone();
    let whole = http.get(&media).send().await.unwrap();
    let tag = whole.headers()["etag"].clone();
    assert_eq!([&whole.headers()["accept-ranges"], &whole.headers()["content-type"]], ["bytes", "video/mp4"]);
    assert!(whole.bytes().await.unwrap() == video);
    let part = http.get(&media).header("range", "bytes=9000000-9000099").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], format!("bytes 9000000-9000099/{}", video.len()));
    assert_eq!(part.bytes().await.unwrap(), video[9_000_000..9_000_100]);
    let head = http.request(Method::HEAD, &media).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], video.len().to_string());
    for (name, value, status) in [
        ("if-none-match", tag.to_str().unwrap(), 304),
        ("if-none-match", "\"other\"", 200),
        ("range", "bytes=99999999-", 416),
    ] {
        let answer = http.get(&media).header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), status, "{name}: {value}");
    }
    let page =
        http.get(format!("{}/jobs/{}", rig.admin(), large["id"].as_str().unwrap())).send().await.unwrap();
    assert!(page.text().await.unwrap().contains(&format!("s3://{NAME}/{key}")));
    let viewer = format!("{}/videos/{}/1", rig.admin(), large["id"].as_str().unwrap());
    let viewer = http.get(viewer).send().await.unwrap().text().await.unwrap();
    assert!(viewer.contains(&format!("s3://{NAME}/{key}")), "{viewer}");
    assert_eq!(http.get(format!("{}/videos", rig.admin())).send().await.unwrap().status(), 200);

    rig.post(&format!("/api/v1/jobs/{}/rate", large["id"].as_str().unwrap()), json!({"rating": 4})).await;
    until("the sidecar has the rating", async || {
        let sidecar = server.objects()[&format!("{key}.json")].content.clone();
        serde_json::from_slice::<Value>(&sidecar).unwrap()["rating"] == 4
    })
    .await;
    let doctor = rig.run(&["doctor"]).await;
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.contains("takes, returns and removes objects"), "{doctor}");
    assert!(server.objects().keys().all(|key| !key.contains("check")), "the doctor leaves nothing");
    // The video is gone: the page says so, and breaks off nothing.
    server.remove(&key);
    assert_eq!(http.get(&media).send().await.unwrap().status(), 503);
    rig.finish().await;
}

/// What the server does wrong with the writes to keys with an ending.
const FAULTS: &[(&str, &str, &[Fault])] = &[
    ("refused", ".mp4", &[Fault::Status(503), Fault::Status(500)]),
    ("denied", ".mp4", &[Fault::Status(403)]),
    ("sidecar refused", ".json", &[Fault::Status(503)]),
    ("half", ".mp4", &[Fault::Half]),
    ("half a sidecar", ".json", &[Fault::Half]),
    ("flipped", ".mp4", &[Fault::Flipped]),
    ("reset", ".mp4", &[Fault::Reset]),
    ("unanswered", ".mp4", &[Fault::NoAnswer]),
    ("late", ".mp4", &[Fault::Late]),
];

#[tokio::test]
async fn faults_of_the_bucket_are_tried_again_until_the_video_is_whole() {
    let server = BucketServer::start();
    let rig = rig(&server).await;
    for (name, ending, faults) in FAULTS {
        server.fail(ending, faults);
        rig.drop(&format!("{name}.json"), quick(name, ""));
        let job = rig.until(name, &["succeeded", "held", "failed", "expired"]).await;
        assert_eq!(job["state"], "succeeded", "{name}: {job:#}");
        assert!(!server.has_faults(), "{name}");
        check_stored(&server, &job);
    }
    finish(&server, rig).await;
}

#[tokio::test]
async fn pieces_of_a_failed_upload_are_removed_and_sent_again() {
    let server = BucketServer::start();
    let rig = rig(&server).await;
    // The call that begins the upload, the first piece, and the second one.
    server.fail(".mp4", &[Fault::Late, Fault::Late, Fault::Status(500)]);
    rig.drop("job.json", quick("large", "size=20MiB"));
    let job = rig.until("large", &["succeeded"]).await;
    check_stored(&server, &job);
    assert_eq!(server.count("DELETE", ".mp4"), 1);
    assert_eq!(server.count("PUT", ".mp4"), 2 + 3);
    finish(&server, rig).await;
}

#[tokio::test]
async fn absent_bucket_keeps_videos_in_the_spool_and_holds_up_no_download() {
    let server = BucketServer::start();
    server.set_away(true);
    let rig = rig(&server).await;
    let names: Vec<String> = (0..8).map(|number| format!("video-{number}")).collect();
    for name in &names {
        rig.drop(&format!("{name}.json"), quick(name, ""));
    }
    until("all are in the spool", async || spooled(&rig).len() == names.len()).await;
    for name in &names {
        let job =
            rig.until_job(name, |job| job["reason"].as_str().is_some_and(|why| why.contains("503"))).await;
        assert_eq!(job["state"], "downloading", "{job:#}");
    }
    let warnings = rig.output().matches("files are not uploaded").count();
    assert_eq!(warnings, 1, "{}", rig.output());
    let doctor = rig.run(&["doctor"]).await;
    assert_eq!(doctor.status.code(), Some(1));
    assert!(String::from_utf8(doctor.stdout).unwrap().contains("SlowDown"));
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let metrics = http.get(format!("{}/metrics", rig.admin())).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("dropreel_jobs_to_upload 8"), "{metrics}");
    assert!(metrics.contains("outcome=\"not_uploaded\""), "{metrics}");
    let page = http.get(rig.admin()).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("503"), "the page says what is wrong");

    server.set_away(false);
    for name in &names {
        let job = rig.until(name, &["succeeded"]).await;
        check_stored(&server, &job);
    }
    until("the spool is freed", async || spooled(&rig).is_empty()).await;
    rig.until_output("takes files again").await;
    finish(&server, rig).await;
}

#[tokio::test]
async fn kill_between_upload_and_sidecar_uploads_once() {
    let server = BucketServer::start();
    let mut rig = rig(&server).await;
    server.fail(".json", &[Fault::Status(503); 1000]);
    rig.drop("job.json", quick("killed", ""));
    server.until_request("PUT", ".json").await;
    rig.kill();
    assert_eq!(server.objects().len(), 1, "the video alone");
    let key = server.objects().keys().next().unwrap().clone();
    assert!(!rig.output().contains("succeeded"));
    server.clear_faults();
    rig.start_daemon().await;
    let job = rig.until("killed", &["succeeded"]).await;
    assert_eq!(check_stored(&server, &job), key);
    assert_eq!(server.count("PUT", ".mp4"), 1);
    until("the spool is freed", async || spooled(&rig).is_empty()).await;
    finish(&server, rig).await;
}

#[tokio::test]
async fn spooled_video_is_published_in_the_folder_once_that_is_the_library_again() {
    let server = BucketServer::start();
    server.set_away(true);
    let mut rig = rig(&server).await;
    rig.drop("job.json", quick("moved", ""));
    rig.until_job("moved", |job| job["reason"].as_str().is_some_and(|why| why.contains("503"))).await;
    assert_eq!(rig.stop().await, Some(0));
    // The link is dead meanwhile.
    rig.sandbox.set_fault_plan("media=410").unwrap();
    rig.set("STORAGE__LIBRARY", "");
    rig.start_daemon().await;
    let job = rig.until("moved", &["succeeded"]).await;
    let path = job["files"][0]["path"].as_str().unwrap();
    assert!(std::path::Path::new(path).is_file() && path.ends_with("/moved.mp4"), "{path}");
    rig.finish().await;
}

#[tokio::test]
async fn spool_on_a_missing_disk_is_not_taken_for_gone() {
    let server = BucketServer::start();
    server.set_away(true);
    let rig = rig(&server).await;
    rig.drop("job.json", quick("unplugged", ""));
    let waits =
        rig.until_job("unplugged", |job| job["reason"].as_str().is_some_and(|why| why.contains("503"))).await;
    let unplugged = rig.beside("unplugged");
    std::fs::rename(rig.path("videos"), &unplugged).unwrap();
    server.set_away(false);
    // Longer than an upload that failed once waits.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let job = rig.job("unplugged").await;
    assert_eq!([&job["state"], &job["reason"]], [&waits["state"], &waits["reason"]], "{job:#}");
    std::fs::rename(&unplugged, rig.path("videos")).unwrap();
    let job = rig.until("unplugged", &["succeeded"]).await;
    check_stored(&server, &job);
    finish(&server, rig).await;
}

#[tokio::test]
async fn bucket_without_keys_is_refused_at_the_start() {
    let mut rig = Rig::set_up("").await;
    rig.set("STORAGE__LIBRARY", "s3://reels");
    assert_eq!(rig.try_start_daemon().await.unwrap_err().code(), Some(2));
    assert!(rig.output().contains("AWS_ACCESS_KEY_ID"), "{}", rig.output());
    let doctor = rig.run(&["doctor"]).await;
    assert!(String::from_utf8(doctor.stdout).unwrap().contains("no keys for s3://reels"));
    rig.finish().await;
}

/// `ci/storage` starts a server and names it in `DROPREEL_S3`.
#[tokio::test]
async fn epoch_record_is_replaced_only_as_it_was_found() {
    let (server, folder) = (BucketServer::start(), tempfile::tempdir().unwrap());
    let (clock, rng) = (Clock::machine(), Rng::seeded(1));
    let settings = BucketSettings {
        address: format!("s3://{NAME}"),
        bucket: NAME.to_owned(),
        prefix: String::new(),
        endpoint: Some(format!("http://{}", server.address).parse().unwrap()),
        region: "us-east-1".to_owned(),
        keys: Some(BucketKeys {
            id: KEY_ID.to_owned(),
            secret: Secret::new(SECRET_KEY),
            session_token: None,
        }),
    };
    let root = folder.path().join("videos");
    let library = Library::open(&root, LibraryMode::Private, folder.path(), &rng).unwrap();
    let library = library.with_bucket(Some(Bucket::open(&settings).unwrap()));
    let at = Timestamp::from_millis(0);
    let record = |epoch| EpochRecord { epoch, node: -1, run: 2, host: "a".into(), at };
    let nothing = library.epoch_record(7, &clock).await.unwrap();
    library.write_epoch_record(7, &record(1), nothing.clone(), &clock).await.unwrap();
    let again = library.write_epoch_record(7, &record(2), nothing, &clock).await;
    assert!(matches!(again, Err(RecordError::Changed)), "another daemon has made one: {again:?}");
    let found = library.epoch_record(7, &clock).await.unwrap();
    library.write_epoch_record(7, &record(2), found.clone(), &clock).await.unwrap();
    let again = library.write_epoch_record(7, &record(3), found, &clock).await;
    assert!(matches!(again, Err(RecordError::Changed)), "another daemon has replaced it: {again:?}");
    assert_eq!(library.epoch_record(7, &clock).await.unwrap().record, Some(record(2)));
}

#[tokio::test]
#[ignore = "needs the S3 server that ci/storage starts"]
async fn server_of_others_keeps_videos_whole() {
    let endpoint = std::env::var("DROPREEL_S3").expect("DROPREEL_S3: run ci/storage");
    let mut rig = Rig::set_up("").await;
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    // It asks for no valid signature, but for one.
    let signed = |method: Method, path: &str| {
        let signature = "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, \
                         Signature=any";
        http.request(method, format!("{endpoint}/{path}")).header("authorization", signature)
    };
    rig.set("STORAGE__LIBRARY", &format!("s3://{NAME}/spring"));
    rig.set("STORAGE__ENDPOINT", &endpoint);
    rig.set_variable("AWS_ACCESS_KEY_ID", "any");
    rig.set_variable("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    rig.start_daemon().await;
    rig.drop("small.json", quick("樱花 50%", ""));
    rig.drop("large.json", quick("large", "size=20MiB"));
    // The bucket does not exist yet.
    rig.until_job("樱花 50%", |job| job["reason"].as_str().is_some_and(|why| why.contains("NoSuchBucket")))
        .await;
    let doctor = rig.run(&["doctor"]).await;
    assert!(String::from_utf8(doctor.stdout).unwrap().contains("create the bucket"));
    assert_eq!(signed(Method::PUT, NAME).send().await.unwrap().status(), 200);
    for name in ["樱花 50%", "large"] {
        let job = rig.until(name, &["succeeded"]).await;
        let (file, id) = (&job["files"][0], job["id"].as_str().unwrap());
        let key = file["path"].as_str().unwrap().strip_prefix("s3://").unwrap();
        let sidecar = signed(Method::GET, &format!("{key}.json")).send().await.unwrap();
        let sidecar: Value = serde_json::from_slice(&sidecar.bytes().await.unwrap()).unwrap();
        assert_eq!([&sidecar["job"], &sidecar["sha256"]], [&job["id"], &file["sha256"]]);
        let video = signed(Method::GET, key).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(data_encoding::HEXLOWER.encode(&Sha256::digest(&video)), file["sha256"].as_str().unwrap());
        let media = format!("{}/media/{id}/1", rig.admin());
        assert!(http.get(&media).send().await.unwrap().bytes().await.unwrap() == video, "{name}");
        let part = http.get(&media).header("range", "bytes=100-299").send().await.unwrap();
        assert_eq!(part.status(), 206);
        assert!(part.bytes().await.unwrap() == video[100..300], "{name}");
        rig.post(&format!("/api/v1/jobs/{id}/rate"), json!({"rating": 5})).await;
        until("the sidecar has the rating", async || {
            let sidecar = signed(Method::GET, &format!("{key}.json")).send().await.unwrap();
            serde_json::from_slice::<Value>(&sidecar.bytes().await.unwrap()).unwrap()["rating"] == 5
        })
        .await;
    }
    let doctor = String::from_utf8(rig.run(&["doctor"]).await.stdout).unwrap();
    assert!(doctor.contains("takes, returns and removes objects"), "{doctor}");
    assert!(!doctor.contains("conditional"), "{doctor}");
    // The record of the epoch is created at the first start with a bucket, and replaced at the next.
    let number = "SELECT value FROM meta WHERE name = 'database'";
    for epoch in [2, 3] {
        rig.kill();
        rig.start_daemon().await;
        let database = rusqlite::Connection::open(rig.path("dropreel.db")).unwrap();
        let number: i64 = database.query_row(number, [], |row| row.get(0)).unwrap();
        until("the record has the epoch", async || {
            let key = format!("{NAME}/spring/.dropreel/epoch-{number:016x}");
            let record = signed(Method::GET, &key).send().await.unwrap().bytes().await.unwrap();
            serde_json::from_slice::<Value>(&record)
                .is_ok_and(|record| record["epoch"].as_i64() >= Some(epoch))
        })
        .await;
    }
    rig.finish().await;
}
