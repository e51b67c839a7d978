//! The commands as a script uses them: output and exit codes.

use serde_json::{Value, json};

use crate::support::output::{document, err, out};
use crate::support::{KEY, Rig, quick};

#[tokio::test]
async fn submitted_jobs_are_waited_for_listed_and_shown() {
    let rig = Rig::start("").await;
    let good = rig.beside("scene.json");
    std::fs::write(&good, format!("[{},{}]", quick("one", ""), quick("two", ""))).unwrap();
    let submitted = rig.run(&["submit", "--wait", good.to_str().unwrap()]).await;
    assert_eq!(submitted.status.code(), Some(0), "{}", err(&submitted));
    assert!(out(&submitted).contains("one  succeeded  /"), "{}", out(&submitted));

    let listed = document(&rig.run(&["list", "--json", "--state", "succeeded"]).await);
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(listed["next_cursor"], Value::Null);
    let shown = document(&rig.run(&["show", "one", "--json"]).await);
    assert_eq!(shown["history"][0]["event"], "accepted");
    let text = rig.run(&["show", "one"]).await;
    assert!(out(&text).contains(".mp4") && out(&text).contains("succeeded"), "{}", out(&text));
    let list = rig.run(&["list"]).await;
    assert!(out(&list).contains(shown["id"].as_str().unwrap()), "{}", out(&list));
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
    assert_eq!(waited.status.code(), Some(3), "{}", err(&waited));
    assert!(out(&waited).contains("bad  failed  the task failed"), "{}", out(&waited));
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
    assert!(out(&checked).contains("bad.json:3:15: /duration: "), "{}", out(&checked));
    let report = document(&rig.run(&["check", "--json", bad.to_str().unwrap()]).await);
    assert_eq!(report["files"][0]["ok"], false);
    let submitted = rig.run(&["submit", bad.to_str().unwrap()]).await;
    assert_eq!(submitted.status.code(), Some(1));
    let place = format!("{}:3:15: /duration: ", bad.display());
    assert!(err(&submitted).contains(&place), "{}", err(&submitted));
    assert!(rig.sandbox.ledger().tasks.is_empty());
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
    assert_eq!(unasked.status.code(), Some(2), "{}", err(&unasked));
    assert!(err(&unasked).contains("Retry 3 jobs?"), "{}", err(&unasked));
    let dry = rig.run(&["retry", "--state", "failed", "--dry-run"]).await;
    assert_eq!((dry.status.code(), out(&dry).lines().count()), (Some(0), 3));
    let release = rig.run(&["release", "--state", "failed"]).await;
    assert!(err(&release).contains("may be billed again"), "{}", err(&release));
    let done = rig.run(&["retry", "--state", "failed", "--yes"]).await;
    assert_eq!((done.status.code(), out(&done).lines().count()), (Some(0), 3), "{}", err(&done));
    rig.until_settled(3).await;
    let job = rig.job("a").await;
    let keys = rig.sandbox.ledger().keys;
    assert!(keys.contains_key(&format!("{}.2", job["id"].as_str().unwrap())), "{keys:?}");
    let refused = rig.run(&["release", "a"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("not held"), "{}", err(&refused));
    let paused = rig.run(&["pause", "submits"]).await;
    assert!(out(&paused).contains('!'), "{}", out(&paused));
    rig.stop().await;
    rig.start_daemon().await;
    assert_eq!(
        rig.get("/api/v1/status").await.1["suspensions"][0]["cause"],
        "paused_submits",
        "a pause survives a restart"
    );
    assert!(err(&rig.run(&["list"]).await).contains('!'), "list shows the pause");
    assert_eq!(rig.run(&["resume"]).await.status.code(), Some(0));
    rig.finish().await;
}

#[tokio::test]
async fn command_without_a_daemon_exits_with_4_and_suggests_a_fix() {
    let mut rig = Rig::set_up("").await;
    rig.set("ADMIN__LISTEN", "127.0.0.1:9");
    for command in [vec!["list"], vec!["show", "x"], vec!["pause"], vec!["watch"]] {
        let output = rig.run(&command).await;
        assert_eq!(output.status.code(), Some(4), "{command:?}: {}", err(&output));
        assert!(err(&output).contains("dropreel serve"), "{}", err(&output));
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
    let ids: std::collections::BTreeSet<String> = out(&submitted).lines().map(str::to_owned).collect();
    assert_eq!((submitted.status.code(), ids.len()), (Some(0), 620), "{}", err(&submitted));
    let shown = rig.run(&["show", ids.first().unwrap()]).await;
    assert!(err(&shown).contains("! "), "show prints the pause: {}", err(&shown));
    let cancelled = rig.run(&["cancel", "--state", "pending", "--yes"]).await;
    assert_eq!(out(&cancelled).lines().count(), 620);
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
        assert_eq!(checked.status.code(), Some(1), "{name}: {}", out(&checked));
    }
    std::fs::write(rig.beside("\u{1b}[2J.json"), &good).unwrap();
    assert_eq!(out(&rig.run(&["check", "\u{1b}[2J.json"]).await), "·[2J.json: 1 job\n");
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
    assert!(err(&output).contains("MAX_RUNNING"), "{}", err(&output));
    let help = rig.run(&["--help"]).await;
    assert_eq!(help.status.code(), Some(0));
}

#[tokio::test]
async fn daemon_without_a_key_names_the_places_for_it() {
    let mut rig = Rig::set_up("").await;
    rig.set("PROVIDER__API_KEY", "");
    let output = rig.run(&["serve"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("DROPREEL_PROVIDER__API_KEY"), "{}", err(&output));
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
        assert!(out(&rig.run(&["completions", shell]).await).contains("dropreel"), "{shell}");
    }
    assert!(out(&rig.run(&["man"]).await).contains(".TH dropreel"));
    let page = out(&rig.run(&["man", "list"]).await);
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
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let report = document(&output);
    assert!(report["seconds"].as_f64().unwrap() < 55.0);
    for job in report["jobs"].as_array().unwrap() {
        let file = job["files"][0]["path"].as_str().unwrap();
        assert_eq!(&std::fs::read(file).unwrap()[4..8], b"ftyp", "{job:#}");
    }
    assert!(!err(&output).contains(KEY));

    let again = rig.run(&["demo", "--jobs", "1", "--json", "--dir", folder.to_str().unwrap()]).await;
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
    let first: Vec<_> = report["jobs"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect();
    assert!(
        !first.contains(&document(&again)["jobs"][0]["id"]),
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
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(folder.join("config.toml")).unwrap(), "data_dir = \"mine\"");
}

#[tokio::test]
async fn sandbox_lists_faults_and_corrects_wrong_ones() {
    let rig = Rig::set_up("").await;
    let faults = rig.run(&["sandbox", "--list-faults"]).await;
    assert!(out(&faults).contains("submit=") && out(&faults).contains("lost"), "{}", out(&faults));
    let wrong = rig.run(&["sandbox", "--fault", "submit=lots"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(err(&wrong).contains("submit=lost"), "{}", err(&wrong));
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
    let report = document(&rig.run(&["report", "--json", "--since", "1h"]).await);
    let ledger = rig.sandbox.ledger();
    let charged: i64 = ledger.tasks.iter().map(|task| task.cost.get()).sum();
    let total = &report["total"];
    assert_eq!(
        (total["jobs"].as_u64(), total["succeeded"].as_u64(), total["failed"].as_u64()),
        (Some(3), Some(1), Some(2))
    );
    assert_eq!(total["cost_quota"].as_i64(), Some(charged), "the provider's ledger agrees");
    assert!((total["success_rate"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-9);
    assert!(total["average_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(report["by_model"][0]["key"], "wan2.5-t2v");
    assert_eq!(report["by_day"].as_array().unwrap().len(), 1);
    let text = rig.run(&["report"]).await;
    assert!(out(&text).contains("by model") && out(&text).contains("33%"), "{}", out(&text));
    let none = document(&rig.run(&["report", "--json", "--since", "2099-01-01"]).await);
    assert_eq!(none["total"]["jobs"], 0);

    let disputes = document(&rig.run(&["report", "--disputes", "--json"]).await);
    let names: Vec<&str> =
        disputes["disputes"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["charged"]);
    let text = rig.run(&["report", "--disputes"]).await;
    assert!(out(&text).contains("charged") && err(&text).contains("no video"), "{}", out(&text));
    let wrong = rig.run(&["report", "--since", "yesterday"]).await;
    assert_eq!(wrong.status.code(), Some(2), "{}", err(&wrong));
    rig.finish().await;
}
