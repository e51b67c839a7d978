//! What people see on a terminal of 80 columns: every table of every command, with hostile, long and wide texts.

use serde_json::json;

use crate::support::output::{stderr, stdout};
use crate::support::{Rig, quick};

/// How many columns of a terminal the text takes: a Chinese character takes two.
fn columns(line: &str) -> usize {
    line.chars().map(|c| if ('\u{2E80}'..'\u{FFE6}').contains(&c) { 2 } else { 1 }).sum()
}

/// The lines that are wider than 80 columns, or that a terminal would act on. A path or an id stays whole, so that it can be
/// copied.
fn misfits(text: &str) -> Vec<&str> {
    let is_copied = |line: &str| {
        let longest = line.split(' ').filter(|word| word.is_ascii()).map(str::len).max().unwrap_or(0);
        longest > 40 || line.contains(".mp4")
    };
    let is_misfit =
        |line: &&str| columns(line) > 80 && !is_copied(line) || line.chars().any(char::is_control);
    text.lines().filter(is_misfit).collect()
}

#[tokio::test]
async fn every_table_fits_80_columns_with_hostile_long_and_wide_texts() {
    let mut rig = Rig::start("").await;
    rig.set_variable("COLUMNS", "80");
    // Names have no control characters, prompts may.
    let hostile = format!("\u{202E}{}", "x".repeat(80));
    let names = [hostile, "樱花树下的石桥".repeat(12), "a stone bridge at dawn ".repeat(7)];
    for (number, name) in names.iter().enumerate() {
        for words in ["", "end=task_failed refund=no", "submit=no-model"] {
            let mut job: serde_json::Value = serde_json::from_str(&quick("x", words)).unwrap();
            job["dropreel"] =
                json!({"name": format!("{number}{name}"), "labels": {"project": name.as_str()}});
            job["prompt"] = format!("{} \u{1b}[2J{name}", job["prompt"].as_str().unwrap()).into();
            rig.drop(&format!("樱花{number}{words}{}.json", "樱".repeat(40)), job.to_string());
        }
    }
    rig.until_settled(9).await;
    let jobs = rig.get("/api/v1/jobs").await.1["jobs"].as_array().unwrap().clone();
    let shown = jobs.iter().map(|job| vec!["show", job["id"].as_str().unwrap()]);
    let commands = [
        vec!["list"],
        vec!["list", "--batches"],
        vec!["report"],
        vec!["report", "--disputes"],
        vec!["models"],
        vec!["doctor"],
        vec!["prune", "--dry-run"],
        vec!["pause"],
        vec!["resume"],
    ];
    for command in commands.into_iter().chain(shown) {
        let output = rig.run(&command).await;
        let text = stdout(&output) + &stderr(&output);
        assert!(!text.is_empty(), "{command:?}");
        assert_eq!(misfits(&text), [""; 0], "{command:?} prints\n{text}");
    }
    rig.finish().await;
}

#[tokio::test]
async fn short_id_of_the_list_names_its_job() {
    let mut rig = Rig::start("").await;
    rig.set_variable("COLUMNS", "80");
    rig.drop("two.json", format!("[{},{}]", quick("one", ""), quick("two", "")));
    rig.until_settled(2).await;
    let listed = stdout(&rig.run(&["list"]).await);
    let row = listed.lines().find(|line| line.contains(" one ")).unwrap();
    let id = row.split(' ').next().unwrap();
    assert_eq!(id.len(), 8, "{listed}");
    let shown = stdout(&rig.run(&["show", id]).await);
    assert!(shown.starts_with("one  succeeded\n"), "{shown}");
    rig.finish().await;
}

#[tokio::test]
async fn many_jobs_are_summed_up_for_people_and_listed_for_programs() {
    let mut rig = Rig::start("").await;
    rig.run(&["pause"]).await;
    let file = rig.beside("scenes.jsonl");
    let lines: Vec<String> = (1..=40).map(|number| quick(&format!("scene-{number}"), "")).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let submitted = rig.run(&["submit", file.to_str().unwrap()]).await;
    let sum = stderr(&submitted);
    assert!(sum.starts_with("40 jobs added, about $36.00: scene-1 … scene-40\n"), "{sum}");
    assert_eq!(stdout(&submitted).lines().count(), 40);
    rig.set_variable("COLUMNS", "80");
    let dry = rig.run(&["cancel", "--state", "pending", "--dry-run"]).await;
    assert_eq!(stderr(&dry), "40 jobs to cancel\nand 20 other jobs\n");
    assert_eq!(stdout(&dry).lines().count(), 20);
    let cancelled = stdout(&rig.run(&["cancel", "--state", "pending", "--yes"]).await);
    assert_eq!(cancelled, "cancellation requested for 40 jobs\n");
    rig.finish().await;
}
