//! Over real sockets: one story for each family of faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::*;

const KEY: &str = "Bearer sk-test";

/// A sandbox and somebody who calls it.
struct Caller {
    sandbox: Sandbox,
    client: reqwest::Client,
}

impl Caller {
    async fn of(plan: &str) -> Self {
        let plan = Plan::parse(plan).expect(plan);
        let brief = (Duration::from_millis(20), Duration::from_millis(30));
        Self::with(Options { plan, queue_time: brief, run_time: brief, ..Options::default() }).await
    }

    async fn with(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let sandbox = start(listener, options, Clock::machine()).await.expect("a sandbox");
        Self { sandbox, client: callbacks::client().expect("a client") }
    }

    fn post(&self, key: &str, body: &Value) -> reqwest::RequestBuilder {
        let url = format!("{}/v1/tasks", self.sandbox.base_url());
        self.client
            .post(url)
            .header("Authorization", KEY)
            .header("Idempotency-Key", key)
            .body(body.to_string())
    }

    /// The status and body of a submit; 0 if the connection broke.
    async fn submit(&self, key: &str, body: &Value) -> (u16, Value) {
        read(self.post(key, body)).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.sandbox.base_url());
        read(self.client.get(url).header("Authorization", KEY)).await
    }

    /// A new task's id.
    async fn task(&self, prompt: &str) -> String {
        let (status, answer) = self.submit(prompt, &body(prompt)).await;
        assert_eq!(status, 200, "{answer}");
        answer["task_id"].as_str().expect("a task id").to_owned()
    }

    /// The first link of a new task that has ended.
    async fn link(&self, prompt: &str) -> String {
        let id = self.task(prompt).await;
        self.sandbox
            .until(|ledger| ledger.tasks.iter().any(|task| task.task_id == id && task.ended.is_some()))
            .await;
        let (_, status) = self.get(&format!("/v1/tasks/{id}")).await;
        status["result"]["videos"][0]["url"][0].as_str().expect("a link").to_owned()
    }

    /// A download from byte `from` on: its status, and its body if that came whole.
    async fn fetch(&self, link: &str, from: Option<u64>) -> (u16, Option<Vec<u8>>) {
        let mut request = self.client.get(link);
        if let Some(from) = from {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let Ok(answer) = request.send().await else { return (0, None) };
        (answer.status().as_u16(), answer.bytes().await.ok().map(|bytes| bytes.to_vec()))
    }
}

async fn read(request: reqwest::RequestBuilder) -> (u16, Value) {
    let Ok(answer) = request.send().await else { return (0, Value::Null) };
    let status = answer.status().as_u16();
    match answer.bytes().await {
        Ok(body) => (status, serde_json::from_slice(&body).unwrap_or(Value::Null)),
        Err(_) => (0, Value::Null),
    }
}

fn body(prompt: &str) -> Value {
    json!({"model": "wan2.5-t2v", "prompt": prompt, "duration": 5})
}

#[tokio::test]
async fn a_task_is_submitted_finished_and_its_film_fetched() {
    let caller = Caller::of("").await;
    let (status, answer) = caller.submit("job-1", &body("樱花")).await;
    assert_eq!(
        (status, &answer["status"], &answer["pre_consumed_cost"]),
        (200, &json!("queued"), &json!(75_000))
    );
    let id = answer["task_id"].as_str().expect("a task id");
    caller.sandbox.until(|ledger| ledger.tasks[0].ended == Some("completed")).await;
    let (_, status) = caller.get(&format!("/v1/tasks/{id}")).await;
    assert_eq!(
        (&status["status"], &status["progress"], &status["cost"]),
        (&json!("completed"), &json!("100%"), &json!(75_000))
    );
    let link = status["result"]["videos"][0]["url"][0].as_str().expect("a link");
    let (status, film) = caller.fetch(link, None).await;
    let output = caller.sandbox.ledger().tasks[0].outputs[0].clone();
    assert_eq!((status, film.map(|film| crate::secret::sha256_hex(&film))), (200, Some(output.sha256)));
    assert_eq!(caller.submit("job-1", &body("樱花")).await.1["task_id"], id);
    let (_, balance) = caller.get("/v1/dashboard/billing/balance").await;
    assert_eq!(balance["total_used_usd"], 0.15);
    assert_eq!(caller.get("/v1/models").await.1["data"][0]["id"], "wan2.5-t2v");
    assert_eq!(caller.get("/v1/nothing").await.0, 404);
    caller.sandbox.stop().await;
}
