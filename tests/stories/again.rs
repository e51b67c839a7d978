//! A person runs a request again, with other values.

use serde_json::json;

use crate::support::output::{stderr, stdout, stdout_json};
use crate::support::{Rig, SAKURA, quick};

#[tokio::test]
async fn old_request_runs_again_with_other_values_and_is_linked() {
    let rig = Rig::start("").await;
    let file = format!(
        r#"{{"model":"wan2.5-t2v", "prompt":"{SAKURA}","duration":5,"seed":11,"scale": 1.10,"extra":{{"prompt_extend":false}},
        "dropreel":{{"name":"sakura","priority":7,"labels":{{"project":"spring"}},"max_cost_usd":2,"key":"k1"}}}}"#
    );
    rig.drop("sakura.json", file);
    let old = rig.until("sakura", &["succeeded"]).await;
    let id = old["id"].as_str().unwrap();

    let priced = rig.run(&["again", "sakura", "--set", "duration=10", "--dry-run"]).await;
    assert!(stdout(&priced).starts_with("1 job, about $"), "{}", stdout(&priced));
    let set = [
        "again",
        "sakura",
        "--set",
        "duration=10",
        "--set",
        "extra.audio=true",
        "--set",
        "prompt=rain = rain",
    ];
    let made = rig.run(&set).await;
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert!(stderr(&made).contains("accepted sakura-v2  "), "{}", stderr(&made));
    let new_id = stdout(&made).trim().to_owned();
    let new = rig.until(&new_id, &["succeeded"]).await;
    assert_eq!(
        (&new["name"], &new["priority"], &new["max_cost_usd"]),
        (&json!("sakura-v2"), &json!(7), &json!(2.0))
    );
    assert_eq!((&new["labels"], &new["again_of"]), (&json!({"project": "spring"}), &json!(id)));
    assert_eq!(rig.job(id).await["again_as"], json!([new_id]));
    let body = &new["request"];
    assert_eq!((&body["duration"], &body["prompt"]), (&json!(10), &json!("rain = rain")));
    assert_eq!(body["extra"], json!({"prompt_extend": false, "audio": true}));
    let written = stdout(&rig.run(&["show", "--json", &new_id]).await);
    assert!(written.contains("\"seed\":11,\"scale\": 1.10,"), "as it was written: {written}");
    let shown = stdout(&rig.run(&["show", id]).await);
    assert!(shown.contains(&format!("again as     {new_id}")), "{shown}");

    // Of a version, and several at once: one batch, counted on.
    let three = rig.run(&["again", "sakura-v2", "--new-seed", "--times", "3"]).await;
    let ids: Vec<String> = stdout(&three).lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), 3, "{}", stderr(&three));
    let mut seeds = std::collections::BTreeSet::from(["11".to_owned()]);
    let mut batches = std::collections::BTreeSet::new();
    for (id, name) in ids.iter().zip(["sakura-v3", "sakura-v4", "sakura-v5"]) {
        let job = rig.until(id, &["succeeded"]).await;
        assert_eq!((&job["name"], &job["warnings"]), (&json!(name), &json!([])));
        seeds.insert(job["request"]["seed"].to_string());
        batches.insert(job["batch"].as_str().unwrap().to_owned());
    }
    assert_eq!((seeds.len(), batches.len()), (4, 1));

    let page = reqwest::get(format!("{}/jobs/{new_id}", rig.admin())).await.unwrap().text().await.unwrap();
    assert!(page.contains(&format!("<a href=\"/jobs/{id}\">sakura</a>")), "the page links to the old job");
    assert!(page.contains(&format!("<a href=\"/jobs/{}\">sakura-v5</a>", ids[2])), "and to the new ones");
    rig.finish().await;
}

#[tokio::test]
async fn again_is_checked_priced_and_answered_once_for_a_key() {
    let rig = Rig::start("").await;
    rig.drop("a.json", quick("a", ""));
    let id = rig.until("a", &["succeeded"]).await["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/jobs/{id}/again");
    let (status, refused) = rig.post(&path, json!({"set": {"duration": "five"}})).await;
    assert_eq!((status, &refused["errors"][0]["pointer"]), (422, &json!("/duration")), "{refused}");
    for body in [
        json!({"times": 0}),
        json!({"times": 51}),
        json!({"set": {"seed": 1}, "new_seed": true}),
        json!({"set": {"": 1}}),
        json!({"set": {"duration.a": 1}}),
        json!({"sets": {}}),
    ] {
        assert_eq!(rig.post(&path, body.clone()).await.0, 400, "{body}");
    }
    let (status, dear) = rig.post(&format!("{path}?max_cost_usd=0.01"), json!({"times": 2})).await;
    assert_eq!((status, &dear["type"]), (422, &json!("urn:dropreel:problem:too-expensive")));
    let limited = rig.run(&["again", "a", "--max-cost", "0.01"]).await;
    assert_eq!(limited.status.code(), Some(1), "{}", stderr(&limited));
    assert_eq!(rig.all_jobs().await.len(), 1, "nothing was made");

    let twice = ["again", "a", "--times", "2", "--idempotency-key", "k"];
    let first = rig.run(&twice).await;
    assert!(stderr(&first).contains("warning: the same request several times"), "{}", stderr(&first));
    let repeated = rig.run(&twice).await;
    assert_eq!(stdout(&first), stdout(&repeated));
    let other = rig.run(&["again", "a", "--times", "3", "--idempotency-key", "k"]).await;
    assert_eq!(other.status.code(), Some(1), "{}", stderr(&other));
    assert_eq!(rig.until_settled(3).await.len(), 3, "made once");

    let task = rig.make_task("").await;
    rig.run(&["adopt", &task, "--name", "foreign"]).await;
    let adopted = rig.run(&["again", "foreign"]).await;
    assert_eq!(adopted.status.code(), Some(1));
    assert!(stderr(&adopted).contains("no request to run again"), "{}", stderr(&adopted));
    let estimate = stdout_json(&rig.run(&["again", "a", "--times", "4", "--dry-run", "--json"]).await);
    assert_eq!(estimate["jobs"], 4);
    rig.until_settled(4).await;
    rig.finish().await;
}

#[tokio::test]
async fn changed_text_of_a_job_makes_new_ones_and_is_previewed_with_their_names() {
    let rig = Rig::start("").await;
    rig.drop("a.json", quick("a", "").replace(r#""duration":5"#, r#""duration":5,"seed":7,"scale": 1.10"#));
    let id = rig.until("a", &["succeeded"]).await["id"].as_str().unwrap().to_owned();
    let text = rig.job(&id).await["text"].as_str().unwrap().to_owned();
    assert!(text.contains("\"scale\": 1.10") && text.contains("\"dropreel\":{\"name\":\"a\""), "{text}");
    let path = format!("/api/v1/jobs/{id}/again");
    let preview = async |body| rig.post(&path, body).await.1["files"][0].clone();
    let names = |file: &serde_json::Value| {
        let first = file["first_jobs"].as_array().unwrap();
        first.iter().map(|job| job["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let same = preview(json!({"text": text.replace(", ", ",\n "), "dry_run": true})).await;
    assert_eq!(names(&same), ["a-v2"]);
    assert!(same["warnings"][0]["message"].as_str().unwrap().contains("same seed"), "{same}");
    let changed = text.replace(SAKURA, "rain");
    let file = preview(json!({"text": changed, "new_seed": true, "times": 3, "dry_run": true})).await;
    assert_eq!(
        (names(&file), &file["models"]["wan2.5-t2v"]),
        (vec!["a-v2".into(), "a-v3".into(), "a-v4".into()], &json!(3))
    );
    assert_eq!(file["warnings"], json!([]));
    let named = changed.replace(r#""name":"a""#, r#""name":"rain""#);
    let file = preview(json!({"text": named, "times": 2, "dry_run": true})).await;
    assert_eq!(names(&file), ["rain", "rain-2"], "a name of its own is kept");
    let (status, broken) = rig.post(&path, json!({"text": "{\n \"model\" 1}", "new_seed": true})).await;
    assert_eq!((status, &broken["errors"][0]["line"]), (422, &json!(2)), "{broken}");
    assert_eq!(rig.all_jobs().await.len(), 1, "a dry run makes nothing");

    let (status, made) = rig.post(&path, json!({"text": changed})).await;
    assert_eq!(status, 201, "{made}");
    let new = rig.until("a-v2", &["succeeded"]).await;
    assert_eq!((&new["request"]["prompt"], &new["request"]["seed"]), (&json!(new["prompt"]), &json!(7)));
    assert!(new["prompt"].as_str().unwrap().starts_with("rain"), "{new}");
    rig.finish().await;
}

#[tokio::test]
async fn waiting_job_is_edited_and_keeps_its_old_text() {
    let mut rig = Rig::start("").await;
    rig.run(&["pause", "submits"]).await;
    let job = format!(
        "{{\"model\":\"wan2.5-t2v\",\n \"prompt\":\"{SAKURA}\",\"duration\":5,\"scale\": 1.10,\"dropreel\":{{\"name\":\"sakura\",\"labels\":{{\"project\":\"spring\"}}}}}}"
    );
    rig.drop("sakura.json", job);
    let old = rig.until("sakura", &["pending"]).await;
    let set = [
        "edit",
        "sakura",
        "--set",
        "duration=10",
        "--set",
        "dropreel.priority=5",
        "--set",
        "dropreel.labels.project=autumn",
    ];
    let edited = rig.run(&set).await;
    assert_eq!(edited.status.code(), Some(0), "{}", stderr(&edited));
    assert!(
        stdout(&edited).starts_with("sakura: changed; it is checked and estimated again; about $"),
        "{}",
        stdout(&edited)
    );
    let new = rig.job("sakura").await;
    assert_eq!((&new["priority"], &new["labels"]), (&json!(5), &json!({"project": "autumn"})));
    assert!(new["estimate_usd"].as_f64() > old["estimate_usd"].as_f64(), "{new}");
    let entry = &new["history"][1];
    assert_eq!(entry["event"], "edited");
    let before = entry["detail"].as_str().unwrap().strip_prefix("it was ").unwrap();
    assert!(before.starts_with("{\"model\":\"wan2.5-t2v\",  \"prompt\":"), "{before}");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(before).unwrap()["dropreel"]["labels"]["project"],
        "spring"
    );
    assert_eq!(rig.get("/api/v1/jobs?label=project%3Dspring").await.1["jobs"], json!([]));
    assert_eq!(rig.get("/api/v1/jobs?label=project%3Dautumn").await.1["jobs"].as_array().unwrap().len(), 1);

    // In an editor: what is wrong is said, kept, and changes nothing.
    rig.set_variable("EDITOR", "sed -i s/1.10/1.20/");
    let edited = rig.run(&["edit", "sakura"]).await;
    assert_eq!(edited.status.code(), Some(0), "{}", stderr(&edited));
    assert_eq!(rig.job("sakura").await["request"]["scale"], 1.2);
    rig.set_variable("EDITOR", "sed -i s/:10/:ten/");
    let broken = rig.run(&["edit", "sakura"]).await;
    let kept =
        stderr(&broken).lines().last().unwrap().trim().strip_prefix("your text is in ").unwrap().to_owned();
    assert_eq!(broken.status.code(), Some(1));
    assert!(std::fs::read_to_string(&kept).unwrap().contains(":ten"), "{kept}");
    std::fs::remove_file(kept).unwrap();
    rig.set_variable("EDITOR", "true");
    assert!(stderr(&rig.run(&["edit", "sakura"]).await).contains("nothing was changed"));
    for set in ["duration=ten", "dropreel.key=k", "dropreel.repeat=2", "dropreel.again=true"] {
        let refused = rig.run(&["edit", "sakura", "--set", set]).await;
        assert_eq!(refused.status.code(), Some(1), "{set}: {}", stdout(&refused));
    }
    assert_eq!(rig.job("sakura").await["history"].as_array().unwrap().len(), 3);

    rig.run(&["resume"]).await;
    let done = rig.until("sakura", &["succeeded"]).await;
    assert_eq!((&done["request"]["duration"], &done["request"]["scale"]), (&json!(10), &json!(1.2)));
    let late = rig.run(&["edit", "sakura", "--set", "duration=5"]).await;
    assert_eq!(late.status.code(), Some(1));
    assert!(stderr(&late).contains("too late: it succeeded; `dropreel again`"), "{}", stderr(&late));
    let path = format!("/api/v1/jobs/{}/edit", done["id"].as_str().unwrap());
    assert_eq!(rig.post(&path, json!({"set": {"duration": 5}})).await.0, 409);
    rig.finish().await;
}

#[tokio::test]
async fn edit_of_a_held_job_is_checked_and_submitted() {
    let rig = Rig::start("").await;
    let limited = quick("dear", "").replace(r#""name":"dear""#, r#""name":"dear","max_cost_usd":0.01"#);
    rig.drop("dear.json", limited);
    rig.until("dear", &["held"]).await;
    rig.run(&["edit", "dear", "--set", "dropreel.max_cost_usd=0.02"]).await;
    let job = rig.until("dear", &["held"]).await;
    assert!(job["reason"].as_str().unwrap().contains("$0.02"), "{job}");
    rig.run(&["edit", "dear", "--set", "dropreel.max_cost_usd=5"]).await;
    rig.until("dear", &["succeeded"]).await;
    rig.finish().await;
}
