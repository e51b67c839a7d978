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
async fn page_shows_the_pictures_of_jobs_and_nothing_else() {
    let rig = serving().await;
    rig.drop("a.png", png(b"a"));
    rig.drop("old.json", job("old", &["a.png"]).to_string());
    let old = rig.until("old", &["succeeded"]).await;
    let (_, uploaded) = upload(&rig, png(b"uploaded")).await;
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let shown = async |name: &str| {
        let answer = http.get(format!("{}/pictures/{name}", rig.admin())).send().await.unwrap();
        let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), media_type, answer.bytes().await.unwrap().to_vec())
    };
    let png_answer = |content: &[u8]| (200, "image/png".to_owned(), png(content));
    assert_eq!(shown(uploaded["name"].as_str().unwrap()).await, png_answer(b"uploaded"));
    // Of an ended job, also from the original, as long as that is what it was.
    let name = rig.job(old["id"].as_str().unwrap()).await["pictures"]["a.png"].as_str().unwrap().to_owned();
    assert_eq!(shown(&name).await, png_answer(b"a"));
    std::fs::remove_file(rig.path("pictures").join(&name)).ok();
    assert_eq!(shown(&name).await, png_answer(b"a"));
    std::fs::write(rig.path("inbox/a.png"), png(b"another")).unwrap();
    for wrong in
        [&*name, &name.replace(".png", ".jpg"), "..%2fdropreel.db", &format!("{}.png", "0".repeat(64))]
    {
        assert_eq!(shown(wrong).await.0, 404, "{wrong}");
    }
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

/// A table in a folder of its own, with its pictures.
fn shots(rig: &Rig) -> std::path::PathBuf {
    let folder = rig.beside("shots");
    std::fs::create_dir_all(folder.join("more")).unwrap();
    std::fs::write(folder.join("my 1st shot.png"), png(b"1")).unwrap();
    let mut small = png(b"2");
    small[16..20].copy_from_slice(&100_u32.to_be_bytes());
    std::fs::write(folder.join("more/b.png"), small).unwrap();
    let rows = "dropreel.name,model,prompt,image_urls\n\
        one,wan2.5-i2v,rain [sandbox: queue=50ms run=100ms],my 1st shot.png\n\
        two,wan2.5-i2v,rain [sandbox: queue=50ms run=100ms],more/b.png\n";
    std::fs::write(folder.join("shots.csv"), rows).unwrap();
    folder
}

#[tokio::test]
async fn command_line_hands_over_the_pictures_beside_a_job_file() {
    let rig = serving().await;
    let folder = shots(&rig);
    let path = |name: &str| folder.join(name).display().to_string();
    let good = path("shots.csv");
    let rows = std::fs::read_to_string(&good).unwrap();
    let bad = rows.replace("my 1st shot", "missing").replace("more/b.png", "../b.png");
    std::fs::write(path("bad.csv"), bad).unwrap();
    std::fs::write(path("more/b.svg"), "<svg xmlns='http://www.w3.org/2000/svg'/>").unwrap();
    std::fs::write(path("svg.csv"), rows.replace("b.png", "b.svg")).unwrap();

    // All that is wrong is listed, and nothing is submitted.
    for command in ["check", "submit"] {
        let refused = rig.run(&[command, &path("bad.csv")]).await;
        assert_eq!(refused.status.code(), Some(1));
        let text = [refused.stdout, refused.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        for part in ["bad.csv:2:1: ", "`missing.png` is not there", "bad.csv:3:1: ", "`..`"] {
            assert!(text.contains(part), "{command}: no {part} in {text}");
        }
    }
    let checked = rig.run(&["check", &good]).await;
    assert_eq!(checked.status.code(), Some(0));
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(text.contains("2 jobs") && text.contains("pixels"), "{text}");
    assert!(std::fs::read_dir(rig.path("pictures")).is_err(), "a check hands over nothing");

    let limited = rig.run(&["submit", "--max-cost", "0.0001", &good, &path("svg.csv")]).await;
    assert_eq!(limited.status.code(), Some(1));
    assert!(rig.sandbox.ledger().tasks.is_empty());
    let submitted = rig.run(&["submit", "--wait", "--max-cost", "100", &good]).await;
    assert_eq!(submitted.status.code(), Some(0), "{}", String::from_utf8_lossy(&submitted.stderr));
    assert!(String::from_utf8_lossy(&submitted.stderr).contains("pixels"), "the warnings are shown");
    rig.finish().await;
}

#[tokio::test]
async fn pictures_of_defaults_and_of_set_lie_beside_them_and_in_the_current_folder() {
    let rig = serving().await;
    let folder = shots(&rig);
    let style = rig.beside("style");
    std::fs::create_dir(&style).unwrap();
    std::fs::write(style.join("look.png"), png(b"look")).unwrap();
    let defaults = json!({"model": "wan2.5-i2v", "image_urls": ["look.png"]}).to_string();
    std::fs::write(style.join("defaults.json"), defaults).unwrap();
    std::fs::write(folder.join("rain.prompts.txt"), "rain [sandbox: queue=50ms run=100ms]\n").unwrap();
    let (defaults, prompts) = (style.join("defaults.json"), folder.join("rain.prompts.txt"));
    let command = ["submit", "--wait", "--defaults", defaults.to_str().unwrap(), prompts.to_str().unwrap()];
    let submitted = rig.run(&command).await;
    assert_eq!(submitted.status.code(), Some(0), "{}", String::from_utf8_lossy(&submitted.stderr));

    let run = async |arguments: &[&str]| {
        let mut command = rig.command(arguments);
        command.current_dir(&folder);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, text) = run(&["again", "rain", "--yes", "--set", r#"image_urls=["missing.png"]"#]).await;
    assert_eq!((code, text.contains("missing.png")), (Some(1), true), "{text}");
    let (code, text) = run(&["again", "rain", "--yes", "--set", r#"image_urls=["more/b.png"]"#]).await;
    assert_eq!(code, Some(0), "{text}");
    rig.until("rain-v2", &["succeeded"]).await;
    rig.post("/api/v1/pause", json!({"what": "submits"})).await;
    run(&["again", "rain", "--yes"]).await;
    let (code, text) = run(&["edit", "rain-v3", "--set", r#"image_urls=["my 1st shot.png"]"#]).await;
    assert_eq!(code, Some(0), "{text}");
    rig.post("/api/v1/resume", json!({})).await;
    rig.until("rain-v3", &["succeeded"]).await;
    rig.finish().await;
}

#[tokio::test]
async fn exported_jobs_take_their_pictures_along() {
    let rig = serving().await;
    std::fs::create_dir_all(rig.path("inbox/deep")).unwrap();
    std::fs::write(rig.path("inbox/deep/a.png"), png(b"deep")).unwrap();
    rig.drop("a.png", png(b"top"));
    rig.post("/api/v1/pause", json!({"what": "submits"})).await;
    rig.drop("deep/one.json", job("one", &["a.png"]).to_string());
    rig.drop("two.json", job("two", &["a.png"]).to_string());
    let plain = json!({"model": "wan2.5-t2v", "prompt": "rain [sandbox: queue=50ms run=100ms]"});
    rig.drop("plain.json", plain.to_string());
    for name in ["one", "two", "plain"] {
        rig.until(name, &["pending"]).await;
    }
    let run = async |arguments: &[&str]| {
        let output = rig.run(arguments).await;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(output.stdout), text(output.stderr))
    };
    let (lines, notes) = run(&["export"]).await;
    assert_eq!(lines.matches(r#"["a.png"]"#).count(), 2, "{lines}");
    assert!(notes.contains("2 jobs") && notes.contains("--pictures DIR"), "{notes}");
    // Alone, only what needs no picture is moved.
    let (lines, notes) = run(&["export", "--move"]).await;
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(notes.contains("2 jobs with local pictures stay here"), "{notes}");
    std::fs::remove_file(rig.path("inbox/a.png")).unwrap();
    let folder = rig.beside("moved");
    let (lines, _) = run(&["export", "--move", "--pictures", folder.to_str().unwrap()]).await;
    assert_eq!((lines.lines().count(), lines.contains("a.png")), (2, false), "{lines}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);

    let other = serving().await;
    for picture in std::fs::read_dir(&folder).unwrap() {
        let picture = picture.unwrap();
        other.drop(picture.file_name().to_str().unwrap(), std::fs::read(picture.path()).unwrap());
    }
    other.drop("moved.jsonl", lines);
    let jobs = other.until_settled(2).await;
    assert!(jobs.values().all(|state| state == "succeeded"), "{jobs:?}");
    other.finish().await;
    rig.finish().await;
}

/// The commands of docs/recipes.md#a-folder-of-pictures, as they are written.
#[tokio::test]
async fn recipe_of_a_folder_of_pictures_makes_a_video_of_each() {
    let rig = serving().await;
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/recipes.md")).unwrap();
    let recipe = text.split("## A folder of pictures").nth(1).unwrap();
    let block = |kind: &str| {
        let begins = format!("```{kind}\n");
        recipe.split(&begins).nth(1).unwrap().split("```").next().unwrap().to_owned()
    };
    let folder = rig.path("inbox/pictures.tmp");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["a.png", "my second, best.png", "c.PNG", "d.jpg"] {
        std::fs::write(folder.join(name), png(name.as_bytes())).unwrap();
    }
    std::fs::write(folder.join("defaults.json"), block("json")).unwrap();
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(block("sh")).current_dir(&folder);
    let status = tokio::task::spawn_blocking(move || shell.status().unwrap()).await.unwrap();
    assert!(status.success());
    std::fs::rename(&folder, rig.path("inbox/pictures")).unwrap();
    let jobs = rig.until_settled(4).await;
    let videos: std::collections::BTreeMap<_, _> =
        ["a", "c", "d", "my second, best"].map(|name| (name.to_owned(), "succeeded".to_owned())).into();
    let mut names = std::collections::BTreeMap::new();
    for job in rig.all_jobs().await {
        names.insert(job["name"].as_str().unwrap().to_owned(), job["state"].as_str().unwrap().to_owned());
    }
    assert_eq!(names, videos, "{jobs:?}");
    rig.finish().await;
}
