//! The main job: from a dropped file to a stored video, in each mode, with and without callbacks.

use serde_json::{Value, json};

use crate::support::{Rig, SAKURA, files_below, quick};

/// The example requests of the provider's documentation: four models, three modes.
fn requests() -> Vec<(&'static str, Value)> {
    let image = "https://example.com/reference.png";
    let (first, last) = ("https://example.com/first.png", "https://example.com/last.png");
    let base = |model: &str| json!({"model": model, "aspect_ratio": "16:9", "duration": 5});
    let with = |model: &str, more: Value| {
        let mut request = base(model);
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    vec![
        ("text-to-video", with("wan2.5-t2v", json!({"prompt": SAKURA}))),
        ("image-to-video", with("wan2.5-i2v", json!({"prompt": SAKURA, "image_urls": [image]}))),
        ("first-and-last", with("wan2.5-i2v", json!({"first_frame": first, "last_frame": last}))),
        ("flash", with("wan2.2-i2v-flash", json!({"prompt": SAKURA, "image_urls": [image]}))),
        ("plus", with("wan2.2-i2v-plus", json!({"prompt": SAKURA, "image_urls": [image]}))),
    ]
}

async fn every_mode_ends_as_a_video(rig: &Rig) {
    for (name, request) in requests() {
        rig.drop(&format!("{name}.json"), request.to_string());
    }
    for (name, _) in requests() {
        let job = rig.until(name, &["succeeded"]).await;
        let file = job["files"][0]["path"].as_str().unwrap();
        let bytes = std::fs::read(file).unwrap();
        assert_eq!(&bytes[4..8], b"ftyp", "{name}");
        assert_eq!(job["files"][0]["bytes"], bytes.len());
        assert_eq!((job["progress"].as_u64(), job["cost_quota"].as_i64().is_some()), (Some(100), true));
    }
    let ledger = rig.sandbox.ledger();
    assert_eq!(ledger.tasks.len(), 5);
}

#[tokio::test]
async fn every_mode_succeeds_with_callbacks_and_few_polls() {
    let mut rig = Rig::set_up("").await;
    rig.set("POLLING__CALLBACK_GRACE", "1m");
    rig.start_daemon().await;
    every_mode_ends_as_a_video(&rig).await;
    let ledger = rig.sandbox.ledger();
    assert!(ledger.callbacks.iter().all(|callback| callback.status == Some(204)), "{:?}", ledger.callbacks);
    assert_eq!(ledger.calls.get("status").copied(), Some(5), "one poll for each callback");
    rig.finish().await;
}

#[tokio::test]
async fn every_mode_succeeds_with_all_callbacks_lost() {
    let mut rig = Rig::set_up("callback=lost").await;
    rig.set("POLLING__CALLBACK_GRACE", "500ms");
    rig.start_daemon().await;
    every_mode_ends_as_a_video(&rig).await;
    rig.finish().await;
}

#[tokio::test]
async fn every_mode_succeeds_without_a_public_url() {
    let mut rig = Rig::set_up("").await;
    rig.set("CALLBACKS__PUBLIC_URL", "");
    rig.start_daemon().await;
    every_mode_ends_as_a_video(&rig).await;
    assert!(rig.sandbox.ledger().callbacks.is_empty());
    rig.finish().await;
}

#[tokio::test]
async fn provider_receives_the_users_own_text() {
    let rig = Rig::start("catalogue=also:some-new-model").await;
    let text = r#"{ "model" : "some-new-model", "strength":1.10, "big": 123456789012345678901234567890,
        "esc": "\u6625\/x", "dropreel": {"name": "odd", "priority": 3}, "z": [1e2, {"q":null}] }"#;
    rig.drop("odd.json", text);
    rig.until("odd", &["succeeded"]).await;
    let sidecar = files_below(&rig.path("videos")).into_iter().find(|path| path.ends_with("odd.mp4.json"));
    let sidecar = std::fs::read_to_string(sidecar.unwrap()).unwrap();
    for part in [r#""strength":1.10"#, "123456789012345678901234567890", r#""\u6625\/x""#, "1e2"] {
        assert!(sidecar.contains(part), "{part} is not in {sidecar}");
    }
    assert!(!sidecar.contains("priority"));
    rig.finish().await;
}

#[tokio::test]
async fn each_combination_of_an_object_ends_as_a_video_of_its_own() {
    let mut rig = Rig::start("").await;
    let object = json!({"model": "wan2.5-t2v", "prompt": SAKURA,
        "dropreel": {"name": "many", "repeat": 2, "matrix": {"resolution": ["480p", "720p"]}}});
    rig.drop("x.json", object.to_string());
    rig.until("many-1", &["submitting", "queued", "processing", "downloading", "succeeded"]).await;
    rig.kill();
    rig.start_daemon().await;
    let mut requests = Vec::new();
    for name in ["many-1", "many-2", "many-3", "many-4"] {
        let job = rig.until(name, &["succeeded"]).await;
        let video = job["files"][0]["path"].as_str().unwrap();
        assert!(video.ends_with(&format!("/{name}.mp4")), "{video}");
        let sidecar: Value =
            serde_json::from_slice(&std::fs::read(format!("{video}.json")).unwrap()).unwrap();
        assert_eq!(sidecar["request"], job["request"]);
        requests.push((job["request"]["resolution"].clone(), job["request"]["seed"].as_u64().unwrap()));
    }
    let (one, other) = (requests[0].1, requests[1].1);
    assert_ne!(one, other);
    let expected = [("480p", one), ("480p", other), ("720p", one), ("720p", other)];
    assert_eq!(requests, expected.map(|(resolution, seed)| (resolution.into(), seed)));
    assert_eq!(rig.sandbox.ledger().tasks.len(), 4);
    rig.finish().await;
}

#[tokio::test]
async fn several_outputs_of_every_kind_are_stored() {
    let rig = Rig::start("").await;
    rig.drop("two.json", quick("two", "outputs=2"));
    rig.drop("image.json", quick("image", "kind=image"));
    rig.drop("audio.json", quick("audio", "kind=audio outputs=3"));
    rig.drop("twice.json", quick("twice", "twice=yes"));
    let count = async |name: &str| rig.until(name, &["succeeded"]).await["files"].as_array().unwrap().len();
    assert_eq!(
        (count("two").await, count("image").await, count("audio").await, count("twice").await),
        (2, 1, 3, 1)
    );
    let names: Vec<String> = files_below(&rig.path("videos"))
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .filter(|name| !name.ends_with(".json") && !name.starts_with('.'))
        .collect();
    for expected in ["two.mp4", "two-2.mp4", "image.jpg", "audio.mp3", "audio-3.mp3", "twice.mp4"] {
        assert!(names.iter().any(|name| name == expected), "{expected} is not in {names:?}");
    }
    rig.finish().await;
}

#[tokio::test]
async fn jobs_with_one_name_never_replace_each_others_files() {
    let rig = Rig::start("").await;
    let same: Vec<String> = (0..4).map(|_| quick("same", "")).collect();
    rig.drop("same.json", format!("[{}]", same.join(",")));
    rig.until_settled(4).await;
    let (_, page) = rig.get("/api/v1/jobs").await;
    let paths: std::collections::BTreeSet<_> = page["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["files"][0]["path"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(paths.len(), 4);
    rig.finish().await;
}

#[tokio::test]
async fn date_folders_follow_the_local_time_zone() {
    let now = dropreel::clock::Clock::machine().now();
    let hour: u32 = now.to_string()[11..13].parse().unwrap();
    // 14 hours east of Greenwich it is tomorrow already, or 12 hours west of it still yesterday.
    let zone = if hour >= 11 { "EAST-14" } else { "WEST+12" };
    let mut rig = Rig::set_up("").await;
    rig.set_variable("TZ", zone);
    rig.start_daemon().await;
    rig.drop("here.json", quick("here", ""));
    let job = rig.until("here", &["succeeded"]).await;
    let folder = std::fs::read_dir(rig.path("accepted")).unwrap().next().unwrap().unwrap();
    let date = folder.file_name().into_string().unwrap();
    assert_ne!(date, now.date(), "the date is that of UTC");
    let video = job["files"][0]["path"].as_str().unwrap();
    assert!(video.ends_with(&format!("/{date}/here.mp4")), "{video}");
    rig.finish().await;
}
