//! Estimates by the API: `POST /api/v1/estimate`, the limit of a submit, and bulk actions.

use serde_json::json;

use super::*;
use crate::job::budget::Budgets;
use crate::money::Quota;

const LISTED: &str = r#"{"model":"wan2.5-preview","prompt":"p","resolution":"480p","duration":5}"#;

#[actix_web::test]
async fn estimate_has_each_files_cost_range_and_sources() {
    let admin = TestAdmin::start();
    let open = r#"{"model":"wan2.5-preview","prompt":"p","duration":5,"dropreel":{"repeat":2}}"#;
    let answer = admin.post("/api/v1/estimate?name=a.json", &format!("[{LISTED},{open}]")).await.json();
    let file = &answer["files"][0];
    assert_eq!((&file["file"], &file["ok"]), (&json!("a.json"), &json!(true)), "{answer}");
    assert_eq!((&file["jobs"], &file["objects"]), (&json!(3), &json!(2)), "{answer}");
    // 0.189, and twice from 0.189 to 0.6165.
    assert_eq!(file["estimate_usd"], json!(1.422), "{answer}");
    assert_eq!(file["range_usd"], json!([0.567, 1.422]), "{answer}");
    assert_eq!(file["sources"], json!({"list": 3}), "{answer}");
    assert_eq!((&answer["jobs"], &answer["estimate_usd"]), (&json!(3), &file["estimate_usd"]), "{answer}");
    let lines = admin.post_lines("/api/v1/estimate", &format!("{LISTED}\n{LISTED}\n")).await.json();
    assert_eq!((&lines["jobs"], &lines["estimate_usd"]), (&json!(2), &json!(0.378)), "{lines}");
    assert!(admin.get("/api/v1/jobs").await.json()["jobs"].as_array().unwrap().is_empty());
}

#[actix_web::test]
async fn estimate_of_a_bad_file_lists_its_errors_and_costs_nothing() {
    let admin = TestAdmin::start();
    for (body, pointer) in [
        ("[]", ""),
        (r#"[{"model":"m","prompt":"p"},{"model":"wan2.5-t2v","prompt":"p","duration":"5"}]"#, "/1/duration"),
    ] {
        let answer = admin.post("/api/v1/estimate", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let file = answer.json()["files"][0].clone();
        assert_eq!(
            (&file["ok"], &file["jobs"], &file["estimate_usd"]),
            (&json!(false), &json!(0), &json!(0.0))
        );
        assert_eq!(file["errors"][0]["pointer"], pointer, "{file}");
    }
}

#[actix_web::test]
async fn job_file_above_its_limit_is_refused_whole() {
    let admin = TestAdmin::start();
    let body = format!("[{LISTED},{LISTED}]");
    let refused = admin.post("/api/v1/jobs?max_cost_usd=0.377", &body).await;
    let problem = assert_problem(&refused, 422, "2 jobs, about $0.38");
    assert_eq!(problem["type"], "urn:dropreel:problem:too-expensive");
    let lines = format!("{LISTED}\n{LISTED}\n");
    assert_problem(&admin.post_lines("/api/v1/jobs?max_cost_usd=0.377", &lines).await, 422, "the limit of");
    assert_problem(&admin.post("/api/v1/jobs?max_cost_usd=cheap", &body).await, 400, "max_cost_usd");
    assert!(admin.get("/api/v1/jobs").await.json()["jobs"].as_array().unwrap().is_empty());
    let accepted = admin.post("/api/v1/jobs?max_cost_usd=0.378", &body).await;
    assert_eq!((accepted.status, accepted.json()["count"].as_u64()), (201, Some(2)), "{accepted:?}");
}

#[actix_web::test]
async fn repeated_request_gets_its_jobs_although_prices_have_risen() {
    let admin = TestAdmin::start();
    let post = async || {
        let head = "POST /api/v1/jobs?max_cost_usd=0.2\nContent-Type: application/json\nIdempotency-Key: k-1";
        admin.server.send(head, LISTED).await
    };
    let first = post().await;
    assert_eq!(first.status, 201, "{first:?}");
    let price = crate::pricing::price_book::Price::PerJob(crate::money::Quota::new(500_000));
    let model = "wan2.5-preview".to_owned();
    let dear = crate::pricing::price_book::OperatorPrice { model, resolution: None, price };
    admin.rig.store.set_operator_prices(vec![dear]);
    let again = post().await;
    assert_eq!(again.json()["jobs"][0]["id"], first.json()["jobs"][0]["id"], "{again:?}");
}

#[actix_web::test]
async fn jobs_have_estimates_before_they_are_submitted() {
    let admin = TestAdmin::start();
    let created = admin.post("/api/v1/jobs", LISTED).await.json();
    assert_eq!(created["jobs"][0]["estimate_usd"], json!(0.189), "{created}");
    let listed = admin.get("/api/v1/jobs").await.json();
    assert_eq!(listed["jobs"][0]["estimate_usd"], json!(0.189), "{listed}");
    let job = admin.get(&format!("/api/v1/jobs/{}", created["jobs"][0]["id"].as_str().unwrap())).await.json();
    assert_eq!((&job["estimate_usd"], &job["attempts"]), (&json!(0.189), &json!([])), "{job}");
}

#[actix_web::test]
async fn bulk_retry_says_about_what_it_costs() {
    let admin = TestAdmin::start();
    admin.post("/api/v1/jobs", &format!("[{LISTED},{LISTED}]")).await;
    admin.post("/api/v1/jobs/bulk", r#"{"action":"cancel","state":"pending"}"#).await;
    let bulk = async |action: &str| {
        let body = json!({"action": action, "state": "cancelled", "dry_run": true}).to_string();
        admin.post("/api/v1/jobs/bulk", &body).await.json()
    };
    let retry = bulk("retry").await;
    assert_eq!(retry["estimate_usd"], json!(0.378), "{retry}");
    assert_eq!(retry["message"], "2 jobs matched, about $0.38 (2 by list price)");
    assert_eq!(bulk("cancel").await["message"], "0 jobs matched");
}

#[actix_web::test]
async fn estimate_previews_jobs_and_what_budgets_allow() {
    let admin = TestAdmin::start();
    let budgets = Budgets { per_day: Some(Quota::new(200_000)), ..Budgets::default() };
    admin.rig.store.set_budgets(budgets);
    let long = format!(
        r#"{{"model":"wan2.5-preview","prompt":"{}","resolution":"480p","duration":5}}"#,
        "x".repeat(400)
    );
    let body = format!("[{LISTED},{LISTED},{long}]");
    let answer = admin.post("/api/v1/estimate?name=a.json", &body).await.json();
    let file = &answer["files"][0];
    assert_eq!(file["models"], json!({"wan2.5-preview": 3}), "{file}");
    let names: Vec<_> =
        file["first_jobs"].as_array().unwrap().iter().map(|job| job["name"].clone()).collect();
    assert_eq!(names, ["a", "a-2", "a-3"]);
    assert_eq!(file["first_jobs"][2]["prompt"].as_str().map(str::len), Some(300));
    let day = &file["budgets"][0];
    assert_eq!(
        (&day["budget"], &day["left_usd"], &day["need_usd"]),
        (&json!("day"), &json!(0.4), &json!(0.567))
    );
    assert_eq!((&day["waiting_jobs"], &day["held_jobs"]), (&json!(1), &json!(0)), "{day}");
}

#[actix_web::test]
async fn repeated_file_is_named_and_runs_again_on_request() {
    let admin = TestAdmin::start();
    let first = admin.post("/api/v1/jobs?name=a.json", LISTED).await.json()["jobs"][0]["id"].clone();
    let file = admin.post("/api/v1/estimate?name=a.json", LISTED).await.json()["files"][0].clone();
    assert_eq!((&file["ok"], &file["accepted_before"]["first_job"]), (&json!(true), &first), "{file}");
    assert_problem(&admin.post("/api/v1/jobs?name=a.json", LISTED).await, 409, "the same file");
    for lines in [false, true] {
        let address = "/api/v1/jobs?name=a.json&again=true";
        let again =
            if lines { admin.post_lines(address, LISTED).await } else { admin.post(address, LISTED).await };
        assert_eq!((again.status, again.json()["count"].as_u64()), (201, Some(1)), "{again:?}");
    }
    assert_problem(&admin.post("/api/v1/jobs?again=yes", LISTED).await, 400, "`again` must be");
}

#[actix_web::test]
async fn used_key_is_an_error_of_the_estimate() {
    let admin = TestAdmin::start();
    let keyed = r#"{"model":"m","prompt":"p","dropreel":{"key":"k"}}"#;
    admin.post("/api/v1/jobs", keyed).await;
    let file =
        admin.post("/api/v1/estimate", &format!("[{LISTED},\n{keyed}]")).await.json()["files"][0].clone();
    assert_eq!((&file["ok"], &file["jobs"]), (&json!(false), &json!(0)), "{file}");
    let error = &file["errors"][0];
    assert_eq!((&error["pointer"], &error["line"]), (&json!("/1"), &json!(2)), "{error}");
    assert!(error["message"].as_str().unwrap().contains("the key `k` was already used"), "{error}");
}

#[actix_web::test]
async fn findings_are_in_the_language_of_the_reader() {
    let admin = TestAdmin::start();
    let head = "POST /api/v1/estimate\nContent-Type: application/json\nAccept-Language: zh-CN";
    let body = r#"{"model":"wan2.5-t2v","prompt":"p","duration":7}"#;
    let answer = admin.server.send(head, body).await.json();
    let message = answer["files"][0]["warnings"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("`duration` 为 7"), "{message}");
}
