//! Injections in every text that a user can set: terminals, pages and logs show them as plain text.

use crate::evidence::conclude;
use crate::support::checker::{HarnessLog, When};
use crate::support::{Rig, SAKURA, files_below};

/// The texts, unescaped.
fn texts() -> Vec<String> {
    let lines = include_str!("injections.txt").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(unescape).collect()
}

fn unescape(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let mut letters = after.chars();
        let one = match letters.next() {
            Some('e') => '\u{1b}',
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('r') => '\r',
            Some('n') => '\n',
            Some('\\') => '\\',
            Some('u') => {
                let (digits, behind) = after[2..].split_once('}').expect(line);
                letters = behind.chars();
                char::from_u32(u32::from_str_radix(digits, 16).expect(line)).expect(line)
            }
            other => panic!("{other:?} in {line}"),
        };
        text.push(one);
        rest = letters.as_str();
    }
    text + rest
}

/// Control characters, and those that change the direction of text.
fn is_dangerous(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}')
}

fn all_finished(jobs: &[serde_json::Value], count: usize) -> bool {
    jobs.len() == count && jobs.iter().all(|job| job["state"] == "succeeded" || job["state"] == "failed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn injected_texts_are_printed_without_effect() {
    let texts = texts();
    assert!(texts.len() >= 25, "{}", texts.len());
    let mut rig = Rig::set_up("run=20ms queue=10ms").await;
    rig.set("INBOX__SETTLE", "50ms");
    rig.start_daemon().await;
    let mut log = HarnessLog::default();
    let mut jobs = 0;
    for (number, text) in texts.iter().enumerate() {
        let prompt = format!("{SAKURA} {text}");
        let label = serde_json::json!({"project": text});
        let named = serde_json::json!({"model": "wan2.5-t2v", "prompt": prompt, "duration": 5,
            "dropreel": {"name": text, "labels": label}});
        let plain = serde_json::json!({"model": "wan2.5-t2v", "prompt": prompt, "duration": 5,
            "dropreel": {"labels": label}});
        // The reason quotes a rejected value.
        let bad = serde_json::json!({"model": "wan2.5-t2v", "prompt": prompt, "duration": text});
        for (kind, job) in [("named", named), ("plain", plain), ("bad", bad)] {
            let name = format!("{kind}-{number}.json");
            let (status, answer) = rig.post("/api/v1/jobs", job.clone()).await;
            assert!([200, 201, 202, 400, 422].contains(&status), "{status} {answer}");
            jobs += usize::from(status < 300);
            let content = job.to_string();
            if kind == "bad" {
                rig.drop(&name, &content);
                log.record_drop(&name, content.as_bytes(), None);
            }
        }
    }
    assert!(jobs >= texts.len(), "{jobs} jobs of {} texts", texts.len());
    while !all_finished(&rig.all_jobs().await, jobs) {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let rejected = || files_below(&rig.path("rejected")).len();
    while rejected() < texts.len() * 2 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

    let mut outputs = vec![rig.run(&["list", "--limit", "500"]).await];
    for job in rig.all_jobs().await {
        outputs.push(rig.run(&["show", job["id"].as_str().unwrap()]).await);
    }
    outputs.push(rig.run(&["check", &rig.path("rejected").join("bad-0.json").display().to_string()]).await);
    for output in outputs {
        for bytes in [output.stdout, output.stderr] {
            let text = String::from_utf8(bytes).unwrap();
            assert!(!text.chars().any(is_dangerous), "{text:?}");
        }
    }
    let output = rig.output();
    assert!(!output.lines().any(|line| line.chars().any(is_dangerous)), "{output:?}");
    assert!(!output.lines().any(|line| line.starts_with("2026-01-01")), "{output}");
    let library = rig.path("videos");
    for file in files_below(&library) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!name.chars().any(|c| is_dangerous(c) || c == '\n' || "<>\"/\\".contains(c)), "{name:?}");
    }
    assert!(!std::path::Path::new("/tmp/pwned").exists());
    conclude(rig, &log, When::Finally).await;
}
