//! docs/recipes.md as written: its files are written, its commands are run, and its jobs are made.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Rig, files_below};

const RECIPES: &str = include_str!("../../docs/recipes.md");

/// Each section with commands, and the names of the jobs that it makes.
const SECTIONS: &[(&str, &[&str])] = &[
    ("A spreadsheet", &["bridge", "market"]),
    ("A folder of prompts", &["bridge", "bridge-2", "market"]),
    (
        "A matrix",
        &["bridge-1", "bridge-2", "bridge-3", "bridge-4", "bridge-5", "bridge-6", "bridge-7", "bridge-8"],
    ),
    ("A shot list written by a language model", &["bridge", "market"]),
    ("A synced folder", &["bridge"]),
    ("n8n, and other programs", &["bridge"]),
];
/// Sections whose commands another test runs, or that need no daemon.
const ELSEWHERE: &[&str] = &["A folder of pictures"];

/// A code block.
struct Block<'a> {
    /// What follows the language: the file that it is, or the program that its commands need.
    title: &'a str,
    is_script: bool,
    text: String,
}

/// The sections by their headings, with their code blocks.
fn sections() -> Vec<(&'static str, Vec<Block<'static>>)> {
    let mut sections = vec![("", Vec::new())];
    let mut open: Option<Block<'_>> = None;
    for line in RECIPES.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                let (language, title) = info.split_once(' ').unwrap_or((info, ""));
                open = Some(Block { title, is_script: language == "sh", text: String::new() });
            }
            (Some(_), Some("")) => sections.last_mut().unwrap().1.extend(open.take()),
            (Some(block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {
                if let Some(heading) = line.strip_prefix("## ") {
                    sections.push((heading, Vec::new()));
                }
            }
        }
    }
    sections
}

#[test]
fn every_recipe_with_commands_is_run_by_a_test() {
    for (heading, blocks) in sections() {
        let has_commands = blocks.iter().any(|block| block.is_script);
        let is_run = SECTIONS.iter().any(|(known, _)| *known == heading) || ELSEWHERE.contains(&heading);
        assert!(!has_commands || is_run, "`{heading}` has commands that no test runs");
    }
}

/// Runs commands in `data_dir`, with `dropreel` in the path and a remote called `drive`.
async fn run_script(rig: &Rig, script: &str) {
    let bin = rig.beside("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let program = bin.join("dropreel");
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dropreel"), &program).unwrap();
    }
    let drive = rig.beside("drive");
    std::fs::create_dir_all(&drive).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let dropreel = rig.command(&[]);
    let mut command = std::process::Command::new("sh");
    // The checker finds everything in `data_dir` that others may read.
    let script = format!("umask 077\n{}", script.replace("http://127.0.0.1:8788", &rig.admin()));
    command.args(["-eu", "-c", &script]).current_dir(rig.path("")).env_clear();
    let variables = dropreel.get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
    command.envs(variables.collect::<Vec<_>>()).env("PATH", path).env("HOME", rig.beside("home"));
    command.env("RCLONE_CONFIG_DRIVE_TYPE", "alias").env("RCLONE_CONFIG_DRIVE_REMOTE", drive);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{out}\n{err}\n{}", rig.output());
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The jobs, once all have succeeded and no job file is left in the inbox.
async fn succeeded(rig: &Rig) -> Vec<Value> {
    let started = Instant::now();
    loop {
        let is_job_file = |path: &std::path::PathBuf| !path.ends_with("defaults.json");
        let is_ingested = !files_below(&rig.path("inbox")).iter().any(is_job_file);
        let jobs = rig.get("/api/v1/jobs?limit=500").await.1["jobs"].as_array().unwrap().clone();
        if is_ingested && jobs.iter().all(|job| job["state"] == "succeeded") {
            return jobs;
        }
        assert!(started.elapsed() < Duration::from_secs(90), "{jobs:#?}\n{}", rig.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn recipes_make_their_jobs_as_written() {
    let sections = sections();
    for (heading, names) in SECTIONS {
        let blocks = sections.iter().find(|(known, _)| known == heading).map(|(_, blocks)| blocks);
        let blocks = blocks.unwrap_or_else(|| panic!("no section `{heading}`"));
        let needed = blocks.iter().filter(|block| block.is_script && !block.title.is_empty());
        if let Some(missing) = needed.map(|block| block.title).find(|program| !is_installed(program)) {
            eprintln!("`{heading}` is not tried: {missing} is not installed");
            continue;
        }
        let rig = Rig::start("").await;
        let is_written = |block: &&Block<'_>| !block.is_script && !block.title.is_empty();
        for block in blocks.iter().filter(is_written) {
            let path = rig.path(block.title);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &block.text).unwrap();
            std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        }
        let mut jobs = Vec::new();
        for script in blocks.iter().filter(|block| block.is_script) {
            run_script(&rig, &script.text).await;
            jobs = succeeded(&rig).await;
        }
        let mut made: Vec<&str> = jobs.iter().map(|job| job["name"].as_str().unwrap()).collect();
        made.sort_unstable();
        assert_eq!(made, *names, "{heading}");
        rig.finish().await;
    }
}
