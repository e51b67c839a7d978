//! Local pictures of jobs that do not come through the inbox: uploaded, handed over by the command line, or those of an older
//! job.

use serde_json::{Value, json};

use crate::support::{Rig, SAKURA, png};

async fn serving() -> Rig {
    let mut rig = Rig::set_up("").await;
    rig.set("MEDIA__SERVE", "true");
    rig.start_daemon().await;
    rig
}

fn job(name: &str, pictures: &[&str]) -> Value {
    let prompt = format!("{SAKURA} [sandbox: queue=50ms run=100ms]");
    json!({"model": "wan2.5-i2v", "prompt": prompt, "image_urls": pictures, "dropreel": {"name": name}})
}

async fn upload(rig: &Rig, picture: Vec<u8>) -> (u16, Value) {
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let request = http.post(format!("{}/api/v1/pictures", rig.admin()));
    let request = request.header("content-type", "application/octet-stream").body(picture);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn uploaded_picture_is_named_by_its_content_and_kept_for_its_job() {
    let rig = serving().await;
    let (status, picture) = upload(&rig, png(b"uploaded")).await;
    assert_eq!(status, 201, "{picture:#}");
    let name = picture["name"].as_str().unwrap();
    let (status, problem) = upload(&rig, b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec()).await;
    assert_eq!((status, problem["detail"].as_str().unwrap().contains("SVG")), (422, true), "{problem:#}");

    let missing = format!("{}.png", "0".repeat(64));
    for (path, word) in [("a.png", "not handed over"), (&*missing, "upload it again")] {
        for address in ["/api/v1/jobs", "/api/v1/estimate"] {
            let (_, answer) = rig.post(address, job("refused", &[path])).await;
            assert!(answer.to_string().contains(word), "{address} {path}: {answer:#}");
        }
    }
    let (status, created) = rig.post("/api/v1/jobs", job("sakura", &[name])).await;
    assert_eq!(status, 201, "{created:#}");
    rig.until("sakura", &["succeeded"]).await;
    // There is no original to find it again: its copy stays for as long as its job is known.
    let (status, _) = rig.post("/api/v1/jobs/sakura/again", json!({})).await;
    assert_eq!(status, 201);
    rig.until("sakura-v2", &["succeeded"]).await;
    assert_eq!(rig.sandbox.ledger().tasks.len(), 2);
    rig.finish().await;
}

#[tokio::test]
async fn again_and_edit_keep_the_pictures_of_the_old_job() {
    let rig = serving().await;
    rig.drop("a.png", png(b"a"));
    rig.drop("old.json", job("old", &["a.png"]).to_string());
    rig.until("old", &["succeeded"]).await;
    let (status, answer) = rig.post("/api/v1/jobs/old/again", json!({"set": {"prompt": "雨"}})).await;
    assert_eq!(status, 201, "{answer:#}");
    rig.until("old-v2", &["succeeded"]).await;
    let (status, answer) =
        rig.post("/api/v1/jobs/old/again", json!({"set": {"image_urls": ["b.png"]}})).await;
    assert_eq!(status, 422, "{answer:#}");
    assert!(answer.to_string().contains("b.png"), "{answer:#}");

    rig.post("/api/v1/pause", json!({"what": "submits"})).await;
    let (status, _) = rig.post("/api/v1/jobs/old/again", json!({})).await;
    assert_eq!(status, 201);
    let (status, answer) = rig.post("/api/v1/jobs/old-v3/edit", json!({"set": {"duration": 10}})).await;
    assert_eq!(status, 200, "{answer:#}");
    let url = "https://example.com/b.png";
    let (status, _) = rig.post("/api/v1/jobs/old/again", json!({"set": {"image_urls": [url]}})).await;
    assert_eq!(status, 201);
    let (_, picture) = upload(&rig, png(b"b")).await;
    let edit = json!({"set": {"image_urls": [picture["name"], url]}});
    let (status, answer) = rig.post("/api/v1/jobs/old-v4/edit", edit).await;
    assert_eq!(status, 200, "{answer:#}");
    rig.post("/api/v1/resume", json!({})).await;
    rig.until("old-v3", &["succeeded"]).await;
    rig.until("old-v4", &["succeeded"]).await;
    // Without its copy and its original, a picture is missed before anything is bought.
    std::fs::remove_file(rig.path("inbox/a.png")).unwrap();
    let mut copies = Vec::new();
    for _ in 0..600 {
        copies = std::fs::read_dir(rig.path("pictures")).unwrap().map(|copy| copy.unwrap().path()).collect();
        if copies.len() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(copies.len(), 1, "that of old-v4 has no original");
    let (status, answer) = rig.post("/api/v1/jobs/old/again", json!({})).await;
    assert_eq!(status, 422, "{answer:#}");
    assert!(answer.to_string().contains("so is the original"), "{answer:#}");
    rig.finish().await;
}
