//! The list of jobs: bulk actions, labels, and the page with its filters.

use super::*;
use crate::job::event::{Phase, ReportedOutput, SubmitVerdict, TaskFacts};
use crate::job::output::OutputKind;
use crate::job::state::StateName;
use crate::pricing::price_book::{OperatorPrice, Price};

#[actix_web::test]
async fn bulk_action_applies_to_exactly_the_counted_jobs() {
    let admin = TestAdmin::start();
    let ids = admin.add_jobs(&["a", "b", "c", "d"]).await;
    for id in &ids[..3] {
        admin.fail(*id).await;
    }
    let request = |more: Value| {
        let mut body = json!({"action": "retry", "state": "cancelled", "label": ["project=spring"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let counted = admin.post("/api/v1/jobs/bulk", &request(json!({"dry_run": true}))).await.json();
    assert_eq!((&counted["jobs"], &counted["done"]), (&json!(3), &json!(0)));
    let other = admin.post("/api/v1/jobs/bulk", &request(json!({"expect": 2}))).await;
    assert_problem(&other, 409, "expected 2 jobs, but 3 match now; nothing was done");
    let done = admin.post("/api/v1/jobs/bulk", &request(json!({"expect": 3}))).await.json();
    assert_eq!((&done["jobs"], &done["done"], &done["rejected"]), (&json!(3), &json!(3), &json!([])));
    for id in &ids {
        assert_eq!(admin.rig.store.details(*id).await.unwrap().job.state_name(), StateName::Pending);
    }
    let refused = admin.post("/api/v1/jobs/bulk", r#"{"action":"release","state":"pending"}"#).await.json();
    assert_eq!((&refused["done"], refused["rejected"].as_array().unwrap().len()), (&json!(0), 4));
    assert_eq!((&refused["jobs"], &refused["matched"]), (&json!(0), &json!(4)));
    let named_bulk = admin.add_jobs(&["bulk"]).await[0];
    assert_eq!(admin.get("/api/v1/jobs/bulk").await.json()["id"], json!(named_bulk));
    let wrong = [
        (
            r#"{"action":"burn","state":"failed"}"#,
            "unknown variant `burn`, expected one of `cancel`, `retry`, `release`",
        ),
        (r#"{"action":"retry"}"#, "give `jobs`, or a filter such as `state`"),
        (r#"{"jobs":[]}"#, "give `action` or `set_labels`"),
        (r#"{"action":"retry","state":"failed","rating":"6"}"#, "a rating is a number"),
        (r#"{"action":"retry","state":"failed","set_labels":{"a":"b"}}"#, "not both"),
        (r#"{"set_labels":{"":"b"},"state":"failed"}"#, "label keys have 1 to 64 characters"),
        (r#"{"action":"retry","state":"lost"}"#, "unknown variant `lost`"),
        (r#"{"action":"retry","state":"failed","label":["x"]}"#, "a label is KEY=VALUE"),
        (r#"{"action":"retry","state":"failed","all":true}"#, "unknown field `all`"),
    ];
    for (body, detail) in wrong {
        assert_problem(&admin.post("/api/v1/jobs/bulk", body).await, 400, detail);
    }
}

/// A failed, a held, a downloading job, and one whose submit may have been executed.
async fn jobs_to_retry(admin: &TestAdmin) -> Vec<JobId> {
    let ids = admin.add_jobs(&["failed", "held", "downloading", "submitting"]).await;
    let store = &admin.rig.store;
    admin.run(ids[0], TaskFacts::of(Phase::Failed), NOW).await;
    let held = Event::TooExpensive { why: "it costs too much".into() };
    store.apply(ids[1], held, NOW).await.unwrap();
    let link = Secret::new("https://cdn.example/1");
    let outputs = vec![ReportedOutput { kind: OutputKind::Video, index: 0, link, expires_at: None }];
    admin.run(ids[2], TaskFacts { outputs, ..TaskFacts::of(Phase::Completed) }, NOW).await;
    admin.start_attempt(ids[3], NOW).await;
    let verdict = SubmitVerdict::Unknown { why: "no answer".into(), not_before: None };
    store.apply(ids[3], Event::SubmitAnswered { attempt: 1, verdict }, NOW).await.unwrap();
    ids
}

#[actix_web::test]
async fn bulk_retry_leaves_out_what_may_be_paid_unless_its_state_is_named() {
    let admin = TestAdmin::start();
    let ids = jobs_to_retry(&admin).await;
    let states = async || {
        let mut states = Vec::new();
        for id in &ids {
            states.push(admin.rig.store.details(*id).await.unwrap().job.state_name());
        }
        states
    };
    let before = states().await;
    let post = async |body: Value| admin.post("/api/v1/jobs/bulk", &body.to_string()).await.json();
    let counted = post(json!({"action": "retry", "label": ["project=spring"], "dry_run": true})).await;
    let first = json!([{"id": ids[0], "name": "failed", "state": "failed"}]);
    assert_eq!((&counted["jobs"], &counted["first_jobs"]), (&json!(1), &first), "{counted}");
    post(json!({"action": "retry", "label": ["project=spring"]})).await;
    let after = states().await;
    assert_eq!((after[0], &after[1..]), (StateName::Pending, &before[1..]));
    for state in ["held", "submitting"] {
        let named = post(json!({"action": "retry", "state": state})).await;
        assert_eq!(named["done"], json!(1), "{state}: {named}");
    }
}

#[actix_web::test]
async fn bulk_action_at_a_higher_price_than_shown_is_refused() {
    let admin = TestAdmin::start();
    let ids = jobs_to_retry(&admin).await;
    let set_price = |quota| {
        let price = Price::PerJob(Quota::new(quota));
        let entry = OperatorPrice { model: draft("a").model, resolution: None, price };
        admin.rig.store.set_operator_prices(vec![entry]);
    };
    set_price(75_000);
    for (action, state) in [("retry", "failed"), ("release", "held")] {
        let body = json!({"action": action, "state": state, "expect": 1, "max_cost_usd": 0.15});
        let dry = json!({"action": action, "state": state, "dry_run": true});
        let shown = admin.post("/api/v1/jobs/bulk", &dry.to_string()).await.json();
        assert_eq!(shown["estimate_usd"], json!(0.15), "{action}");
        set_price(75_001);
        let refused = admin.post("/api/v1/jobs/bulk", &body.to_string()).await;
        assert_problem(&refused, 422, "more than the $0.15 of before; nothing was done");
        set_price(75_000);
        let done = admin.post("/api/v1/jobs/bulk", &body.to_string()).await.json();
        assert_eq!(done["done"], json!(1), "{action}: {done}");
    }
    assert_eq!(admin.rig.store.details(ids[1]).await.unwrap().job.state_name(), StateName::Pending);
    let wrong = r#"{"action":"retry","state":"failed","max_cost_usd":-1}"#;
    assert_problem(&admin.post("/api/v1/jobs/bulk", wrong).await, 400, "must be an amount in US dollars");
}

#[actix_web::test]
async fn bulk_dismissal_names_its_jobs_and_is_undone() {
    let admin = TestAdmin::start();
    let ids = admin.add_jobs(&["a", "b", "c"]).await;
    for id in &ids {
        admin.run(*id, TaskFacts::of(Phase::Failed), NOW).await;
    }
    let post = async |body: Value| admin.post("/api/v1/jobs/bulk", &body.to_string()).await.json();
    post(json!({"action": "dismiss", "jobs": [ids[0]]})).await;
    let dismissed = post(json!({"action": "dismiss", "state": "failed"})).await;
    assert_eq!(
        (&dismissed["jobs"], &dismissed["done"]),
        (&json!(2), &json!(2)),
        "not the first: {dismissed}"
    );
    assert_eq!(dismissed["dismissed"].as_array().unwrap().len(), 2, "{dismissed}");
    assert_eq!(admin.get("/api/v1/jobs?needs=true").await.json()["jobs"], json!([]));
    let undone = post(json!({"action": "undismiss", "jobs": dismissed["dismissed"]})).await;
    assert_eq!((&undone["done"], &undone["dismissed"]), (&json!(2), &json!([])), "{undone}");
    let needs = admin.get("/api/v1/jobs?needs=true").await.json();
    assert_eq!(names(&needs), ["c", "b"]);
    let possible = post(json!({"jobs": ids, "dry_run": true})).await["possible"].clone();
    let possible =
        possible.as_array().unwrap().iter().map(|one| (one["action"].clone(), one["jobs"].clone()));
    let of = |action: &str, jobs: u8| (json!(action), json!(jobs));
    assert_eq!(possible.collect::<Vec<_>>(), [of("retry", 3), of("dismiss", 2), of("undismiss", 1)]);
}

#[actix_web::test]
async fn retry_by_a_filter_leaves_out_dismissed_jobs() {
    let admin = TestAdmin::start();
    let ids = admin.add_jobs(&["a", "b", "c"]).await;
    for id in &ids {
        admin.run(*id, TaskFacts::of(Phase::Failed), NOW).await;
    }
    let post = async |body: Value| admin.post("/api/v1/jobs/bulk", &body.to_string()).await.json();
    let offers = async |jobs: usize| {
        let page = admin.get("/batches").await.body;
        let price = format!("data-effect=\"about ${:.2}\"", jobs as f64 * 0.9);
        assert_eq!(
            (page.contains("Retry the failed"), page.contains(&price)),
            (jobs > 0, jobs > 0),
            "{page}"
        );
    };
    offers(3).await;
    post(json!({"action": "dismiss", "jobs": [ids[0]]})).await;
    offers(2).await;
    for filter in [json!({"state": "failed", "batch": "b1"}), json!({"label": ["project=spring"]})] {
        let with = |more: Value| {
            let mut body = filter.clone();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            post(body)
        };
        let counted = with(json!({"action": "retry", "dry_run": true})).await;
        assert_eq!((&counted["jobs"], &counted["matched"]), (&json!(2), &json!(3)), "{counted}");
        assert_eq!(counted["estimate_usd"], 1.8);
        let possible = with(json!({"dry_run": true})).await["possible"][0].clone();
        assert_eq!(possible, json!({"action": "retry", "jobs": 2, "estimate_usd": 1.8}));
    }
    let retried = post(json!({"action": "retry", "state": "failed", "batch": "b1"})).await;
    assert_eq!((&retried["done"], &retried["rejected"]), (&json!(2), &json!([])), "{retried}");
    offers(0).await;
    let named = post(json!({"action": "retry", "jobs": [ids[0]]})).await;
    assert_eq!(named["done"], 1, "a person who names it wants it: {named}");
}

#[actix_web::test]
async fn selected_jobs_are_counted_by_what_they_allow() {
    let admin = TestAdmin::start();
    let ids = admin.add_jobs(&["a", "b", "c"]).await;
    admin.fail(ids[0]).await;
    let post = async |body: Value| admin.post("/api/v1/jobs/bulk", &body.to_string()).await.json();
    let named = json!({"jobs": ids, "dry_run": true});
    let possible = post(named).await;
    let actions = json!([
        {"action": "retry", "jobs": 1, "estimate_usd": 0.9},
        {"action": "cancel", "jobs": 2, "estimate_usd": 0.0},
    ]);
    assert_eq!((&possible["matched"], &possible["possible"]), (&json!(3), &actions), "{possible}");
    let all = post(json!({"dry_run": true})).await;
    assert_eq!(all["possible"], actions);
    let changed = json!({"action": "cancel", "jobs": ids, "expect": 3});
    assert_eq!(admin.post("/api/v1/jobs/bulk", &changed.to_string()).await.status, 409);
    let cancelled = post(json!({"action": "cancel", "expect": 2})).await;
    assert_eq!((&cancelled["done"], &cancelled["matched"]), (&json!(2), &json!(3)), "{cancelled}");
}

#[actix_web::test]
async fn labels_of_selected_jobs_are_set_and_removed() {
    let admin = TestAdmin::start();
    let ids = admin.add_jobs(&["a", "b", "c"]).await;
    let body = json!({"set_labels": {"client": "x", "project": null}, "jobs": ids[..2]}).to_string();
    for changed in [2, 0] {
        let answer = admin.post("/api/v1/jobs/bulk", &body).await.json();
        assert_eq!((&answer["done"], &answer["matched"]), (&json!(changed), &json!(2)), "{answer}");
    }
    let job = admin.get(&format!("/api/v1/jobs/{}", ids[0])).await.json();
    assert_eq!(job["labels"], json!({"client": "x"}));
    let history = job["history"].as_array().unwrap();
    assert_eq!(history.last().unwrap()["detail"], "client=x, no project");
    let listed = async |query: &str| {
        admin.get(&format!("/api/v1/jobs?{query}")).await.json()["jobs"].as_array().unwrap().len()
    };
    assert_eq!((listed("label=client%3Dx").await, listed("label=project%3Dspring").await), (2, 1));
}

#[actix_web::test]
async fn list_page_has_the_columns_orders_and_filters_of_its_address() {
    let admin = TestAdmin::start();
    let body = r#"[{"model":"wan2.5-preview","prompt":"樱花 in the rain","seed":4711,"resolution":"480p","duration":5,"dropreel":{"name":"b"}},
        {"model":"wan2.5-preview","prompt":"snow","resolution":"480p","duration":5,"dropreel":{"name":"a","labels":{"folder":"ads/may"}}}]"#;
    assert_eq!(admin.post("/api/v1/jobs?name=shots.json", body).await.status, 201);
    let page = admin.get("/jobs?sort=name&q=-sun").await.body;
    assert!(page.contains("</span>4711</td>"), "{page}");
    assert!(page.contains(r#"title="shots.json">shots.json</a>"#), "{page}");
    assert!(
        page.contains(r#"aria-sort="ascending"><a href="/jobs?q=-sun&#38;sort=name">Name</a>"#),
        "{page}"
    );
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} in {page}"));
    assert!(place(">a</a>") < place(">b</a>"));
    for (query, found) in [
        ("q=%E8%8A%B1", 1),
        ("q=RAIN+wan2.5", 1),
        ("q=-rain", 1),
        ("q=shots", 2),
        ("q=rain+snow", 0),
        ("file=shots.json", 2),
        ("file=hots.json", 0),
        ("folder=ads", 1),
        ("folder=ads/", 1),
        ("folder=ad", 0),
        ("batch=b1", 2),
        ("batch=b2", 0),
    ] {
        for path in ["/jobs", "/api/v1/jobs"] {
            let body = admin.get(&format!("{path}?{query}")).await.body;
            let count = if path == "/jobs" {
                body.matches("class=\"job-row\"").count()
            } else {
                body.matches("\"task_id\"").count()
            };
            assert_eq!(count, found, "{path}?{query}");
        }
    }
    for (query, problem) in [
        ("sort=age", "unknown sort `age`; use one of created, cost, rating, name"),
        ("batch=7", "unknown batch `7`"),
    ] {
        assert_problem(&admin.get(&format!("/api/v1/jobs?{query}")).await, 400, problem);
        assert_eq!(admin.get(&format!("/jobs?{query}")).await.status, 400);
    }
}
