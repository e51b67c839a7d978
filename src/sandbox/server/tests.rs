//! Over real sockets: a test for each family of faults.

use std::io::{Read, Write};
use std::net::TcpStream;

use actix_web::http::header::ETAG;
use serde_json::{Value, json};

use super::*;
use crate::sandbox::ledger::CallbackEntry;
use crate::sha256::sha256_hex;

const KEY: &str = "Bearer sk-test";

/// A sandbox and an HTTP client.
struct Client {
    sandbox: Sandbox,
    http: reqwest::Client,
}

impl Client {
    async fn with_faults(plan: &str) -> Self {
        let fault_plan = FaultPlan::parse(plan).expect(plan);
        let brief = (Duration::from_millis(20), Duration::from_millis(30));
        Self::with_options(Options { fault_plan, queue_time: brief, run_time: brief, ..Options::default() })
            .await
    }

    async fn with_options(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let sandbox = start(listener, options, Clock::machine()).await.expect("a sandbox");
        Self { sandbox, http: callback_sender::client().expect("a client") }
    }

    fn post(&self, key: &str, body: &Value) -> reqwest::RequestBuilder {
        let url = format!("{}/v1/tasks", self.sandbox.base_url());
        self.http.post(url).header("Authorization", KEY).header("Idempotency-Key", key).body(body.to_string())
    }

    /// The status and body of the answer to a submit; 0 if the connection broke.
    async fn submit(&self, key: &str, body: &Value) -> (u16, Value) {
        read(self.post(key, body)).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.sandbox.base_url());
        read(self.http.get(url).header("Authorization", KEY)).await
    }

    /// The id of a new task.
    async fn task(&self, prompt: &str) -> String {
        let (status, answer) = self.submit(prompt, &body(prompt)).await;
        assert_eq!(status, 200, "{answer}");
        answer["task_id"].as_str().expect("a task id").to_owned()
    }

    /// The first link of a new task that has ended.
    async fn link(&self, prompt: &str) -> String {
        let id = self.task(prompt).await;
        self.sandbox
            .wait_until(|ledger| ledger.tasks.iter().any(|task| task.task_id == id && task.ended.is_some()))
            .await;
        let (_, status) = self.get(&format!("/v1/tasks/{id}")).await;
        status["result"]["videos"][0]["url"][0].as_str().expect("a link").to_owned()
    }

    /// Downloads from byte `from` on. Returns the status, and the body if it arrived completely.
    async fn fetch(&self, link: &str, from: Option<u64>) -> (u16, Option<Vec<u8>>) {
        let mut request = self.http.get(link);
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
async fn task_is_submitted_and_its_clip_downloaded() {
    let client = Client::with_faults("").await;
    let (status, answer) = client.submit("job-1", &body("樱花")).await;
    assert_eq!(
        (status, &answer["status"], &answer["pre_consumed_cost"]),
        (200, &json!("queued"), &json!(75_000))
    );
    let id = answer["task_id"].as_str().expect("a task id");
    client.sandbox.wait_until(|ledger| ledger.tasks[0].ended == Some("completed")).await;
    let (_, status) = client.get(&format!("/v1/tasks/{id}")).await;
    assert_eq!(
        (&status["status"], &status["progress"], &status["cost"]),
        (&json!("completed"), &json!("100%"), &json!(75_000))
    );
    let link = status["result"]["videos"][0]["url"][0].as_str().expect("a link");
    let (status, clip) = client.fetch(link, None).await;
    let output = client.sandbox.ledger().tasks[0].outputs[0].clone();
    assert_eq!((status, clip.map(|clip| sha256_hex(&clip))), (200, Some(output.sha256)));
    assert_eq!(client.submit("job-1", &body("樱花")).await.1["task_id"], id);
    let (_, balance) = client.get("/v1/dashboard/billing/balance").await;
    assert_eq!(balance["total_used_usd"], 0.15);
    assert_eq!(client.get("/v1/models").await.1["data"][0]["id"], "wan2.5-t2v");
    assert_eq!(client.get("/v1/nothing").await.0, 404);
    let (_, totals) = client.get("/sandbox/totals").await;
    assert_eq!((&totals["all"]["charged"], &totals["balance"]), (&json!(75_000), &json!(49_925_000)));
    assert_eq!(totals["by_day"].as_object().map(serde_json::Map::len), Some(1));
    client.sandbox.stop().await;
}

/// The bytes received after one request, to the end of the connection, and whether it was reset.
async fn raw(sandbox: &Sandbox, path: &str, more: &str) -> (String, bool) {
    let (address, more, path) = (sandbox.address(), more.to_owned(), path.to_owned());
    let read = move || {
        let mut stream = TcpStream::connect(address).expect("a connection");
        let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: {KEY}\r\n{more}\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return (String::from_utf8_lossy(&seen).into_owned(), false),
                Ok(bytes) => seen.extend_from_slice(&buffer[..bytes]),
                Err(_) => return (String::from_utf8_lossy(&seen).into_owned(), true),
            }
        }
    };
    tokio::task::spawn_blocking(read).await.expect("read")
}

#[tokio::test]
async fn lost_or_reset_submit_breaks_the_connection() {
    let client = Client::with_faults("").await;
    for (fault, made, tasks) in [("reset", 0, 1), ("lost", 2, 2)] {
        let body = body(&format!("[sandbox: submit={fault}]"));
        assert_eq!(client.submit(fault, &body).await.0, 0, "{fault}");
        assert_eq!(client.sandbox.ledger().tasks.len(), made, "{fault}");
        assert_eq!(client.submit(fault, &body).await.0, 200, "{fault}");
        assert_eq!(client.sandbox.ledger().tasks.len(), tasks, "{fault}");
    }
    assert_eq!(client.sandbox.ledger().requests.iter().filter(|call| call.status.is_none()).count(), 2);
}

#[tokio::test]
async fn reset_fault_resets_the_connection() {
    let client = Client::with_faults("models=reset models=drip:4000").await;
    assert_eq!(raw(&client.sandbox, "/v1/models", "").await, (String::new(), true));
    let (answer, reset) = raw(&client.sandbox, "/v1/models", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\"object\":\"list\"}"),
        "{answer}"
    );
    assert!(!reset && answer.contains("Date: "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "the library writes no second response");
}

#[tokio::test]
async fn repeated_submit_is_refused_while_a_slow_one_runs() {
    let client = Client::with_faults("").await;
    let body = body("[sandbox: submit=slow:300ms]");
    let (slow, repeat) = tokio::join!(client.submit("a", &body), async {
        client.sandbox.wait_until(|ledger| !ledger.tasks.is_empty()).await;
        client.submit("a", &body).await
    });
    assert_eq!((slow.0, repeat.0, &repeat.1["error"]["code"]), (200, 409, &json!("idempotency_in_progress")));
    assert_eq!(client.submit("a", &body).await.1["task_id"], slow.1["task_id"]);
}

#[tokio::test]
async fn faults_arrive_with_their_headers() {
    let client = Client::with_faults("").await;
    for (fault, status, header, value) in [
        ("429:7s", 429, "retry-after", "7"),
        ("html200", 200, "content-type", "text/html; charset=utf-8"),
        ("html502", 502, "content-type", "text/html; charset=utf-8"),
        ("503", 503, "content-type", "application/json"),
        ("redirect", 302, "location", "/v1/elsewhere"),
        ("409", 409, "retry-after", "1"),
    ] {
        let answer =
            client.post(fault, &body(&format!("[sandbox: submit={fault}]"))).send().await.expect(fault);
        assert_eq!(
            (answer.status().as_u16(), answer.headers()[header].as_bytes()),
            (status, value.as_bytes()),
            "{fault}"
        );
    }
    let huge = client.post("h", &body("[sandbox: submit=huge]")).send().await.expect("an answer");
    assert!(huge.content_length().is_some_and(|bytes| bytes > 4_000_000));
}

#[tokio::test]
async fn media_faults_reach_the_client() {
    let client = Client::with_faults("").await;
    // The plan; the status of the first download; whether its body arrives completely, and is the clip.
    for (plan, status, ends, is_clip) in [
        ("media=400", 400, true, false),
        ("media=401", 401, true, false),
        ("media=403", 403, true, false),
        ("media=404x2", 404, true, false),
        ("media=410", 410, true, false),
        ("media=416", 416, true, false),
        ("media=429", 429, true, false),
        ("media=500", 500, true, false),
        ("media=502", 502, true, false),
        ("media=503", 503, true, false),
        ("media=short", 200, false, false),
        ("media=cut", 200, true, false),
        ("media=chunk-cut", 200, false, false),
        ("media=html200", 200, true, false),
        ("media=magic", 200, true, false),
        ("media=no-moov", 200, true, false),
        ("media=half", 200, true, false),
        ("media=zero", 200, true, false),
        ("media=gzip", 200, true, false),
        ("media=reset:0", 0, false, false),
        ("media=reset:1000", 200, false, false),
        ("media=drip:100KiB", 200, true, true),
        ("media=slow:50ms", 200, true, true),
        ("media=redirect:file", 302, true, false),
        ("media-key=yes", 401, true, false),
        ("link=0s links=same expired=410", 410, true, false),
        ("ready=1h", 404, true, false),
        ("length=chunked", 200, true, true),
        ("length=close", 200, true, true),
        ("media-type=application/octet-stream", 200, true, true),
    ] {
        let link = client.link(&format!("a clip [sandbox: {plan}]")).await;
        let (seen, bytes) = client.fetch(&link, None).await;
        assert_eq!((seen, bytes.is_some()), (status, ends), "{plan}");
        let output = client.sandbox.ledger().tasks.last().expect("a task").outputs[0].clone();
        assert_eq!(bytes.is_some_and(|bytes| sha256_hex(&bytes) == output.sha256), is_clip, "{plan}");
    }
}

#[tokio::test]
async fn media_faults_send_the_documented_bytes() {
    let client = Client::with_faults("").await;
    for (plan, described, whole, reset) in [
        ("media=short", "Content-Length: ", false, false),
        ("media=cut", "Connection: close", false, false),
        ("media=chunk-cut", "Transfer-Encoding: chunked", false, false),
        ("media=reset:1000", "Content-Length: ", false, true),
        ("length=close", "Connection: close", true, false),
        ("media=long", "Content-Length: ", true, false),
    ] {
        let link = client.link(&format!("[sandbox: kind=video {plan}]")).await;
        let path = &link[link.find("/output/").expect("a path")..];
        let (answer, was_reset) = raw(&client.sandbox, path, "Connection: close\r\n").await;
        let (head, _) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(described) && head.contains("ETag: \""), "{plan}: {head}");
        assert_eq!(
            (head.contains("Content-Length"), was_reset),
            (described == "Content-Length: ", reset),
            "{plan}"
        );
        let output = client.sandbox.ledger().tasks.last().expect("a task").outputs[0].bytes;
        let lossy = answer.chars().count() as u64;
        assert!(whole || lossy < output, "{plan}: {lossy} of {output}");
        if plan == "media=chunk-cut" {
            let promised =
                answer.split("\r\n\r\n").nth(1).and_then(|body| body.lines().next()).expect("a chunk");
            assert!(u64::from_str_radix(promised, 16).expect("a length") > output / 2, "cut within a chunk");
        }
    }
}

#[tokio::test]
async fn connection_is_reset_after_the_planned_number_of_bytes() {
    let client = Client::with_faults("size=300KiB").await;
    for bytes in [1, 4096, 100 * 1024, 300 * 1024] {
        let link = client.link(&format!("[sandbox: media=reset:{bytes}]")).await;
        let mut answer = client.http.get(&link).send().await.expect("a head");
        let mut seen = 0;
        while let Ok(Some(chunk)) = answer.chunk().await {
            seen += chunk.len();
        }
        assert_eq!(seen, bytes);
    }
}

#[tokio::test]
async fn download_resumes_where_it_stopped() {
    let client = Client::with_faults("size=300KiB media=reset:100KiB").await;
    let link = client.link("a clip").await;
    assert_eq!(client.fetch(&link, None).await, (200, None));
    let (status, rest) = client.fetch(&link, Some(200 * 1024)).await;
    assert_eq!((status, rest.map(|rest| rest.len())), (206, Some(100 * 1024)));
    let (_, all) = client.fetch(&link, None).await;
    let output = client.sandbox.ledger().tasks[0].outputs[0].clone();
    assert_eq!(all.map(|all| sha256_hex(&all)), Some(output.sha256));
    let head = client.http.head(&link).send().await.expect("a head");
    assert_eq!(head.headers()["content-length"], "307200");
    assert!(head.bytes().await.expect("nothing").is_empty());
}

#[tokio::test]
async fn changed_file_has_another_tag() {
    let client = Client::with_faults("etag=changes").await;
    let link = client.link("a clip").await;
    let first = client.http.get(&link).send().await.expect("an answer");
    let tag = first.headers()[ETAG.as_str()].clone();
    let resumed = client.http.get(&link).header("Range", "bytes=100-").header("If-Range", tag.clone());
    let second = resumed.send().await.expect("an answer");
    assert_eq!((second.status().as_u16(), second.headers()[ETAG.as_str()] == tag), (200, false));
}

#[tokio::test]
async fn stalled_download_neither_continues_nor_ends() {
    let client = Client::with_faults("media=stall:1000").await;
    let link = client.link("a clip").await;
    let mut answer = client.http.get(&link).send().await.expect("a head");
    let mut seen = 0;
    let rest = async {
        while let Ok(Some(chunk)) = answer.chunk().await {
            seen += chunk.len();
        }
    };
    assert_eq!(Clock::machine().within(Duration::from_millis(200), rest).await, None);
    assert_eq!(seen, 1000);
}

/// A receiver of callbacks. Answers each with the next status of `answers`, and repeats the last. Returns its URL and
/// the paths and bodies it receives.
fn receiver(answers: &'static [u16]) -> (String, std::sync::mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/callbacks/job-1/token", listener.local_addr().expect("an address"));
    let (sender, got) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for n in 0.. {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let (mut seen, mut buffer) = (Vec::new(), [0; 65536]);
            let (head, body) = loop {
                let bytes = stream.read(&mut buffer).unwrap_or(0);
                seen.extend_from_slice(&buffer[..bytes]);
                let text = String::from_utf8_lossy(&seen).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.to_lowercase().split_once("content-length: ").map_or(0, |(_, rest)| {
                    rest.lines().next().and_then(|length| length.parse().ok()).unwrap_or(0)
                });
                if seen.len() >= head.len() + 4 + length || bytes == 0 {
                    break (head.to_owned(), body.to_owned());
                }
            };
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            // Before the answer: a test that has seen the answer must find the callback here.
            if sender.send((path, body)).is_err() {
                return;
            }
            let status = answers.get(n).or(answers.last()).copied().unwrap_or(204);
            let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (url, got)
}

async fn received(
    plan: &str,
    answers: &'static [u16],
    count: usize,
) -> (Vec<(String, String)>, Vec<CallbackEntry>) {
    let client = Client::with_faults(plan).await;
    let (url, got) = receiver(answers);
    let mut body = body("a cat");
    body["callback_url"] = url.into();
    assert_eq!(client.submit("a", &body).await.0, 200);
    let settled = |ledger: &Ledger| ledger.callbacks.iter().filter(|sent| sent.answered_at.is_some()).count();
    client.sandbox.wait_until(|ledger| settled(ledger) >= count).await;
    (got.try_iter().collect(), client.sandbox.ledger().callbacks)
}

#[tokio::test]
async fn callbacks_arrive_as_planned() {
    let (got, sent) = received("", &[204], 1).await;
    let body: Value = serde_json::from_str(&got[0].1).expect("JSON");
    assert_eq!((got[0].0.as_str(), body["status"].as_str()), ("/callbacks/job-1/token", Some("completed")));
    assert_eq!((sent[0].status, &sent[0].body_sha256), (Some(204), &sha256_hex(got[0].1.as_bytes())));
    let (got, _) = received("callback=copies:10", &[204], 10).await;
    assert_eq!(got.len(), 10);
    assert_eq!(received("callback=empty", &[204], 1).await.0[0].1, "");
    assert!(received("callback=huge", &[413], 1).await.0[0].1.len() > 1 << 20);
    let garbage = received("callback=garbage", &[204], 1).await.0;
    assert!(serde_json::from_str::<Value>(&garbage[0].1).is_err());
    let (got, sent) = received("callback=forged", &[404, 204], 2).await;
    let paths: std::collections::BTreeSet<_> = got.into_iter().map(|(path, _)| path).collect();
    assert!(paths.contains("/callbacks/job-1/Aoken") && paths.contains("/callbacks/job-1/token"));
    assert_eq!(sent.iter().filter(|sent| sent.forged).count(), 1);
}

#[tokio::test]
async fn refused_callback_is_sent_again() {
    let (got, sent) = received("callback-tries=2", &[503, 204], 2).await;
    assert_eq!((got.len(), got[0] == got[1]), (2, true));
    let seen: Vec<_> = sent.iter().map(|sent| (sent.number, sent.attempt, sent.status)).collect();
    assert_eq!(seen, [(1, 1, Some(503)), (1, 2, Some(204))]);
}

#[tokio::test]
async fn early_callback_precedes_the_answer_to_the_submit() {
    let client = Client::with_faults("callback=early").await;
    let (url, got) = receiver(&[204]);
    let mut body = body("a cat");
    body["callback_url"] = url.into();
    let (status, answer) = client.submit("a", &body).await;
    let (_, described) = got.try_recv().expect("the callback was there first");
    let described: Value = serde_json::from_str(&described).expect("JSON");
    assert_eq!((status, &described["task_id"]), (200, &answer["task_id"]));
}

#[tokio::test]
async fn sandbox_endpoints_work() {
    let client = Client::with_faults("").await;
    client.task("a").await;
    let (_, ledger) = client.get("/sandbox/ledger").await;
    assert_eq!((&ledger["calls"]["submit"], &ledger["total"]), (&json!(1), &json!(75_000)));
    assert_eq!(ledger["requests"][0]["body_sha256"], sha256_hex(body("a").to_string().as_bytes()));
    assert!(!ledger.to_string().contains("sk-test"));
    let post = |path: &str, body: &'static str| {
        read(client.http.post(format!("{}{path}", client.sandbox.base_url())).body(body))
    };
    assert_eq!(
        post("/sandbox/plan", "submit=503x2\nrun=1s").await,
        (200, json!({"plan": "submit=503x2 run=1s"}))
    );
    assert_eq!(client.submit("b", &body("b")).await.0, 503);
    let (status, refusal) = post("/sandbox/plan", "sumbit=503").await;
    assert!(status == 400 && refusal["error"].as_str().is_some_and(|text| text.contains("`submit`")));
    assert_eq!(client.get("/sandbox/plan").await.1["plan"], "submit=503x2 run=1s");
    assert_eq!(post("/sandbox/reset", "").await.0, 204);
    assert_eq!(client.sandbox.ledger(), Ledger::default());
    let words = client.http.get(format!("{}/sandbox/faults", client.sandbox.base_url())).send().await;
    assert!(words.expect("words").text().await.expect("text").contains("submit="));
}

#[tokio::test]
async fn several_sandboxes_run_and_stop_independently() {
    let (one, two) = (Client::with_faults("submit=401").await, Client::with_faults("").await);
    assert_eq!((one.submit("a", &body("a")).await.0, two.submit("a", &body("a")).await.0), (401, 200));
    let (address, dropped) = (one.sandbox.address(), two.sandbox.address());
    one.sandbox.stop().await;
    assert!(TcpStream::connect(address).is_err());
    drop(two.sandbox);
    while TcpStream::connect(dropped).is_ok() {
        tokio::task::yield_now().await;
    }
}
