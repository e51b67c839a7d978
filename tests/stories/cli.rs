//! The commands as a script uses them: output and exit codes.

use serde_json::{Value, json};

use crate::support::output::{stderr, stdout, stdout_json};
use crate::support::{KEY, Rig, quick};

#[tokio::test]
async fn submitted_jobs_are_waited_for_listed_and_shown() {
    let rig = Rig::start("").await;
    let good = rig.beside("scene.json");
    std::fs::write(&good, format!("[{},{}]", quick("one", ""), quick("two", ""))).unwrap();
    let submitted = rig.run(&["submit", "--wait", good.to_str().unwrap()]).await;
    assert_eq!(submitted.status.code(), Some(0), "{}", stderr(&submitted));
    assert!(stdout(&submitted).contains("one  succeeded  /"), "{}", stdout(&submitted));

    let listed = stdout_json(&rig.run(&["list", "--json", "--state", "succeeded"]).await);
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(listed["next_cursor"], Value::Null);
    let shown = stdout_json(&rig.run(&["show", "one", "--json"]).await);
    assert_eq!(shown["history"][0]["event"], "accepted");
    let text = rig.run(&["show", "one"]).await;
    assert!(stdout(&text).contains(".mp4") && stdout(&text).contains("succeeded"), "{}", stdout(&text));
    let list = rig.run(&["list"]).await;
    assert!(stdout(&list).contains(shown["id"].as_str().unwrap()), "{}", stdout(&list));
    let none = rig.run(&["list", "--state", "failed"]).await;
    assert_eq!(stderr(&none), "no jobs match\n");
    let batches = stdout_json(&rig.run(&["list", "--batches", "--json"]).await);
    let batch = &batches["batches"][0];
    assert_eq!((&batch["id"], &batch["file"]), (&shown["batch"], &"scene.json".into()));
    assert_eq!(batch["states"]["succeeded"], 2);
    assert!(batch["finished_at"].is_string() && batch["cost_usd"].as_f64().unwrap() > 0.0, "{batches}");
    let table = stdout(&rig.run(&["list", "--batches"]).await);
    assert!(table.lines().nth(1).unwrap().contains(" 2/2 "), "{table}");
    let unknown = rig.run(&["show", "nobody"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    let waited = rig.run(&["wait", "one", "two"]).await;
    assert_eq!(waited.status.code(), Some(0));
    rig.finish().await;
}

#[tokio::test]
async fn wait_for_a_failed_job_exits_with_3() {
    let rig = Rig::start("").await;
    rig.drop("bad.json", quick("bad", "end=task_failed run=1s"));
    rig.until("bad", &["queued", "processing"]).await;
    let waited = rig.run(&["wait", "bad"]).await;
    assert_eq!(waited.status.code(), Some(3), "{}", stderr(&waited));
    assert!(stdout(&waited).contains("bad  failed  the task failed"), "{}", stdout(&waited));
    let submitted = rig.run(&["submit", "-"]).await;
    assert_eq!(submitted.status.code(), Some(1), "nothing on standard input");
    rig.finish().await;
}

#[tokio::test]
async fn check_and_submit_print_where_a_job_file_is_wrong() {
    let rig = Rig::start("").await;
    let bad = rig.beside("bad.json");
    std::fs::write(&bad, "{\n  \"model\": \"wan2.5-t2v\",\n  \"duration\": \"5\"\n}").unwrap();
    let checked = rig.run(&["check", bad.to_str().unwrap()]).await;
    assert_eq!(checked.status.code(), Some(1));
    assert!(stdout(&checked).contains("bad.json:3:15: /duration: "), "{}", stdout(&checked));
    let report = stdout_json(&rig.run(&["check", "--json", bad.to_str().unwrap()]).await);
    assert_eq!(report["files"][0]["ok"], false);
    let submitted = rig.run(&["submit", bad.to_str().unwrap()]).await;
    assert_eq!(submitted.status.code(), Some(1));
    let place = format!("{}:3:15: /duration: ", bad.display());
    assert!(stderr(&submitted).contains(&place), "{}", stderr(&submitted));
    assert!(rig.sandbox.ledger().tasks.is_empty());
    rig.finish().await;
}

#[tokio::test]
async fn check_says_what_only_the_daemon_knows() {
    let rig = Rig::start("").await;
    let write = |name: &str, text: &str| {
        let path = rig.beside(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let file = write(
        "shot.json",
        r#"{"model": "wan2.5-t2v", "prompt": "a [sandbox: queue=50ms run=50ms]", "dropreel": {"key": "shot-1"}}"#,
    );
    assert_eq!(rig.run(&["submit", &file]).await.status.code(), Some(0));
    let checked = rig.run(&["check", &file]).await;
    assert_eq!(checked.status.code(), Some(1), "{}", stdout(&checked));
    let why = "the key `shot-1` was already used by job";
    assert!(stdout(&checked).contains(why), "{}", stdout(&checked));
    let plain =
        write("plain.json", r#"{"model": "wan2.5-t2v", "prompt": "b [sandbox: queue=50ms run=50ms]"}"#);
    assert_eq!(rig.run(&["submit", &plain]).await.status.code(), Some(0));
    let offline = rig.run(&["check", "--offline", &plain]).await;
    assert!(!stdout(&offline).contains("accepted at"), "{}", stdout(&offline));
    let checked = rig.run(&["check", &plain]).await;
    assert_eq!(checked.status.code(), Some(0));
    assert!(
        stdout(&checked).contains("plain.json: the same file was accepted at 20"),
        "{}",
        stdout(&checked)
    );
    rig.finish().await;
}

#[tokio::test]
async fn warnings_are_shown_by_check_submit_and_show_and_reject_nothing() {
    let mut rig = Rig::start("").await;
    let odd = rig.beside("odd.json");
    let request = r#"{"model":"wan2.5-t2v","prompt":"a","duration":7,"extra":{"audio":false}}"#;
    std::fs::write(&odd, request).unwrap();
    let odd = odd.to_str().unwrap();
    let checked = rig.run(&["check", odd]).await;
    assert_eq!(checked.status.code(), Some(0), "{}", stdout(&checked));
    let place = format!("{odd}:1:47: warning: /duration: `duration` is 7: wan2.5-t2v makes 5 or 10 s");
    assert!(stdout(&checked).starts_with(&place), "{}", stdout(&checked));
    assert!(stdout(&checked).contains("odd.json: 1 job, about $1.26 ("), "{}", stdout(&checked));
    let report = stdout_json(&rig.run(&["check", "--json", odd]).await);
    assert_eq!(report["files"][0]["warnings"][0]["pointer"], "/duration");
    assert_eq!(report["files"][0]["errors"], serde_json::json!([]));

    let submitted = rig.run(&["submit", odd, "--wait"]).await;
    assert_eq!(submitted.status.code(), Some(0), "{}", stderr(&submitted));
    assert!(stderr(&submitted).contains("  warning: `duration` is 7"), "{}", stderr(&submitted));
    let warnings = stdout_json(&rig.run(&["show", "--json", "odd"]).await)["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), 1, "{warnings}");
    assert!(stdout(&rig.run(&["show", "odd"]).await).contains("  warning      `duration` is 7"));

    rig.set("PROVIDER__BASE_URL", "https://api.qingbo.ai");
    let report = stdout_json(&rig.run(&["check", "--json", odd]).await);
    assert_eq!(report["files"][0]["warnings"][1]["pointer"], "/extra", "{report:#}");
    rig.finish().await;
}

#[tokio::test]
async fn models_are_listed_with_own_jobs_and_without_a_daemon() {
    let mut rig = Rig::start("").await;
    rig.drop("a.json", quick("a", ""));
    rig.until("a", &["succeeded"]).await;
    let models = stdout_json(&rig.run(&["models", "--json"]).await);
    let of = |models: &serde_json::Value, name: &str| {
        let models = models["models"].as_array().unwrap();
        models.iter().find(|model| model["name"] == name).cloned().unwrap_or_default()
    };
    assert!(models["listed_at"].is_string(), "{models:#}");
    let own = of(&models, "wan2.5-t2v");
    assert_eq!((&own["listed"], &own["succeeded_jobs"]), (&true.into(), &1.into()), "{own:#}");
    assert!(own["median_cost_usd"].as_f64().unwrap() > 0.0 && own["median_seconds"].is_f64(), "{own:#}");
    let table = rig.run(&["models"]).await;
    assert!(stdout(&table).contains("wan2.7-r2v"), "{}", stdout(&table));

    assert_eq!(rig.stop().await, Some(0));
    let offline = rig.run(&["models", "--json"]).await;
    assert_eq!(offline.status.code(), Some(0));
    assert!(stderr(&offline).contains("no daemon"), "{}", stderr(&offline));
    let known = of(&stdout_json(&offline), "wan2.7");
    assert_eq!((&known["listed"], &known["known"]), (&serde_json::Value::Null, &true.into()));
    rig.finish().await;
}

#[tokio::test]
async fn action_by_filter_needs_confirmation() {
    let mut rig = Rig::start("").await;
    for name in ["a", "b", "c"] {
        rig.drop(&format!("{name}.json"), quick(name, "end=task_failed"));
    }
    rig.until_settled(3).await;
    let unasked = rig.run(&["retry", "--state", "failed"]).await;
    assert_eq!(unasked.status.code(), Some(2), "{}", stderr(&unasked));
    assert!(stderr(&unasked).contains("Retry 3 jobs, about $2.70 in all?"), "{}", stderr(&unasked));
    let dry = rig.run(&["retry", "--state", "failed", "--dry-run"]).await;
    assert_eq!((dry.status.code(), stdout(&dry).lines().count()), (Some(0), 3));
    let release = rig.run(&["release", "--state", "failed"]).await;
    assert!(stderr(&release).contains("left out: 3 jobs"), "{}", stderr(&release));
    rig.run(&["dismiss", "b"]).await;
    let dry = rig.run(&["retry", "--state", "failed", "--dry-run"]).await;
    assert_eq!(stdout(&dry).lines().count(), 2, "{dry:?}");
    let said =
        "left out: 1 job (dismissed, or not ended and not named by --state)\n2 jobs to retry, about $1.80";
    assert!(stderr(&dry).contains(said), "{dry:?}");
    rig.run(&["undismiss", "b"]).await;
    let done = rig.run(&["retry", "--state", "failed", "--yes"]).await;
    assert_eq!(
        (done.status.code(), stdout(&done)),
        (Some(0), "3 jobs resubmitted\n".into()),
        "{}",
        stderr(&done)
    );
    rig.until_settled(3).await;
    let job = rig.job("a").await;
    let keys = rig.sandbox.ledger().keys;
    assert!(keys.contains_key(&format!("{}.2", job["id"].as_str().unwrap())), "{keys:?}");
    let refused = rig.run(&["release", "a"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("not held"), "{}", stderr(&refused));
    let paused = rig.run(&["pause", "submits"]).await;
    assert!(stdout(&paused).contains('!'), "{}", stdout(&paused));
    rig.stop().await;
    rig.start_daemon().await;
    assert_eq!(
        rig.get("/api/v1/status").await.1["suspensions"][0]["cause"],
        "paused_submits",
        "a pause survives a restart"
    );
    assert!(stderr(&rig.run(&["list"]).await).contains('!'), "list shows the pause");
    assert_eq!(rig.run(&["resume"]).await.status.code(), Some(0));
    rig.finish().await;
}

#[tokio::test]
async fn command_without_a_daemon_exits_with_4_and_suggests_a_fix() {
    let mut rig = Rig::set_up("").await;
    rig.set("ADMIN__LISTEN", "127.0.0.1:9");
    for command in [vec!["list"], vec!["show", "x"], vec!["pause"], vec!["watch"]] {
        let output = rig.run(&command).await;
        assert_eq!(output.status.code(), Some(4), "{command:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("dropreel serve"), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn closed_output_is_no_failure() {
    let mut rig = Rig::set_up("").await;
    rig.set("ADMIN__LISTEN", "127.0.0.1:9");
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = rig.command(&["list"]);
    let status = command.stderr(closed).status().unwrap();
    assert_eq!(status.code(), Some(4), "no panic");
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(rig.command(&["man"]).stdout(closed).status().unwrap().code(), Some(0));
}

#[tokio::test]
async fn submit_prints_every_job_of_a_long_file() {
    let rig = Rig::start("").await;
    rig.run(&["pause"]).await;
    let file = rig.beside("long.jsonl");
    std::fs::write(&file, format!("{}\n", quick("scene", "")).repeat(620)).unwrap();
    let submitted = rig.run(&["submit", file.to_str().unwrap()]).await;
    let ids: std::collections::BTreeSet<String> = stdout(&submitted).lines().map(str::to_owned).collect();
    assert_eq!((submitted.status.code(), ids.len()), (Some(0), 620), "{}", stderr(&submitted));
    let shown = rig.run(&["show", ids.first().unwrap()]).await;
    assert!(stderr(&shown).contains("! "), "show prints the pause: {}", stderr(&shown));
    let cancelled = rig.run(&["cancel", "--state", "pending", "--yes"]).await;
    assert_eq!(stdout(&cancelled), "cancellation requested for 620 jobs\n");
    rig.finish().await;
}

#[tokio::test]
async fn check_rejects_what_the_inbox_ignores_or_rejects() {
    let rig = Rig::set_up("").await;
    let good = quick("good", "");
    for name in ["a.sync-conflict-20260404-1.json", "b.txt", ".c.json"] {
        std::fs::write(rig.beside(name), &good).unwrap();
    }
    let pipe = rig.beside("pipe.json");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for name in ["a.sync-conflict-20260404-1.json", "b.txt", ".c.json", "pipe.json"] {
        let checked = rig.run(&["check", name]).await;
        assert_eq!(checked.status.code(), Some(1), "{name}: {}", stdout(&checked));
    }
    std::fs::write(rig.beside("\u{1b}[2J.json"), &good).unwrap();
    let checked = stdout(&rig.run(&["check", "\u{1b}[2J.json"]).await);
    assert!(checked.starts_with("·[2J.json: 1 job, about $"), "{checked}");
    let job = r#"{"model": "m", "dropreel": {"repeat": 20}}"#;
    for (name, text) in [("many.json", format!("[{job}, {job}]")), ("many.jsonl", format!("{job}\n{job}"))] {
        std::fs::write(rig.beside(name), text).unwrap();
        let checked = stdout(&rig.run(&["check", name]).await);
        assert!(checked.starts_with(&format!("{name}: 40 jobs from 2 objects, about $")), "{checked}");
    }
}

#[tokio::test]
async fn wrong_usage_and_configuration_exit_with_2() {
    let mut rig = Rig::set_up("").await;
    for command in [
        vec!["nonsense"],
        vec!["show"],
        vec!["cancel"],
        vec!["list", "--limit", "0"],
        vec!["list", "--state", "done"],
        vec!["retry", "--label", "spring"],
        vec!["show", ".."],
    ] {
        assert_eq!(rig.run(&command).await.status.code(), Some(2), "{command:?}");
    }
    rig.set("PROVIDER__MAX_RUNING", "3");
    let output = rig.run(&["serve"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("MAX_RUNNING"), "{}", stderr(&output));
    let help = rig.run(&["--help"]).await;
    assert_eq!(help.status.code(), Some(0));
}

#[tokio::test]
async fn daemon_without_a_key_names_the_places_for_it() {
    let mut rig = Rig::set_up("").await;
    rig.set("PROVIDER__API_KEY", "");
    let output = rig.run(&["serve"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("DROPREEL_PROVIDER__API_KEY"), "{}", stderr(&output));
}

#[tokio::test]
async fn generated_files_never_replace_others() {
    let rig = Rig::set_up("").await;
    let path = rig.beside("made.toml");
    let path = path.to_str().unwrap();
    assert_eq!(rig.run(&["init", "--output", path]).await.status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(path).unwrap(), dropreel::settings::DEFAULT_CONFIG);
    assert_eq!(rig.run(&["init", "--output", path]).await.status.code(), Some(1));
    assert_eq!(rig.run(&["--config", path, "check", path]).await.status.code(), Some(1), "not a job file");
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&rig.run(&["completions", shell]).await).contains("dropreel"), "{shell}");
    }
    assert!(stdout(&rig.run(&["man"]).await).contains(".TH dropreel"));
    let page = stdout(&rig.run(&["man", "list"]).await);
    assert!(page.contains(concat!(".TH dropreel-list 1  \"dropreel ", env!("CARGO_PKG_VERSION"))), "{page}");
    let pages = rig.beside("man");
    assert_eq!(rig.run(&["man", "--dir", pages.to_str().unwrap()]).await.status.code(), Some(0));
    assert!(pages.join("dropreel-list.1").is_file());
}

#[tokio::test]
async fn demo_succeeds_without_key_and_network() {
    let rig = Rig::set_up("").await;
    let folder = rig.beside("demo");
    let output = rig.run(&["demo", "--jobs", "8", "--json", "--dir", folder.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = stdout_json(&output);
    assert!(report["seconds"].as_f64().unwrap() < 55.0);
    assert_eq!(report["cost_quota"], 525_000, "six videos at $0.15, one at $0.10, one at $0.05");
    for job in report["jobs"].as_array().unwrap() {
        let file = job["files"][0]["path"].as_str().unwrap();
        assert_eq!(&std::fs::read(file).unwrap()[4..8], b"ftyp", "{job:#}");
    }
    assert!(!stderr(&output).contains(KEY));

    let again = rig.run(&["demo", "--jobs", "1", "--json", "--dir", folder.to_str().unwrap()]).await;
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let first: Vec<_> = report["jobs"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect();
    assert!(
        !first.contains(&stdout_json(&again)["jobs"][0]["id"]),
        "the jobs of the first run are reported again"
    );
}

#[tokio::test]
async fn demo_refuses_a_folder_with_other_files() {
    let rig = Rig::set_up("").await;
    let folder = rig.beside("mine");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), "data_dir = \"mine\"").unwrap();
    let output = rig.run(&["demo", "--jobs", "1", "--dir", folder.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(folder.join("config.toml")).unwrap(), "data_dir = \"mine\"");
}

#[tokio::test]
async fn sandbox_lists_faults_and_corrects_wrong_ones() {
    let rig = Rig::set_up("").await;
    let faults = rig.run(&["sandbox", "--list-faults"]).await;
    assert!(stdout(&faults).contains("submit=") && stdout(&faults).contains("lost"), "{}", stdout(&faults));
    let wrong = rig.run(&["sandbox", "--fault", "submit=lots"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("submit=lost"), "{}", stderr(&wrong));
    assert_eq!(rig.post_to(&rig.sandbox.base_url(), "/v1/tasks", json!({})).await, 401);
}

#[tokio::test]
async fn report_sums_costs_and_lists_disputes() {
    let rig = Rig::start("").await;
    rig.drop("good.json", quick("good", ""));
    rig.drop("refunded.json", quick("refunded", "end=task_failed"));
    rig.drop("charged.json", quick("charged", "end=task_failed refund=no"));
    for (name, state) in [("good", "succeeded"), ("refunded", "failed"), ("charged", "failed")] {
        rig.until(name, &[state]).await;
    }
    let report = stdout_json(&rig.run(&["report", "--json", "--since", "1h"]).await);
    let ledger = rig.sandbox.ledger();
    let charged: i64 = ledger.tasks.iter().map(|task| task.cost.get()).sum();
    let total = &report["total"];
    assert_eq!(
        (total["jobs"].as_u64(), total["succeeded"].as_u64(), total["failed"].as_u64()),
        (Some(3), Some(1), Some(2))
    );
    assert_eq!(total["cost_quota"].as_i64(), Some(charged), "the provider's ledger agrees");
    assert!((total["success_rate"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-9);
    assert!(
        total["median_seconds"].as_f64().unwrap() > 0.0 && total["p95_seconds"] == total["median_seconds"]
    );
    assert_eq!(report["by_file"].as_array().unwrap().len(), 3);
    assert_eq!(report["by_model"][0]["key"], "wan2.5-t2v");
    assert_eq!(report["by_day"].as_array().unwrap().len(), 1);
    let text = rig.run(&["report"]).await;
    assert!(stdout(&text).contains("by model") && stdout(&text).contains("33%"), "{}", stdout(&text));
    let none = stdout_json(&rig.run(&["report", "--json", "--since", "2099-01-01"]).await);
    assert_eq!(none["total"]["jobs"], 0);

    let disputes = stdout_json(&rig.run(&["report", "--disputes", "--json"]).await);
    let names: Vec<&str> =
        disputes["disputes"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["charged"]);
    let text = rig.run(&["report", "--disputes"]).await;
    let task = &ledger.tasks.iter().find(|task| task.cost.get() > 0 && task.ended == Some("failed")).unwrap();
    assert!(stdout(&text).contains(&task.task_id), "{}", stdout(&text));
    let csv = rig.run(&["report", "--csv"]).await;
    assert!(stdout(&csv).contains("\r\nmodel,wan2.5-t2v,3,1,2,0,0,"), "{}", stdout(&csv));
    let wrong = rig.run(&["report", "--since", "yesterday"]).await;
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
    rig.finish().await;
}

/// Commands that are started with `--json` elsewhere, never end, or write another format.
const WITHOUT_A_DOCUMENT: [&str; 6] = ["serve", "demo", "export", "completions", "man", "help"];

#[tokio::test]
async fn every_command_prints_one_json_document_on_stdout() {
    let mut rig = Rig::start("").await;
    let path = |name: &str| rig.beside(name).to_str().unwrap().to_owned();
    let (good, more, bad, later) =
        (path("good.json"), path("more.json"), path("bad.json"), path("later.json"));
    std::fs::write(&good, quick("good", "")).unwrap();
    std::fs::write(&more, quick("more", "end=task_failed")).unwrap();
    std::fs::write(&bad, "{}").unwrap();
    let mut job: Value = serde_json::from_str(&quick("later", "")).unwrap();
    job["dropreel"]["not_before"] = "2099-01-01T00:00:00Z".into();
    std::fs::write(&later, job.to_string()).unwrap();
    let (backup, config) = (path("backup.db"), path("new.toml"));
    let cases: &[(&[&str], i32)] = &[
        (&["check", &good], 0),
        (&["check", &good, &bad], 1),
        (&["submit", &good], 0),
        (&["submit", &bad, &more, "--wait"], 1),
        (&["wait", "good"], 0),
        (&["watch", "more"], 3),
        (&["list"], 0),
        (&["list", "--state", "held"], 0),
        (&["show", "good"], 0),
        (&["cancel", "good"], 1),
        (&["path", "good"], 0),
        (&["rate", "good", "4"], 0),
        (&["label", "good", "--set", "client=ume"], 0),
        (&["again", "good", "--dry-run"], 0),
        (&["submit", &later], 0),
        (&["edit", "later", "--set", "seed=7"], 0),
        (&["cancel", "later"], 0),
        (&["dismiss", "more"], 0),
        (&["undismiss", "more"], 0),
        (&["retry", "--state", "failed", "--dry-run"], 0),
        (&["retry", "--state", "failed", "--yes"], 0),
        (&["release", "--state", "held"], 0),
        (&["pause", "downloads"], 0),
        (&["resume"], 0),
        (&["rotate", "callback-secret"], 0),
        (&["adopt", "task-unknown"], 1),
        (&["models"], 0),
        (&["report"], 0),
        (&["report", "--disputes"], 0),
        (&["backup", &backup], 0),
        (&["prune", "--dry-run"], 0),
        (&["prune", "--yes"], 0),
        // The address for callbacks leads nowhere.
        (&["doctor"], 1),
        (&["init", "--output", &config], 0),
        (&["sandbox", "--list-faults"], 0),
    ];
    for (command, code) in cases {
        let output = rig.run(&[&["--json"], *command].concat()).await;
        assert_eq!(output.status.code(), Some(*code), "{command:?}: {}", stderr(&output));
        assert!(stdout_json(&output).is_object(), "{command:?}: {}", stdout(&output));
    }
    let help = stdout(&rig.run(&["--help"]).await);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    // It needs a daemon that is stopped.
    let last = "migrate";
    for name in names.filter(|name| !WITHOUT_A_DOCUMENT.contains(name) && *name != last) {
        assert!(cases.iter().any(|(command, _)| command[0] == name), "no case for `{name}`");
    }
    rig.until_settled(3).await;
    assert_eq!(rig.stop().await, Some(0));
    let wrong = rig.run(&[last, "--to", "postgres://dropreel:secret@db/dropreel"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("--to must be `postgres://USER@HOST/DATABASE`, without the password"));
    let moved = rig.run(&["--json", last, "--to", rig.beside("moved.db").to_str().unwrap()]).await;
    assert_eq!(stdout_json(&moved)["jobs"], 3, "{}", stderr(&moved));
    rig.finish().await;
}
