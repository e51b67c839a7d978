//! The web page: its contents, its languages, and that hostile texts stay text.

use super::*;
use crate::clock::Timestamp;
use crate::job::TaskId;
use crate::job::event::{Phase, ReportedOutput, StatusVerdict, SubmitVerdict, TaskFacts};
use crate::job::output::OutputKind;
use crate::jobfile::Problem;
use crate::money::Quota;
use crate::money::estimate::{Estimate, EstimateSource};
use crate::store::notify::Topic;
use crate::store::start_attempt::AttemptParts;

pub(super) const TEXTS: &str = include_str!("../../../../tests/hostile/injections.txt");

impl TestAdmin {
    async fn page(&self, path: &str, headers: &str) -> TestResponse {
        self.server.send(&format!("GET {path}\n{headers}"), "").await
    }

    pub(super) async fn fail(&self, job: JobId) {
        self.act(job, OperatorAction::Cancel).await;
    }

    /// Makes the first attempt of a job.
    pub(super) async fn start_attempt(&self, job: JobId, now: Timestamp) {
        let parts = AttemptParts {
            base_url: "https://qingbo.dev/v1".to_owned(),
            callback_url: Box::new(|_| None),
            picture_url: Box::new(|_, _| None),
            estimate: Estimate::exactly(Quota::ZERO, EstimateSource::List),
            price_class: None,
            estimated_change: None,
        };
        self.rig.store.start_attempt(job, parts, now).await.unwrap();
    }

    /// Submits a job; a poll then finds its task like this.
    pub(super) async fn run(&self, job: JobId, facts: TaskFacts, now: Timestamp) {
        self.start_attempt(job, now).await;
        let store = &self.rig.store;
        let task = TaskId::parse(&format!("task-{job}")).unwrap();
        let verdict = SubmitVerdict::Accepted { task: task.clone(), reserved: None };
        store.apply(job, Event::SubmitAnswered { attempt: 1, verdict }, now).await.unwrap();
        let verdict = StatusVerdict::Answered(facts);
        store.apply(job, Event::StatusPolled { task, sent_at: now, verdict }, now).await.unwrap();
    }
}

#[actix_web::test]
async fn overview_shows_problems_pauses_and_the_inbox() {
    let admin = TestAdmin::start_with(|admin| std::fs::remove_dir_all(admin.library.root()).unwrap());
    let empty = admin.get("/").await;
    assert_eq!((empty.status, empty.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for text in ["/srv/inbox", "/videos is missing", "Nothing is running.", r#"<html lang="en">"#] {
        assert!(empty.body.contains(text), "{text}: {}", empty.body);
    }
    admin.add_jobs(&["sakura"]).await;
    let pause = admin.post("/api/v1/pause", r#"{"what":"submits"}"#).await;
    assert_eq!(pause.status, 200);
    let one = admin.get("/").await.body;
    for text in ["/jobs?state=pending", "Submitting is paused", "/api/v1/resume"] {
        assert!(one.contains(text), "{text}: {one}");
    }
}

#[actix_web::test]
async fn suspended_provider_can_be_tried_from_the_page_in_both_languages() {
    let admin = TestAdmin::start();
    let refused = |cause| Suspension { cause, until: Some(NOW), message: "no".into(), since: NOW };
    let store = &admin.rig.store;
    store.suspend(refused(SuspensionCause::KeyRefused)).await.unwrap();
    store.suspend(refused(SuspensionCause::PausedSubmits)).await.unwrap();
    store.suspend(refused(SuspensionCause::RateLimited)).await.unwrap();
    for (language, label, question) in
        [("en", "Try now", "What is paused stays paused."), ("zh", "立即尝试", "手动暂停的操作保持暂停。")]
    {
        let page = admin.page("/", &format!("Accept-Language: {language}")).await.body;
        let buttons: Vec<&str> = page
            .split("<button")
            .filter(|part| part.contains("provider&#34;}") || part.contains(r#"{"what":"provider"}"#))
            .collect();
        let [button] = buttons[..] else { panic!("{buttons:?}") };
        assert!(button.contains(question) && button.contains(&format!(">{label}</button>")), "{button}");
    }
    let resumed = store.listen(Topic::Resume);
    let status = admin.post("/api/v1/resume", r#"{"what":"provider"}"#).await.json();
    assert_eq!(status["suspensions"].as_array().unwrap().len(), 3, "the pause stays: {status}");
    resumed.next().await;
    assert_eq!(admin.post("/api/v1/pause", r#"{"what":"provider"}"#).await.status, 400);
    store.suspend(refused(SuspensionCause::ClockUnreliable)).await.unwrap();
    let page = admin.get("/").await.body;
    assert!(page.contains(">The clock is right</button>") && !page.contains(">Try now</button>"), "{page}");
}

#[actix_web::test]
async fn waiting_job_names_its_suspension_on_every_page() {
    let admin = TestAdmin::start();
    let later = Timestamp::from_millis(4_000_000_000_000);
    admin.rig.add_jobs(vec![draft("sakura"), Draft { not_before: Some(later), ..draft("later") }]).await;
    let reasons = async || {
        let list = admin.get("/api/v1/jobs").await.json();
        let reasons = list["jobs"].as_array().unwrap().iter().map(|job| job["reason"].clone());
        reasons.collect::<Vec<_>>()
    };
    let waits = json!("waits until 2096-10-02T07:06:40.000Z (not_before)");
    assert_eq!(reasons().await, [waits.clone(), Value::Null]);
    admin.post("/api/v1/pause", "{}").await;
    let paused = "paused by an operator; `dropreel resume` continues";
    assert_eq!(reasons().await, [waits, json!(paused)]);
    assert_eq!(admin.get("/api/v1/jobs/sakura").await.json()["reason"], json!(paused));
    let at = r#"<time datetime="2096-10-02T07:06:40.000Z" data-calendar>2096-10-02T07:06:40.000Z</time>"#;
    for (path, language, note) in [
        ("/jobs", "en", "Submitting is paused"),
        ("/jobs/sakura", "zh", "提交已暂停"),
        ("/jobs", "en", &format!("waits until {at}")),
        ("/jobs/later", "zh", &format!("等到 {at} 再提交")),
    ] {
        let page = admin.page(path, &format!("Accept-Language: {language}")).await.body;
        assert!(page.contains(&format!(r#"<p class="note">{note}</p>"#)), "{path}: {page}");
    }
}

#[actix_web::test]
async fn overview_groups_what_needs_a_person_and_shows_its_price() {
    let admin = TestAdmin::start();
    let body = r#"{"model": "wan2.7", "resolution": "720p", "duration": 5}"#;
    let priced = |name: &str| Draft { body: body.into(), model: "wan2.7".into(), ..draft(name) };
    let jobs = admin.rig.add_jobs(["a", "b", "c", "d"].map(priced).into()).await;
    for job in &jobs[..3] {
        let dear = Event::TooExpensive { why: "dear".into() };
        admin.rig.store.apply(*job, dear, NOW).await.unwrap();
    }
    let page = admin.get("/").await.body;
    let price = admin.rig.store.needs(1).await.unwrap().1[0].estimate;
    for text in [
        r#"<span class="badge">3</span>"#.to_owned(),
        "3 × too_expensive".to_owned(),
        format!(r#"data-effect="submits it, about {price}" aria-label="Release all: "#),
        r#"href="/jobs?state=held&#38;cause=too_expensive&#38;model=wan2.7""#.to_owned(),
        // Of the batch.
        "<title>0/4 · Overview".to_owned(),
        "0 of 4 · 3 held · $0.00 of about".to_owned(),
        "/videos?batch=b1".to_owned(),
    ] {
        assert!(page.contains(&text) != text.starts_with("/videos"), "{text}: {page}");
    }
    let listed = admin.get("/api/v1/jobs?cause=too_expensive&model=wan2.7").await.json();
    let needs = &listed["jobs"][0]["needs"];
    assert_eq!((names(&listed).len(), &needs["cause"]), (3, &json!("too_expensive")));
    assert_eq!(needs["actions"][0]["action"], "release");
    assert!(needs["actions"][0]["cost_usd"].as_f64().unwrap() > 0.0, "{needs}");
    admin.act(jobs[0], OperatorAction::Cancel).await;
    admin.act(jobs[1], OperatorAction::Cancel).await;
    let page = admin.get("/").await.body;
    assert!(
        page.contains(r#"data-effect="submits it, about"#) && !page.contains("× too_expensive"),
        "one job is a row: {page}"
    );
    assert!(page.contains("2 of 4 · 1 held · 2 cancelled"), "{page}");
    assert_eq!(admin.get("/batches").await.body.matches("class=\"batch\"").count(), 1);
}

#[actix_web::test]
async fn warnings_about_a_request_are_on_its_page() {
    let admin = TestAdmin::start();
    let warning = Problem { pointer: String::new(), message: "odd seed".into(), line: 1, column: 1 };
    admin.rig.add_jobs(vec![Draft { warnings: vec![warning], ..draft("a") }, draft("b")]).await;
    assert!(admin.page("/jobs/a", "").await.body.contains("<li>odd seed</li>"));
    assert!(!admin.page("/jobs/b", "").await.body.contains("Warnings"));
}

#[actix_web::test]
async fn overview_lists_what_lies_in_the_inbox_and_is_no_job_file() {
    let inbox = tempfile::tempdir().unwrap();
    let path = inbox.path().to_owned();
    let admin = TestAdmin::start_with(move |admin| {
        let mut settings = (*admin.settings).clone();
        settings.inbox.dir = path;
        admin.settings = Arc::new(settings);
    });
    std::fs::write(inbox.path().join("a.json"), "{}").unwrap();
    assert!(!admin.get("/").await.body.contains("no job file"));
    std::fs::write(inbox.path().join("<b>.txt"), "").unwrap();
    let text =
        "The inbox holds what is no job file and is never read: &#60;b&#62;.txt (not named as a job file)";
    let page = admin.get("/").await.body;
    assert!(page.contains(text), "{page}");
    assert!(admin.page("/", "Accept-Language: zh").await.body.contains("不会被读取"));
}

#[actix_web::test]
async fn page_is_in_the_chosen_or_accepted_language() {
    let admin = TestAdmin::start();
    let cases = [
        ("", "en"),
        ("Accept-Language: zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("Accept-Language: fr,en;q=0.8,zh;q=0.7", "en"),
        ("Accept-Language: tlh", "en"),
        ("Accept-Language: en\nCookie: a=b; dropreel-language=zh", "zh"),
        ("Accept-Language: zh\nCookie: dropreel-language=en; c=d", "en"),
        ("Accept-Language: zh\nCookie: dropreel-language=xx", "zh"),
    ];
    for (headers, language) in cases {
        let body = admin.page("/", headers).await.body;
        assert!(body.contains(&format!(r#"<html lang="{language}">"#)), "{headers}");
    }
    let chosen = admin.get("/language/zh?back=%2Fjobs%3Fstate%3Dheld").await;
    assert_eq!((chosen.status, chosen.header("location")), (303, Some("/jobs?state=held")));
    assert!(chosen.header("set-cookie").unwrap().starts_with("dropreel-language=zh; Path=/"));
    for elsewhere in ["https://example.com", "%2F%2Fexample.com", "%2F%5Cexample.com", "%2F%0d%0aX:%20y"] {
        let answer = admin.get(&format!("/language/en?back={elsewhere}")).await;
        assert_eq!(answer.header("location"), Some("/"), "{elsewhere}");
    }
    assert_eq!(admin.get("/language/fr").await.status, 404);
}

#[actix_web::test]
async fn history_hold_reason_and_action_are_in_the_language_of_the_page() {
    let admin = TestAdmin::start();
    let job = admin.add_jobs(&["sakura"]).await[0];
    admin.rig.store.apply(job, Event::DatabaseRestored, NOW).await.unwrap();
    let page = admin.page("/jobs/sakura", "Accept-Language: zh").await.body;
    for text in ["<b>已接收</b>", "<b>需人工处理</b>", "数据库由较早的备份恢复"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let act = async |action: &str, language: &str| {
        let headers = format!("Content-Type: application/json\n{language}");
        let answer =
            admin.server.send(&format!("POST /api/v1/jobs/sakura/{action}\n{headers}"), "{}").await.json();
        answer.get("message").or(answer.get("detail")).unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(act("cancel", "Cookie: dropreel-language=zh").await, "已在提交前取消");
    assert_eq!(act("cancel", "Cookie: dropreel-language=zh").await, "不能取消：任务的状态是“已取消”");
    assert_eq!(act("cancel", "").await, "too late: it was cancelled", "programs get English");
}

#[actix_web::test]
async fn job_texts_never_become_markup() {
    let admin = TestAdmin::start();
    let texts: Vec<&str> =
        TEXTS.lines().filter(|line| line.contains('<') && !line.starts_with('#')).collect();
    assert!(texts.len() >= 10, "{}", texts.len());
    for text in &texts {
        let hostile = Draft {
            prompt: Some((*text).to_owned()),
            labels: [((*text).to_owned(), (*text).to_owned())].into(),
            body: json!({ "model": text, "prompt": text }).to_string(),
            model: (*text).to_owned(),
            warnings: vec![Problem {
                pointer: String::new(),
                message: (*text).to_owned(),
                line: 1,
                column: 1,
            }],
            ..draft(text)
        };
        let id = admin.rig.add_jobs(vec![hostile]).await[0];
        let query: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        for path in ["/".to_owned(), format!("/jobs?q={query}"), format!("/jobs/{id}")] {
            let answer = admin.get(&path).await;
            assert_eq!(answer.status, 200, "{path}");
            assert!(!answer.body.contains(text), "{path} contains {text} unescaped");
            let policy = answer.header("content-security-policy").unwrap();
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        }
        let missing = admin.get(&format!("/jobs/{query}x")).await;
        assert_eq!(missing.status, 404);
        assert!(!missing.body.contains(text) && missing.body.contains("<h1>"), "{}", missing.body);
    }
}

#[actix_web::test]
async fn list_page_follows_its_cursor_and_explains_filters() {
    let admin = TestAdmin::start();
    let names: Vec<String> = (1..=120).map(|number| format!("clip-{number:03}")).collect();
    admin.add_jobs(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (mut path, mut seen) = ("/jobs?label=project%3Dspring".to_owned(), Vec::new());
    loop {
        let body = admin.get(&path).await.body;
        seen.extend(names.iter().filter(|name| body.contains(&format!(">{name}</a>"))).cloned());
        let Some((_, after)) = body.split_once(r#"rel="next" href=""#) else { break };
        path = after.split('"').next().unwrap().replace("&#38;", "&");
    }
    seen.sort();
    assert_eq!(seen, names);
    assert!(admin.get("/jobs?state=running").await.body.contains("unknown state `running`"));
    assert_eq!(admin.get("/jobs?colour=red").await.status, 400);
    assert!(admin.get("/jobs?q=none-such").await.body.contains("No jobs match."));
}

#[actix_web::test]
async fn assets_are_immutable_under_a_versioned_address() {
    let admin = TestAdmin::start();
    let page = admin.get("/").await.body;
    let style = page.split(r#"rel="stylesheet" href=""#).nth(1).unwrap().split('"').next().unwrap();
    let answer = admin.get(style).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("cache-control").unwrap().contains("immutable"));
    assert_eq!(admin.get("/assets/000000000000/page.css").await.status, 404);
    assert_eq!(admin.get(&style.replace("page.css", "..%2fpage.rs")).await.status, 404);
    assert_eq!(admin.get("/").await.header("cache-control"), Some("no-store"));
}

#[actix_web::test]
async fn overview_compares_the_balance_with_what_waiting_jobs_need() {
    let mut balance = None;
    let admin = TestAdmin::start_with(|admin| balance = Some(admin.balance.clone()));
    assert!(!admin.get("/").await.body.contains("Balance $"));
    admin.add_jobs(&["a", "b"]).await;
    assert!(admin.get("/").await.body.contains(r#"<p class="muted">Waiting jobs need about $1.80</p>"#));
    balance.unwrap().record(Some(Quota::new(500_000)));
    let page = admin.get("/").await.body;
    assert!(
        page.contains(r#"<p class="caution">Balance $1.00; waiting jobs need about $1.80</p>"#),
        "{page}"
    );
    let metrics = admin.get("/metrics").await.body;
    for line in ["dropreel_waiting_usd 1.8", "dropreel_balance_usd 1.0"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[actix_web::test]
async fn job_that_runs_and_expires_soon_is_listed_once() {
    let admin = TestAdmin::start();
    let now = Clock::machine().now();
    let job = admin.add_jobs(&["late"]).await[0];
    let expires_at = Some(now.plus(Duration::from_secs(60)));
    let link = Secret::new("https://cdn.example/1");
    let outputs = vec![ReportedOutput { kind: OutputKind::Video, index: 0, link, expires_at }];
    let facts = TaskFacts { outputs, ..TaskFacts::of(Phase::Completed) };
    admin.run(job, facts, now).await;
    let page = admin.get("/").await.body;
    assert!(page.contains("link expires"), "{page}");
    assert_eq!(page.matches(&format!(r#"id="job-{job}""#)).count(), 1, "{page}");
}

#[tokio::test]
async fn unusable_answer_is_shown_as_text_and_sent_as_an_attachment() {
    let admin = TestAdmin::start();
    let ids = admin.add_jobs(&["a", "b"]).await;
    let [address, other] = [ids[0], ids[1]].map(|id| format!("/quarantine/{id}/answer-{}.json", ids[0]));
    assert_eq!(admin.get(&address).await.status, 404);
    let folder = admin.rig.folder.path().join("quarantine");
    std::fs::create_dir_all(&folder).unwrap();
    let content = json!({"job": ids[0], "at": NOW, "answer": "HTTP 200\n\n<script>alert(1)</script>"});
    std::fs::write(folder.join(format!("answer-{}.json", ids[0])), content.to_string()).unwrap();
    let page = admin.get(&format!("/jobs/{}", ids[0])).await.body;
    assert!(page.contains("could not be used") && page.contains("HTTP 200"), "{page}");
    assert!(page.contains(&format!("href=\"{address}\" download")), "{page}");
    assert!(!page.contains("<script>alert"), "{page}");
    assert!(!admin.get(&format!("/jobs/{}", ids[1])).await.body.contains("id=\"quarantine\""));
    let file = admin.get(&address).await;
    assert_eq!((file.status, &file.body), (200, &content.to_string()));
    let headers =
        ["content-type", "content-disposition", "content-security-policy"].map(|name| file.header(name));
    let name = format!("attachment; filename=\"answer-{}.json\"", ids[0]);
    let expected = ["application/octet-stream", name.as_str(), "default-src 'none'; sandbox"];
    assert_eq!(headers, expected.map(Some));
    assert_eq!(admin.get(&other).await.status, 404, "it is about another job");
}
