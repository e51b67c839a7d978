//! Hooks of batches, several calls of a hook at once, and the bodies that chat and push services take, as docs/hooks.md
//! writes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::hooks::{program, receiver, until_notified, with_hooks};
use crate::support::{Rig, quick};

/// Of one line per job.
fn job_file(jobs: &[(&str, &str)]) -> String {
    jobs.iter().map(|(name, plan)| quick(name, plan) + "\n").collect()
}

#[tokio::test]
async fn finished_batch_is_reported_once_and_again_after_a_retry() {
    let mut rig = with_hooks(r#"[{ on = ["batch_finished"], run = ["BESIDEafter-video"] }]"#).await;
    let (_, folder) = program(&rig, "exit 0");
    rig.set_variable("PATH", "/usr/bin:/bin");
    rig.start_daemon().await;
    rig.drop("spring.jsonl", job_file(&[("a", ""), ("b", "end=task_failed"), ("c", "run=2s")]));
    rig.until("b", &["failed"]).await;
    rig.kill();
    rig.start_daemon().await;
    rig.until("a", &["succeeded"]).await;
    rig.until("c", &["succeeded"]).await;
    let received = until_notified(&folder, 1).await;
    let (event, batch) = &received[0];
    assert_eq!((event.as_str(), &batch["file"]), ("batch_finished", &json!("spring.jsonl")));
    assert_eq!((&batch["jobs"], &batch["states"]), (&json!(3), &json!({"succeeded": 2, "failed": 1})));
    assert!(batch["cost_usd"].as_f64().unwrap() > 0.0 && batch["finished_at"].is_string(), "{batch}");
    let paths = batch["paths"].as_array().unwrap();
    assert!(paths.len() == 2 && paths.iter().all(|path| std::fs::exists(path.as_str().unwrap()).unwrap()));
    let environment = std::fs::read_to_string(folder.join(".environment")).unwrap();
    assert!(environment.contains(&format!("DROPREEL_BATCH_ID={}", batch["id"].as_str().unwrap())));
    rig.until_output("`batch_finished` of batch b1 delivered to hook").await;

    rig.post("/api/v1/jobs/b/retry", json!({})).await;
    assert_eq!(until_notified(&folder, 2).await.len(), 2);
    rig.finish().await;
}

#[tokio::test]
async fn hook_runs_at_most_at_once_and_holds_up_no_other() {
    let hooks = r#"[{ on = ["succeeded"], run = ["BESIDEafter-video"], at_once = 1 }, { on = ["succeeded"], run = ["/bin/true"] }]"#;
    let mut rig = with_hooks(hooks).await;
    // It fails, and is called again, if two run at the same time.
    let lock = rig.beside("lock");
    let (_, folder) = program(
        &rig,
        &format!("mkdir {0} || {{ echo two at once >&2; exit 1; }}; sleep 1; rmdir {0}", lock.display()),
    );
    rig.set_variable("PATH", "/usr/bin:/bin");
    rig.start_daemon().await;
    rig.drop("many.jsonl", job_file(&[("a", ""), ("b", ""), ("c", "")]));
    for name in ["a", "b", "c"] {
        rig.until(name, &["succeeded"]).await;
    }
    assert_eq!(until_notified(&folder, 3).await.len(), 3);
    assert!(!rig.output().contains("two at once"), "{}", rig.output());
    for _ in 0..1_200 {
        if rig.output().matches("delivered to hook /bin/true").count() == 3 {
            return rig.finish().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the other hook was held up: {}", rig.output());
}

/// The hooks of docs/hooks.md that post a body of their own: the host of each address, and the hook.
fn recipes(receiver: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/hooks.md")).unwrap();
    let (_, text) = text.split_once("## Recipes").unwrap();
    let blocks = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let recipe = |block: &str| {
        let source = config::File::from_str(block, config::FileFormat::Toml);
        let settings = config::Config::builder().add_source(source).build().unwrap();
        let hook: Value = settings.get::<Vec<Value>>("hooks").unwrap().remove(0);
        let address = hook["url"].as_str().unwrap();
        let (host, path) =
            address.strip_prefix("https://").unwrap().split_once('/').unwrap_or((&address[8..], ""));
        // A JSON text is a TOML text too.
        let url = json!(format!("{receiver}/{host}/{path}"));
        let body = &hook["body"];
        (host.to_owned(), format!(r#"{{ on = ["failed", "batch_finished"], url = {url}, body = {body} }}"#))
    };
    blocks.map(recipe).collect()
}

/// What each service answers by its documentation; WeCom at first that there are too many messages, with HTTP 200.
fn answer_of(request: &str, is_refused: &AtomicBool) -> (String, String) {
    let body = match request.split('/').nth(1).unwrap() {
        "ntfy.sh" => r#"{"id":"sPs71M8A2T","time":1643935928,"event":"message","topic":"my-secret-topic"}"#,
        "api.day.app" => r#"{"code":200,"message":"success","timestamp":1643935928}"#,
        "hooks.slack.com" => "ok",
        "api.telegram.org" => r#"{"ok":true,"result":{"message_id":1}}"#,
        "open.feishu.cn" => {
            r#"{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}"#
        }
        "qyapi.weixin.qq.com" if is_refused.swap(false, Ordering::Relaxed) => {
            r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#
        }
        "qyapi.weixin.qq.com" => r#"{"errcode":0,"errmsg":"ok"}"#,
        other => panic!("an unknown service {other}"),
    };
    ("200 OK".to_owned(), body.to_owned())
}

/// The texts that a service shows, where its documentation has them in the body.
fn shown(host: &str, body: &Value) -> Vec<Value> {
    let places: &[&str] = match host {
        "ntfy.sh" => &["/topic", "/title", "/message"],
        "api.day.app" => &["/device_key", "/title", "/body", "/group"],
        "hooks.slack.com" => &["/text", "/blocks/0/text/text"],
        "api.telegram.org" => &["/text"],
        "open.feishu.cn" => &["/content/post/zh_cn/title", "/content/post/zh_cn/content/0/0/text"],
        _ => &["/text/content"],
    };
    let fixed: &[(&str, Value)] = match host {
        "hooks.slack.com" => {
            &[("/blocks/0/type", json!("section")), ("/blocks/0/text/type", json!("plain_text"))]
        }
        "api.telegram.org" => &[("/chat_id", json!(123_456_789))],
        "open.feishu.cn" => {
            &[("/msg_type", json!("post")), ("/content/post/zh_cn/content/0/0/tag", json!("text"))]
        }
        "qyapi.weixin.qq.com" => &[("/msgtype", json!("text"))],
        _ => &[],
    };
    for (place, value) in fixed {
        assert_eq!(body.pointer(place), Some(value), "{host}: {body}");
    }
    let text = |place: &&str| {
        let text = body.pointer(place).unwrap_or_else(|| panic!("{host} lacks {place}: {body}"));
        assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{host}: {place}: {body}");
        text.clone()
    };
    places.iter().map(text).collect()
}

#[tokio::test]
async fn recipes_post_what_each_service_takes() {
    const NAME: &str = r#"quote" \ <!channel> {event} 樱花"#;
    let is_refused = AtomicBool::new(true);
    let (address, requests) = receiver(move |request, _| answer_of(request, &is_refused)).await;
    let recipes = recipes(&address);
    assert_eq!(recipes.len(), 6, "{recipes:?}");
    let mut rig = Rig::set_up("").await;
    let hooks: Vec<&str> = recipes.iter().map(|(_, hook)| hook.as_str()).collect();
    rig.set("HOOKS", &format!("[{}]", hooks.join(", ")));
    rig.start_daemon().await;
    rig.drop("spring.json", quick(NAME, "end=task_failed"));
    for (host, _) in &recipes {
        // The last one only after its second try.
        let wanted = if host == "qyapi.weixin.qq.com" { 3 } else { 2 };
        let mut bodies = Vec::new();
        for _ in 0..1_200 {
            bodies = requests
                .lock()
                .unwrap()
                .iter()
                .filter(|request| request.contains(&format!("/{host}/")))
                .cloned()
                .collect();
            if bodies.len() >= wanted {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(bodies.len() >= wanted, "{host} received only {bodies:?}");
        let mut texts = Vec::new();
        for request in &bodies {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("content-type: application/json"), "{head}");
            texts.push(shown(
                host,
                &serde_json::from_str(body).unwrap_or_else(|error| panic!("{body}: {error}")),
            ));
        }
        let all = json!(texts).to_string();
        let name = json!(NAME).to_string();
        assert!(all.contains(&name[1..name.len() - 1]), "{host} does not name the job: {all}");
        assert!(all.contains("spring.json finished: 0 of 1 succeeded, 1 failed"), "{host}: {all}");
    }
    rig.until_output("but the answer says errcode 45009").await;
    rig.finish().await;
}
