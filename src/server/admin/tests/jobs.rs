//! Jobs: posted, listed, found, acted on.

use super::*;

#[tokio::test]
async fn posted_job_file_becomes_jobs_at_once() {
    let admin = TestAdmin::start();
    let object = r#"{"model":"some-model","prompt":"p","seed":1.10,"dropreel":{"labels":{"a":"b"}}}"#;
    let answer = admin.post("/api/v1/jobs?name=%E6%98%A5.json", object).await;
    assert_eq!((answer.status, answer.json()["count"].as_u64()), (201, Some(1)), "{answer:?}");
    let job = &answer.json()["jobs"][0];
    assert_eq!(
        (&job["name"], &job["state"], &job["labels"]["a"]),
        (&json!("春"), &json!("pending"), &json!("b"))
    );
    let full = admin.get(&format!("/api/v1/jobs/{}", job["id"].as_str().unwrap())).await;
    assert!(full.body.contains(r#""request":{"model":"some-model","prompt":"p","seed":1.10}"#), "{full:?}");
    assert_eq!(full.json()["history"][0]["event"], "accepted");

    let nameless = admin.post("/api/v1/jobs", &format!("[{object},{object}]")).await;
    assert_eq!(names(&nameless.json()), ["job", "job-2"]);
    let lines =
        admin.post_lines("/api/v1/jobs?name=many.jsonl", &format!("{object}\n{object}\n\n{object}")).await;
    assert_eq!(names(&lines.json()), ["many", "many-2", "many-3"], "{lines:?}");
}

#[tokio::test]
async fn long_line_file_is_accepted_and_its_first_jobs_returned() {
    let admin = TestAdmin::start();
    let answer = admin.post_lines("/api/v1/jobs", &"{\"model\":\"m\"}\n".repeat(520)).await;
    let created = answer.json();
    assert_eq!((names(&created).len(), created["count"].as_u64()), (500, Some(520)));
    assert!(answer.body.starts_with(r#"{"jobs":[{"id":"#), "{}", &answer.body[..100]);
}

#[tokio::test]
async fn invalid_job_file_is_rejected_with_all_its_problems() {
    let admin = TestAdmin::start();
    let bad = admin.post("/api/v1/jobs?name=a.json", "[{\"model\":\"\"},\n {\"model\":1}]").await;
    let problem = assert_problem(&bad, 422, "and 1 more");
    assert_eq!(problem["errors"][0]["pointer"], "/0/model", "{problem}");
    let second = &problem["errors"][1];
    assert_eq!(
        (&second["pointer"], &second["line"], &second["column"]),
        (&json!("/1/model"), &json!(2), &json!(11))
    );
    let lines = admin.post_lines("/api/v1/jobs", "{\"model\":\"m\"}\n{\"model\":\"m\"").await;
    assert_eq!(assert_problem(&lines, 422, "line 2")["errors"][0]["line"], 2);

    assert_problem(&admin.post("/api/v1/jobs", "").await, 422, "empty");
    let conflict = "/api/v1/jobs?name=a.sync-conflict-20260404-064600-ABCDEFG.json";
    assert_problem(&admin.post(conflict, "{\"model\":\"m\"}").await, 422, "sync tool");
    assert_problem(&admin.post("/api/v1/jobs?name=../a.json", "{}").await, 400, "without its folder");
    let long = format!("{{\"model\":\"m\",\"prompt\":\"{}\"}}", "x".repeat(2048));
    assert_problem(&admin.post("/api/v1/jobs", &long).await, 413, "2048 bytes");
    assert_problem(&admin.post_lines("/api/v1/jobs", &long).await, 422, "2048 bytes");
    assert_problem(&admin.post_lines("/api/v1/jobs", &"\n".repeat(8193)).await, 413, "8192 bytes");
    assert_eq!(admin.get("/api/v1/jobs").await.json(), json!({"jobs": [], "next_cursor": null}));
}

#[tokio::test]
async fn duplicate_is_rejected_and_names_the_first_job() {
    let admin = TestAdmin::start();
    let first =
        admin.post("/api/v1/jobs?name=a.json", "{\"model\":\"m\"}").await.json()["jobs"][0]["id"].clone();
    let repeated = admin.post("/api/v1/jobs?name=a.json", "{\"model\":\"m\"}").await;
    assert_eq!(assert_problem(&repeated, 409, "again")["first_job"], first);
    assert_eq!(admin.post("/api/v1/jobs?name=b.json", "{\"model\":\"m\"}").await.status, 201);

    let keyed = |seed: u8| format!(r#"{{"model":"m","seed":{seed},"dropreel":{{"key":"order-1"}}}}"#);
    let first = admin.post("/api/v1/jobs", &keyed(1)).await.json()["jobs"][0]["id"].clone();
    assert_eq!(
        assert_problem(&admin.post("/api/v1/jobs", &keyed(2)).await, 409, "order-1")["first_job"],
        first
    );
}

#[tokio::test]
async fn repeated_request_with_its_key_gets_the_same_jobs() {
    let admin = TestAdmin::start();
    let post = async |path: &str, key: &str, body: &str| {
        let head = format!("POST {path}\nContent-Type: application/json\nIdempotency-Key: {key}");
        admin.server.send(&head, body).await
    };
    let body = r#"[{"model":"m","prompt":"a"},{"model":"m","prompt":"b"}]"#;
    let path = "/api/v1/jobs?name=a.json";
    let first = post(path, "once", body).await;
    assert_eq!((first.status, first.json()["count"].as_u64()), (201, Some(2)), "{first:?}");
    for key in ["once", "\"once\""] {
        let again = post(path, key, body).await;
        assert_eq!((again.status, again.body.as_str()), (201, first.body.as_str()), "{key}");
    }
    let other_requests =
        [(path, r#"{"model":"m","prompt":"c"}"#), ("/api/v1/jobs?name=b.json", body), ("/api/v1/jobs", body)];
    for (path, body) in other_requests {
        let problem = assert_problem(&post(path, "once", body).await, 422, "used for another request");
        assert_eq!(problem["type"], "urn:dropreel:problem:idempotency-key-reused");
    }
    // A rejected request has not used its key.
    assert_eq!(post("/api/v1/jobs", "twice", "{}").await.status, 422);
    assert_eq!(post("/api/v1/jobs", "twice", body).await.status, 201);
    assert_problem(&post(path, &"k".repeat(256), body).await, 400, "`Idempotency-Key`");
    assert_problem(&post(path, "\"\"", body).await, 400, "`Idempotency-Key`");
    assert_eq!(admin.get("/api/v1/jobs").await.json()["jobs"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn job_list_is_newest_first_filtered_and_paged() {
    let admin = TestAdmin::start();
    let jobs = admin.add_jobs(&["a", "b", "c", "d"]).await;
    let labels = [("project".to_owned(), "summer".to_owned()), ("k=".to_owned(), "=v".to_owned())].into();
    admin.rig.add_jobs(vec![Draft { labels, prompt: Some("ein Baum".into()), ..draft("e") }]).await;
    admin.act(jobs[1], OperatorAction::Cancel).await;

    let cases = [
        ("", "e d c b a"),
        ("state=cancelled", "b"),
        ("state=pending&label=project%3Dspring", "d c a"),
        ("label=project=summer", "e"),
        ("label=project=summer&label=project=spring", ""),
        ("q=BAUM", "e"),
        ("q=%E6%A8%B1%E8%8A%B1&limit=2", "d c"),
        ("limit=100000", "e d c b a"),
        ("q=", "e d c b a"),
    ];
    for (query, expected) in cases {
        let listed = admin.get(&format!("/api/v1/jobs?{query}")).await.json();
        assert_eq!(names(&listed).join(" "), expected, "{query}");
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("/api/v1/jobs?limit=2{cursor}")).await.json();
        seen.extend(names(&page).iter().map(|name| (*name).to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.join(" "), "e d c b a");
}

#[tokio::test]
async fn batch_lists_the_states_of_the_jobs_of_one_call() {
    let admin = TestAdmin::start();
    let object = r#"{"model":"m","dropreel":{"repeat":3}}"#;
    let created = admin.post("/api/v1/jobs?name=many.json", object).await.json();
    admin.post("/api/v1/jobs", r#"{"model":"m"}"#).await;
    let jobs = created["jobs"].as_array().unwrap();
    let listed = admin.get("/api/v1/batches?limit=1").await.json();
    assert_eq!((&listed["batches"][0]["file"], &listed["batches"][0]["jobs"]), (&Value::Null, &1.into()));
    let cursor = listed["next_cursor"].as_str().unwrap();
    let listed = admin.get(&format!("/api/v1/batches?cursor={cursor}")).await.json();
    assert_eq!(listed["next_cursor"], Value::Null);
    let batch = &listed["batches"][0];
    assert_eq!((&batch["file"], &batch["states"]), (&"many.json".into(), &json!({"pending": 3})));
    assert!(jobs.len() == 3 && jobs.iter().all(|job| job["batch"] == batch["id"]), "{created} {listed}");
    for query in ["limit=0", "cursor=x", "state=held"] {
        assert_problem(&admin.get(&format!("/api/v1/batches?{query}")).await, 400, "");
    }
}

#[tokio::test]
async fn wrong_query_is_rejected_with_the_valid_parameters() {
    let admin = TestAdmin::start();
    let cases = [
        ("state=runing", "pending, submitting, queued"),
        ("state=", "pending, submitting, queued"),
        ("label=", "KEY=VALUE"),
        (
            "stat=failed",
            "state, label, q, rating, file, folder, batch, needs, cause, model, sort, limit, cursor",
        ),
        ("label=project", "KEY=VALUE"),
        ("limit=0", "1 or more"),
        ("limit=-1", "whole number"),
        ("limit=many", "whole number"),
        ("cursor=x", "whole number"),
        ("state=failed&state=held", "only once"),
    ];
    for (query, detail) in cases {
        assert_problem(&admin.get(&format!("/api/v1/jobs?{query}")).await, 400, detail);
    }
    assert_problem(&admin.get("/api/v1/events?job=sakura").await, 400, "full job id");
}

#[tokio::test]
async fn job_is_found_by_id_id_prefix_and_name() {
    let admin = TestAdmin::start();
    let jobs = admin.add_jobs(&["春 a/b%2F?", "twin", "twin"]).await;
    let id = jobs[0].to_string();
    for reference in [&id, &id[..30], &id.to_uppercase(), "%E6%98%A5%20a%2Fb%252F%3F"] {
        let answer = admin.get(&format!("/api/v1/jobs/{reference}")).await;
        assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(id)), "{reference}: {answer:?}");
    }
    for reference in ["nobody", "0", &id[..5], "ffffffff", "a%2Fb"] {
        assert_problem(
            &admin.get(&format!("/api/v1/jobs/{reference}")).await,
            404,
            "no job has the id or name",
        );
    }
    for reference in ["twin", &id[..8]] {
        let problem =
            assert_problem(&admin.get(&format!("/api/v1/jobs/{reference}")).await, 409, "several jobs");
        let twin = json!({"id": jobs[2], "name": "twin", "state": "pending"});
        assert_eq!(problem["candidates"][0], twin, "{reference}");
    }
}

#[tokio::test]
async fn jobs_made_again_are_limited_however_they_are_counted() {
    let admin = TestAdmin::start();
    let text = r#"{"model":"wan2.5-t2v","prompt":"p","duration":5,"dropreel":{"name":"origin"}}"#;
    assert_eq!(admin.post("/api/v1/jobs", text).await.status, 201);
    let objects = |count: usize| format!("[{}]", vec![text; count].join(","));
    let cases = [
        (json!({"times": 51}), None),
        (json!({"times": 50}), Some(50)),
        (json!({"times": 25, "set": {"dropreel.repeat": 2}}), Some(50)),
        (json!({"times": 17, "set": {"dropreel.repeat": 3}}), None),
        (json!({"text": objects(50)}), Some(50)),
        (json!({"text": objects(51)}), None),
        (json!({"text": objects(26), "times": 2}), None),
    ];
    for (mut body, jobs) in cases {
        body["dry_run"] = json!(true);
        let answer = admin.post("/api/v1/jobs/origin/again", &body.to_string()).await;
        match jobs {
            Some(jobs) => assert_eq!(answer.json()["jobs"], json!(jobs), "{answer:?}"),
            None => drop(assert_problem(&answer, 400, "(inbox.max_expansion)")),
        }
    }
}

#[tokio::test]
async fn action_is_applied_or_rejected_with_the_reason() {
    let admin = TestAdmin::start();
    let job = admin.add_jobs(&["sakura"]).await[0];
    assert_problem(&admin.post("/api/v1/jobs/sakura/release", "").await, 409, "not held: it is pending");
    let cancelled = admin.post("/api/v1/jobs/sakura/cancel", "").await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    assert_eq!(cancelled.json()["job"]["state"], "cancelled");
    assert_eq!(cancelled.json()["message"], "cancelled before it was submitted");
    assert!(cancelled.json()["job"]["estimate_usd"].is_f64(), "what a retry would cost: {cancelled:?}");
    assert_problem(
        &admin.post(&format!("/api/v1/jobs/{job}/cancel"), "{}").await,
        409,
        "too late: it was cancelled",
    );
    let retried = admin.post(&format!("/api/v1/jobs/{job}/retry"), "").await.json();
    assert_eq!(retried["job"]["state"], "pending");
    assert_problem(&admin.post("/api/v1/jobs/nobody/retry", "").await, 404, "no job has the id or name");
    assert_problem(&admin.post("/api/v1/jobs/sakura/buy", "").await, 404, "no such address");
}
