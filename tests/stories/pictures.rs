//! Local pictures: named by their path beside a job file, and served to the provider.

use std::time::Duration;

use dropreel::job::JobId;
use dropreel::sha256::sha256_hex;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::support::{Rig, SAKURA, png};

/// A job that names these pictures, with a plan for the sandbox.
fn job(name: &str, pictures: &[&str], plan: &str) -> String {
    let prompt = format!("{SAKURA} [sandbox: queue=50ms run=100ms {plan}]");
    json!({"model": "wan2.5-i2v", "prompt": prompt, "image_urls": pictures, "dropreel": {"name": name}})
        .to_string()
}

async fn serving() -> Rig {
    let mut rig = Rig::set_up("").await;
    rig.set("MEDIA__SERVE", "true");
    rig.set("INBOX__PICTURE_WAIT", "3s");
    rig
}

/// The pictures in the body of a job's newest attempt, as it was sent.
fn sent_pictures(rig: &Rig, job: &Value) -> Vec<String> {
    let database = rusqlite::Connection::open(rig.path("dropreel.db")).unwrap();
    let select = "SELECT attempts.body FROM attempts JOIN jobs ON jobs.nr = attempts.job WHERE jobs.id = ?1
        ORDER BY number DESC LIMIT 1";
    let body: String = database.query_row(select, [job["id"].as_str().unwrap()], |row| row.get(0)).unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    body["image_urls"].as_array().unwrap().iter().map(|url| url.as_str().unwrap().to_owned()).collect()
}

fn reason(rig: &Rig, name: &str) -> Option<String> {
    std::fs::read_to_string(rig.path("rejected").join(format!("{name}.reason.json"))).ok()
}

async fn until<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(value) = condition() {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the condition does not come true");
}

fn copies(rig: &Rig) -> usize {
    std::fs::read_dir(rig.path("pictures")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn picture_is_served_to_the_provider_until_the_last_job_that_names_it_ends() {
    let mut rig = serving().await;
    rig.start_daemon().await;
    rig.drop("春 a.png", png(b"sakura"));
    std::fs::create_dir(rig.path("inbox/pictures")).unwrap();
    std::fs::write(rig.path("inbox/pictures/b.png"), png(b"sakura")).unwrap();
    rig.drop("short.json", job("short", &["春 a.png", "https://example.com/c.png"], ""));
    rig.drop("long.json", job("long", &["./pictures/b.png"], "queue=15s"));
    let short = rig.until("short", &["succeeded"]).await;
    let long = rig.until("long", &["queued", "processing"]).await;
    assert_eq!(copies(&rig), 1, "the same content is stored once");
    let [address, foreign] = &sent_pictures(&rig, &short)[..] else { panic!("two pictures") };
    assert_eq!(foreign, "https://example.com/c.png");

    // The address died with its job; that of the other still works, and only as it is.
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    assert_eq!(http.get(address).send().await.unwrap().status(), 404);
    let address = sent_pictures(&rig, &long).remove(0);
    let answer = http.get(&address).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert_eq!(answer.bytes().await.unwrap(), png(b"sakura"));
    let head = http.head(&address).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], png(b"sakura").len().to_string());
    let part = http.get(&address).header("range", "bytes=1-3").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.text().await.unwrap().as_str()), (206, "PNG"));
    let (before, name) = address.rsplit_once('/').unwrap();
    let other = JobId::parse(short["id"].as_str().unwrap()).unwrap().to_string();
    let wrong = [
        format!("{address}?download=1"),
        format!("{address}/"),
        format!("{before}/..%2f..%2fdropreel.db"),
        format!("{before}//{name}"),
        address.replace(".png", ".jpg"),
        address.replace(long["id"].as_str().unwrap(), &other),
        before.to_owned(),
        format!("{before}/"),
    ];
    for wrong in wrong {
        let answer = http.get(&wrong).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.text().await.unwrap().as_str()),
            (404, "not found"),
            "{wrong}"
        );
    }
    assert_eq!(http.post(&address).body("{}").send().await.unwrap().status(), 404);

    rig.until("long", &["succeeded"]).await;
    until(|| (copies(&rig) == 0).then_some(())).await;
    assert_eq!(std::fs::read(rig.path("inbox/春 a.png")).unwrap(), png(b"sakura"), "the original stays");
    assert!(!rig.output().contains("/media/"), "{}", rig.output());
    rig.finish().await;
}

#[tokio::test]
async fn picture_that_comes_late_or_in_parts_delays_its_job() {
    let mut rig = serving().await;
    rig.set("INBOX__PICTURE_WAIT", "60s");
    rig.start_daemon().await;
    let whole = png(&[7; 5000]);
    std::fs::create_dir_all(rig.path("inbox")).unwrap();
    std::fs::write(rig.path("inbox/a.png"), &whole[..3000]).unwrap();
    rig.drop("late.json", job("late", &["a.png"], ""));
    rig.drop("other.json", job("other", &["https://example.com/a.png"], ""));
    rig.until("other", &["succeeded"]).await;
    assert!(rig.path("inbox/late.json").exists());
    std::fs::write(rig.path("inbox/a.png"), &whole).unwrap();
    let late = rig.until("late", &["succeeded"]).await;
    assert_eq!(sent_pictures(&rig, &late).len(), 1);
    rig.finish().await;
}

#[tokio::test]
async fn picture_of_a_defaults_file_lies_beside_it() {
    let mut rig = serving().await;
    rig.start_daemon().await;
    std::fs::create_dir_all(rig.path("inbox/spring/night")).unwrap();
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(rig.path("inbox/spring").join(name), bytes).unwrap();
    write("look.png", &png(b"look"));
    write("night/own.png", &png(b"own"));
    write("defaults.json", json!({"model": "wan2.5-i2v", "image_urls": ["look.png"]}).to_string().as_bytes());
    let plan = "rain [sandbox: queue=50ms run=100ms]";
    let own = json!({"prompt": plan, "image_urls": ["own.png"], "dropreel": {"name": "own"}});
    rig.drop("spring/night/rain.prompts.txt", plan);
    rig.drop("spring/night/own.json", own.to_string());
    let rain = rig.until("rain", &["succeeded"]).await;
    let own = rig.until("own", &["succeeded"]).await;
    let content = |job: &Value| sent_pictures(&rig, job)[0].rsplit_once('/').unwrap().1.to_owned();
    assert_ne!(content(&rain), content(&own));
    assert!(content(&rain).starts_with(&sha256_hex(&png(b"look"))));
    assert!(rain["defaults"].to_string().contains(r#"[\"look.png\"]"#), "{:#}", rain["defaults"]);
    // Of its own, a job may not name what lies above it.
    std::fs::remove_file(rig.path("inbox/spring/defaults.json")).unwrap();
    let outside = json!({"model": "wan2.5-i2v", "prompt": "x", "image_urls": ["../look.png"]}).to_string();
    rig.drop("spring/night/outside.json", outside);
    let reason = until(|| reason(&rig, "spring/night/outside.json")).await;
    assert!(reason.contains("`..`"), "{reason}");
    rig.finish().await;
}

#[tokio::test]
async fn job_file_with_an_unusable_picture_is_rejected_with_its_name() {
    let mut rig = serving().await;
    rig.start_daemon().await;
    std::fs::create_dir_all(rig.path("inbox/folder.png")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(rig.path("inbox").join(name), bytes).unwrap();
    write("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>");
    write("page.png", b"<!DOCTYPE html><title>404</title>");
    write("cut.png", &png(b"x")[..40]);
    std::fs::write(rig.beside("secret.png"), png(b"secret")).unwrap();
    std::os::unix::fs::symlink(rig.beside("secret.png"), rig.path("inbox/link.png")).unwrap();
    std::os::unix::fs::symlink(rig.beside(""), rig.path("inbox/linked")).unwrap();
    mknodat(CWD, rig.path("inbox/pipe.png"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let cases = [
        ("missing.png", "is not there"),
        ("cut.png", "its end is missing"),
        ("drawing.png", "an SVG drawing"),
        ("page.png", "a web page"),
        ("link.png", "symbolic link"),
        ("linked/secret.png", "symbolic link"),
        ("pipe.png", "folder, pipe or device"),
        ("folder.png", "folder, pipe or device"),
        ("../secret.png", "`..`"),
        ("/etc/a.png", "absolute"),
    ];
    for (number, (path, _)) in cases.iter().enumerate() {
        rig.drop(&format!("{number}.json"), job("bad", &[path], ""));
    }
    for (number, (path, word)) in cases.iter().enumerate() {
        let reason = until(|| reason(&rig, &format!("{number}.json"))).await;
        assert!(reason.contains(word), "{path}: {reason}");
        let is_opened = !path.starts_with(['.', '/']);
        assert!(!is_opened || reason.contains(path), "{path}: {reason}");
    }
    assert!(rig.sandbox.ledger().tasks.is_empty());
    until(|| (copies(&rig) == 0).then_some(())).await;
    rig.finish().await;
}

#[tokio::test]
async fn picture_that_does_not_come_through_its_address_costs_nothing() {
    let mut rig = serving().await;
    rig.set("CALLBACKS__PUBLIC_URL", "http://127.0.0.1:9");
    rig.set("POLLING__CALLBACK_GRACE", "200ms");
    rig.start_daemon().await;
    rig.drop("a.png", png(b"a"));
    rig.drop("waits.json", job("waits", &["a.png"], ""));
    rig.drop("other.json", job("other", &["https://example.com/a.png"], ""));
    rig.until("other", &["succeeded"]).await;
    let waits = until_reason(&rig, "waits").await;
    assert!(waits.contains("picture `a.png`") && waits.contains("http://127.0.0.1:9"), "{waits}");
    assert_eq!(rig.sandbox.ledger().tasks.len(), 1);
    // A person who knows better submits it all the same.
    let (status, _) = rig.post("/api/v1/jobs/waits/release", json!({})).await;
    assert_eq!(status, 200);
    let failed = rig.until("waits", &["failed"]).await;
    assert_eq!(failed["error"]["code"], "upstream_bad_request");
    // A retry needs the copy again, which went with the job, and finds the original.
    until(|| (copies(&rig) == 0).then_some(())).await;
    rig.charges_allowed.insert(failed["id"].as_str().unwrap().to_owned(), 2);
    rig.stop().await;
    rig.set("CALLBACKS__PUBLIC_URL", "http://127.0.0.1:0");
    rig.start_daemon().await;
    rig.post("/api/v1/jobs/waits/retry", json!({})).await;
    rig.until("waits", &["succeeded"]).await;
    rig.finish().await;
}

async fn until_reason(rig: &Rig, name: &str) -> String {
    for _ in 0..600 {
        let (_, job) = rig.get(&format!("/api/v1/jobs/{name}")).await;
        if let Some(reason) = job["reason"].as_str() {
            assert_eq!(job["state"], "pending");
            return reason.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} has no reason");
}

#[tokio::test]
async fn lost_picture_holds_a_retried_job_until_it_is_back() {
    let mut rig = serving().await;
    rig.start_daemon().await;
    rig.drop("a.png", png(b"a"));
    rig.drop("job.json", job("job", &["a.png"], "end=task_failed x1"));
    let failed = rig.until("job", &["failed"]).await;
    until(|| (copies(&rig) == 0).then_some(())).await;
    std::fs::remove_file(rig.path("inbox/a.png")).unwrap();
    rig.charges_allowed.insert(failed["id"].as_str().unwrap().to_owned(), 2);
    rig.post("/api/v1/jobs/job/retry", json!({})).await;
    let held = rig.until("job", &["held"]).await;
    assert!(held["reason"].as_str().unwrap().contains("a.png"), "{held:#}");
    rig.drop("a.png", png(b"a"));
    rig.post("/api/v1/jobs/job/release", json!({})).await;
    rig.until("job", &["failed", "succeeded"]).await;
    rig.finish().await;
}

#[tokio::test]
async fn path_is_refused_where_pictures_are_not_served_and_doctor_tests_the_way() {
    let mut rig = Rig::start("").await;
    rig.drop("a.png", png(b"a"));
    rig.drop("off.json", job("off", &["a.png"], ""));
    let off = until(|| reason(&rig, "off.json")).await;
    assert!(off.contains("media.serve = true"), "{off}");
    // The setting is there, and the daemon does not know it yet.
    let public = rig.public();
    rig.set("CALLBACKS__PUBLIC_URL", &public);
    rig.set("MEDIA__SERVE", "true");
    let doctor = rig.run(&["doctor"]).await;
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(text.contains("does not serve pictures") && text.contains("restart the daemon"), "{text}");
    rig.set("CALLBACKS__PUBLIC_URL", "http://127.0.0.1:0");
    rig.stop().await;
    rig.start_daemon().await;
    let body: Value = serde_json::from_str(&job("posted", &["a.png"], "")).unwrap();
    let (status, problem) = rig.post("/api/v1/jobs", body).await;
    assert_eq!(status, 422, "{problem:#}");
    assert!(problem.to_string().contains("not handed over"), "{problem:#}");
    let public = rig.public();
    rig.set("CALLBACKS__PUBLIC_URL", &public);
    let doctor = rig.run(&["doctor"]).await;
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(text.contains("a picture arrives from"), "{text}");
    assert!(!text.contains("a.png"), "a picture is nothing to take away: {text}");
    rig.finish().await;
}
