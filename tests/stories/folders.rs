//! Many jobs with few words: folders, defaults, tables and lists of prompts, with the real binary.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::output::{stderr, stdout, stdout_json};
use crate::support::{Rig, SAKURA, files_below};

/// What the sandbox needs to be quick.
const QUICK: &str = "[sandbox: queue=50ms run=300ms]";

fn write(path: &std::path::Path, text: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn job(name: &str) -> String {
    json!({"model": "wan2.5-t2v", "prompt": format!("{SAKURA} {QUICK}"), "dropreel": {"name": name}})
        .to_string()
}

#[tokio::test]
async fn new_file_is_found_at_once_beside_hundreds_that_wait() {
    let mut rig = Rig::set_up("").await;
    rig.set("INBOX__RESCAN", "10m");
    rig.start_daemon().await;
    for number in 0..300 {
        // Its writer has a minute to begin.
        write(&rig.path(&format!("inbox/empty {number}.json")), "");
    }
    write(&rig.path("inbox/first.json"), job("first"));
    rig.until("first", &["succeeded"]).await;
    write(&rig.path("inbox/urgent.json"), job("urgent"));
    let urgent = tokio::time::timeout(Duration::from_secs(30), rig.until("urgent", &["succeeded"])).await;
    assert!(urgent.is_ok(), "not found before the others have waited");
    rig.finish().await;
}

#[tokio::test]
async fn folders_made_and_moved_in_while_the_daemon_runs_are_watched() {
    let mut rig = Rig::set_up("").await;
    // Long enough that only events find the files in time.
    rig.set("INBOX__RESCAN", "10m");
    rig.set("LIBRARY__LAYOUT", "{folder}/{name}.{ext}");
    rig.start_daemon().await;
    write(&rig.path("inbox/spring/day 1/one.json"), job("one"));
    rig.until("one", &["succeeded"]).await;
    // A folder that is known by now, and one that comes in whole.
    write(&rig.path("inbox/spring/day 1/two.json"), job("two"));
    write(&rig.beside("summer/noon/three.json"), job("three"));
    std::fs::rename(rig.beside("summer"), rig.path("inbox/summer")).unwrap();
    let jobs = rig.until_settled(3).await;
    assert!(jobs.values().all(|state| state == "succeeded"), "{jobs:?}");
    for video in ["spring/day 1/one.mp4", "spring/day 1/two.mp4", "summer/noon/three.mp4"] {
        assert!(rig.path("videos").join(video).is_file(), "{video}");
    }
    assert_eq!(rig.job("three").await["labels"]["folder"], "summer/noon");
    let listed = stdout_json(&rig.run(&["list", "--json", "--label", "folder=spring/day 1"]).await);
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 2);
    let accepted: Vec<_> = files_below(&rig.path("accepted"));
    assert!(accepted.iter().any(|path| path.ends_with("summer/noon/three.json")), "{accepted:?}");

    write(&rig.path("inbox/1/2/3/4/5/6/7/8/9/deep.json"), job("deep"));
    rig.until_output("the folder 1/2/3/4/5/6/7/8/9 of the inbox is not read").await;
    let doctor = rig.run(&["doctor"]).await;
    assert!(stdout(&doctor).contains("1/2/3/4/5/6/7/8/9 (more than 8 levels"), "{}", stdout(&doctor));
    rig.finish().await;
}

#[tokio::test]
async fn defaults_of_folders_apply_to_the_files_below_them() {
    let mut rig = Rig::set_up("").await;
    rig.set("INBOX__SETTLE", "1500ms");
    rig.start_daemon().await;
    let whole = rig.beside("spring");
    write(
        &whole.join("defaults.json"),
        r#"{"model": "wan2.5-t2v", "duration": 10, "dropreel": {"labels": {"season": "spring"}}}"#,
    );
    write(&whole.join("day/defaults.json"), r#"{"duration": 5, "dropreel": {"priority": 7}}"#);
    write(&whole.join("day/a.json"), json!({"prompt": format!("{SAKURA} {QUICK}")}).to_string());
    write(&whole.join("b.prompts.txt"), format!("# two prompts\n\n{SAKURA} {QUICK}\nrain {QUICK}\n"));
    // One by one, defaults last, as a program may copy them.
    for file in ["day/a.json", "b.prompts.txt", "day/defaults.json", "defaults.json"] {
        let to = rig.path("inbox/spring").join(file);
        write(&to, std::fs::read(whole.join(file)).unwrap());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let jobs = rig.until_settled(3).await;
    assert!(jobs.values().all(|state| state == "succeeded"), "{jobs:?}\n{}", rig.output());
    let a = rig.job("a").await;
    assert_eq!(
        (&a["request"]["duration"], &a["priority"], &a["labels"]["season"]),
        (&json!(5), &json!(7), &json!("spring"))
    );
    let shown = stdout(&rig.run(&["show", "a"]).await);
    assert!(shown.contains("duration 5 from spring/day/defaults.json"), "{shown}");
    assert!(shown.contains("model \"wan2.5-t2v\" from spring/defaults.json"), "{shown}");
    assert_eq!(rig.job("b-2").await["request"]["duration"], 10);

    // `check` does as the inbox, and the same file with other defaults is no repeated copy.
    let again = rig.path("inbox/spring/day/.a.json");
    write(&again, json!({"prompt": format!("{SAKURA} {QUICK}")}).to_string());
    let hidden = rig.path("inbox/spring/day/c.prompts.txt.tmp");
    write(&hidden, "x");
    write(&rig.path("inbox/spring/day/defaults.json"), r#"{"duration": 6, "dropreel": {"key": "k"}}"#);
    std::fs::rename(&again, rig.path("inbox/spring/day/a.json")).unwrap();
    rig.until_output("rejected spring/day/a.json").await;
    let reason = std::fs::read_to_string(rig.path("rejected/spring/day/a.json.reason.json")).unwrap();
    assert!(
        reason.contains("spring/day/defaults.json cannot be used") && reason.contains("`key` is for one job"),
        "{reason}"
    );
    write(&rig.path("inbox/spring/day/defaults.json"), r#"{"duration": 6}"#);
    write(&rig.path("inbox/spring/day/a.json"), json!({"prompt": format!("{SAKURA} {QUICK}")}).to_string());
    rig.until_settled(4).await;
    rig.finish().await;
}

#[tokio::test]
async fn defaults_of_the_command_line_apply_to_what_is_submitted() {
    let rig = Rig::start("").await;
    let (list, defaults) = (rig.beside("ideas.prompts.txt"), rig.beside("defaults.json"));
    write(&list, format!("{SAKURA} {QUICK}\nrain {QUICK}\n"));
    write(&defaults, r#"{"model": "wan2.5-t2v", "duration": 5}"#);
    let (list, defaults) = (list.to_str().unwrap(), defaults.to_str().unwrap());
    let missing = rig.run(&["submit", list]).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains(":1:1: /model: `model` is missing"), "{}", stderr(&missing));
    assert!(stderr(&missing).contains("add --defaults"), "{}", stderr(&missing));
    let checked = rig.run(&["check", "--defaults", defaults, list]).await;
    assert_eq!(checked.status.code(), Some(0), "{}", stdout(&checked));
    assert!(stdout(&checked).contains("duration 5 from"), "{}", stdout(&checked));
    assert!(stdout(&checked).contains("2 jobs, about $"), "{}", stdout(&checked));
    let cheap = rig.run(&["submit", "--max-cost", "0.01", "--defaults", defaults, list]).await;
    assert_eq!(cheap.status.code(), Some(1), "the estimate has the defaults");
    let submitted = rig.run(&["submit", "--wait", "--defaults", defaults, list]).await;
    assert_eq!(submitted.status.code(), Some(0), "{}", stderr(&submitted));
    let job = rig.job("ideas-2").await;
    assert_eq!(job["request"]["duration"], 5);
    assert!(job["defaults"].as_array().unwrap().iter().any(|default| default["key"] == "duration"), "{job}");
    let refused = rig.run(&["submit", defaults]).await;
    assert!(stderr(&refused).contains("no job"), "{}", stderr(&refused));
    rig.finish().await;
}

#[tokio::test]
async fn table_becomes_jobs_and_its_outcome_a_table_again() {
    let rig = Rig::start("").await;
    let row = |name: &str| format!("wan2.5-t2v;\"{SAKURA}\n{QUICK}\";5;{name};春\r\n");
    let header = "model;prompt;duration;dropreel.name;dropreel.labels.project\r\n";
    rig.drop("shots.csv", format!("\u{feff}{header}{}{};;;;\r\n", row("one"), row("two")));
    let jobs = rig.until_settled(2).await;
    assert!(jobs.values().all(|state| state == "succeeded"), "{jobs:?}\n{}", rig.output());
    let one = rig.job("one").await;
    assert_eq!((&one["request"]["duration"], &one["labels"]["project"]), (&json!(5), &json!("春")));
    let listed = rig.run(&["list", "--csv", "--label", "project=春"]).await;
    let text = stdout(&listed);
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(
        (rows.len(), rows[0]),
        (3, "name,state,cost_usd,path,reason,model,labels,id,created_at"),
        "{text}"
    );
    assert!(rows[1].starts_with("one,succeeded,0.") && rows[2].contains("two.mp4"), "{text}");

    rig.drop("bad.csv", format!("{header}{}wan2.5-t2v;\"x\n\";five;;\r\n", row("three")));
    rig.until_output("rejected bad.csv").await;
    let reason: Value =
        serde_json::from_slice(&std::fs::read(rig.path("rejected/bad.csv.reason.json")).unwrap()).unwrap();
    assert_eq!(
        (&reason["errors"][0]["pointer"], &reason["errors"][0]["line"]),
        (&json!("/duration"), &json!(4))
    );

    let posted = rig.beside("posted.csv");
    write(&posted, format!("{header}{}", row("four")));
    let submitted = rig.run(&["submit", "--wait", posted.to_str().unwrap()]).await;
    assert_eq!(submitted.status.code(), Some(0), "{}", stderr(&submitted));
    assert_eq!(rig.job("four").await["state"], "succeeded");
    rig.finish().await;
}

#[tokio::test]
async fn check_applies_the_defaults_of_the_inbox() {
    let mut rig = Rig::set_up("").await;
    write(&rig.path("inbox/defaults.json"), r#"{"model": "wan2.5-t2v"}"#);
    write(&rig.path("inbox/spring/defaults.json"), r#"{"duration": 5}"#);
    write(&rig.path("inbox/spring/ideas.prompts.txt"), format!("{SAKURA} {QUICK}\n"));
    let file = rig.path("inbox/spring/ideas.prompts.txt");
    let checked = stdout_json(&rig.run(&["check", "--offline", "--json", file.to_str().unwrap()]).await);
    let used = &checked["files"][0]["defaults"];
    assert_eq!(
        used[0],
        json!({"key": "duration", "value": "5", "file": "spring/defaults.json"}),
        "{checked}"
    );
    assert_eq!(used[1]["file"], "defaults.json");
    rig.start_daemon().await;
    rig.until_settled(1).await;
    assert_eq!(rig.job("ideas").await["request"]["duration"], 5);
    rig.finish().await;
}

#[tokio::test]
async fn folder_named_like_an_archived_file_gets_the_next_free_name() {
    let rig = Rig::start("").await;
    let job = |seed: u32| {
        json!({"model": "wan2.5-t2v", "prompt": format!("{SAKURA} {QUICK}"), "seed": seed}).to_string()
    };
    rig.drop("a.json", job(1));
    rig.drop("bad.json", "{}");
    rig.until_settled(1).await;
    rig.until_output("rejected bad.json").await;
    write(&rig.path("inbox/a.json/deep/b.json"), job(2));
    write(&rig.path("inbox/bad.json/c.json"), "{}");
    rig.until_settled(2).await;
    rig.until_output("rejected bad.json/c.json").await;
    for _ in 0..600 {
        if !rig.path("inbox/a.json/deep/b.json").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(rig.path("rejected/bad-1.json/c.json.reason.json").exists());
    let day = std::fs::read_dir(rig.path("accepted")).unwrap().next().unwrap().unwrap().path();
    assert!(day.join("a.json").is_file() && day.join("a-1.json/deep/b.json").is_file());
    rig.finish().await;
}
