//! A person judges what came: rates outputs, finds them, and clears the list of what needs attention.

use serde_json::{Value, json};

use crate::support::output::{stderr, stdout, stdout_json};
use crate::support::{Rig, quick};

fn sidecar(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(format!("{path}.json")).unwrap()).unwrap()
}

/// Waits until the sidecar has this rating, which is written after the answer.
async fn until_rated(path: &str, rating: Value) -> Value {
    let start = std::time::Instant::now();
    loop {
        let sidecar = sidecar(path);
        if sidecar["rating"] == rating {
            return sidecar;
        }
        assert!(start.elapsed().as_secs() < 30, "{rating} never came: {sidecar}");
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
}

#[tokio::test]
async fn rating_is_kept_in_the_database_and_the_sidecar() {
    let mut rig = Rig::set_up("").await;
    let heard = rig.beside("heard");
    let hook =
        format!("[[hooks]]\non = [\"rated\"]\nrun = [\"/bin/sh\", \"-c\", \"cat >> {}\"]\n", heard.display());
    std::fs::write(rig.beside("config.toml"), hook).unwrap();
    rig.start_daemon().await;
    rig.drop("a.json", quick("a", "outputs=2"));
    rig.drop("b.json", quick("b", ""));
    let job = rig.until("a", &["succeeded"]).await;
    rig.until("b", &["succeeded"]).await;
    let paths: Vec<String> = job["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(stdout(&rig.run(&["path", "a"]).await).lines().collect::<Vec<_>>(), paths);
    assert_eq!((paths.len(), &job["files"][1]["output"]), (2, &json!("video-1")));
    let before = sidecar(&paths[1]);

    let rated = rig.run(&["rate", "a:video-1", "4"]).await;
    assert_eq!(stdout(&rated), "a: rated 4: 1 file\n", "{}", stderr(&rated));
    let job = rig.job("a").await;
    assert_eq!(
        (&job["rating"], &job["files"][0]["rating"], &job["files"][1]["rating"]),
        (&json!(4), &Value::Null, &json!(4))
    );
    let mut after = until_rated(&paths[1], json!(4)).await;
    assert_eq!(after.as_object_mut().unwrap().remove("rating"), Some(json!(4)));
    assert_eq!(after, before, "nothing else is changed");
    assert!(sidecar(&paths[0]).get("rating").is_none());
    rig.run(&["rate", "a:video-0", "0"]).await;
    assert_eq!(rig.job("a").await["rating"], 4, "that of the best output");

    let found = |list: Value| {
        list["jobs"].as_array().unwrap().iter().map(|job| job["name"].clone()).collect::<Vec<_>>()
    };
    for (rating, names) in
        [("4", vec![json!("a")]), ("4+", vec![json!("a")]), ("5", vec![]), ("none", vec![json!("b")])]
    {
        let listed = stdout_json(&rig.run(&["list", "--json", "--rating", rating]).await);
        assert_eq!(found(listed), names, "{rating}");
    }
    assert_eq!(found(rig.get("/api/v1/jobs?rating=3%2B").await.1), [json!("a")]);
    assert_eq!(rig.get("/api/v1/jobs?rating=6").await.0, 400);

    rig.run(&["rate", "a", "2"]).await;
    let job = rig.job("a").await;
    assert_eq!(
        (&job["rating"], &job["history"].as_array().unwrap().last().unwrap()["detail"]),
        (&json!(2), &json!("2"))
    );
    rig.run(&["rate", "a", "clear"]).await;
    assert_eq!(rig.job("a").await["rating"], Value::Null);
    until_rated(&paths[0], Value::Null).await;
    until_rated(&paths[1], Value::Null).await;
    for (job, rating, code) in [("a:video-7", "3", 1), ("a", "6", 2), ("a", "good", 2), ("nobody", "3", 1)] {
        assert_eq!(rig.run(&["rate", job, rating]).await.status.code(), Some(code), "{job} {rating}");
    }
    let id = job["id"].as_str().unwrap();
    assert_eq!(rig.post(&format!("/api/v1/jobs/{id}/rate"), json!({"output": "video-0"})).await.0, 400);
    // A sidecar that is gone is not written again.
    let (its, aside) = (format!("{}.json", paths[0]), rig.beside("aside"));
    std::fs::copy(&its, &aside).unwrap();
    std::fs::remove_file(&its).unwrap();
    assert_eq!(rig.run(&["rate", "a", "5"]).await.status.code(), Some(0));
    assert!(!std::path::Path::new(&its).exists());
    std::fs::copy(&aside, &its).unwrap();
    // A repetition writes what a crash may have left out.
    rig.run(&["rate", "a", "5"]).await;
    until_rated(&paths[0], json!(5)).await;
    until_rated(&paths[1], json!(5)).await;
    let start = std::time::Instant::now();
    while std::fs::read_to_string(&heard).unwrap_or_default().matches("\"rating\":").count() < 5 * 3 {
        assert!(start.elapsed().as_secs() < 30, "{:?}", std::fs::read_to_string(&heard));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    rig.finish().await;
}

#[tokio::test]
async fn dismissed_job_leaves_the_list_until_undone_or_changed() {
    let rig = Rig::start("").await;
    // Those with one cause are one card.
    for (name, end) in [("a", "end=failed:own"), ("b", "end=task_failed"), ("c", "end=task_failed")] {
        rig.drop(&format!("{name}.json"), quick(name, end));
    }
    rig.until_settled(3).await;
    let page = || async { reqwest::get(rig.admin()).await.unwrap().text().await.unwrap() };
    let id = rig.job("a").await["id"].as_str().unwrap().to_owned();
    assert!(page().await.contains(&format!("id=\"job-{id}\"")), "{}", page().await);
    assert_eq!(rig.run(&["path", "a"]).await.status.code(), Some(1), "no file");
    let dismissed = rig.run(&["dismiss", "a"]).await;
    assert_eq!(
        stdout(&dismissed),
        "a: taken off the list of what needs a person\n",
        "{}",
        stderr(&dismissed)
    );
    assert!(rig.job("a").await["dismissed_at"].is_string());
    assert!(!page().await.contains(&format!("id=\"job-{id}\"")));
    let history = rig.job("a").await["history"].clone();
    assert_eq!(rig.run(&["dismiss", "a"]).await.status.code(), Some(0), "a repetition is no error");
    assert_eq!(rig.job("a").await["history"], history);
    let undone = rig.run(&["undismiss", "--state", "failed", "--yes"]).await;
    assert_eq!(stdout(&undone), "1 job back on the list of what needs a person\n", "{}", stderr(&undone));
    assert_eq!(rig.job("a").await["dismissed_at"], Value::Null);
    assert!(page().await.contains(&format!("id=\"job-{id}\"")));
    let history = rig.job("a").await["history"].clone();
    assert_eq!(rig.run(&["undismiss", "a"]).await.status.code(), Some(0), "a repetition is no error");
    assert_eq!(rig.job("a").await["history"], history);
    let all = rig.run(&["dismiss", "--state", "failed", "--yes"]).await;
    assert_eq!(stdout(&all), "3 jobs dismissed\n", "{}", stderr(&all));
    rig.run(&["retry", "a"]).await;
    let retried = rig.until("a", &["failed"]).await;
    assert_eq!(retried["dismissed_at"], Value::Null, "the second failure is on the list");
    rig.finish().await;
}

#[tokio::test]
async fn labels_are_set_and_removed_by_name_and_by_filter() {
    let rig = Rig::start("").await;
    for name in ["a", "b", "c"] {
        rig.drop(&format!("{name}.json"), quick(name, "end=task_failed"));
    }
    rig.until_settled(3).await;
    let labels = async |name: &str| rig.job(name).await["labels"].clone();
    let cases: &[(&[&str], i32, &str, &str)] = &[
        (&["a", "b", "--set", "client=x", "--set", "take=1"], 0, "labels of 2 jobs changed\n", ""),
        (&["a", "--set", "client=x"], 0, "labels of 0 jobs changed\n", ""),
        (
            &["--label", "client=x", "--remove", "client", "--set", "take=2"],
            2,
            "",
            "Change the labels of 2 jobs?",
        ),
        (&["--label", "client=x", "--remove", "take", "--dry-run"], 0, "", "2 jobs to label\n"),
        (&["b", "--remove", "client", "--set", "take=2"], 0, "labels of 1 job changed\n", ""),
        (
            &["--state", "failed", "--label", "take=2", "--set", "take=3", "--yes"],
            0,
            "labels of 1 job changed\n",
            "",
        ),
        (&["a", "--set", "client=y", "--remove", "client"], 2, "", "the label `client` is given twice"),
        (&["a", "--set", "=y"], 1, "", "label keys have 1 to 64 characters"),
        (&["a", "--set", "client"], 2, "", "a label is KEY=VALUE"),
        (&["a"], 2, "", "--set <KEY=VALUE>"),
        (&["--set", "a=b"], 2, "", "<JOB>"),
        (&["a", "--state", "failed", "--set", "a=b"], 2, "", "cannot be used with"),
    ];
    for (arguments, code, printed, said) in cases {
        let ran = rig.run(&[&["label"], *arguments].concat()).await;
        assert_eq!(ran.status.code(), Some(*code), "{arguments:?}: {ran:?}");
        let is_dry = arguments.contains(&"--dry-run");
        assert!(is_dry || stdout(&ran) == *printed, "{arguments:?}: {ran:?}");
        assert!(stderr(&ran).contains(said), "{arguments:?}: {ran:?}");
    }
    assert_eq!(labels("a").await, serde_json::json!({"client": "x", "take": "1"}));
    assert_eq!(labels("b").await, serde_json::json!({"take": "3"}));
    assert_eq!(labels("c").await, serde_json::json!({}));
    // One more than a job may have.
    let many: Vec<String> = (0..49).map(|n| format!("--set=k{n}=v")).collect();
    let many: Vec<&str> = ["label", "a", "c"].into_iter().chain(many.iter().map(String::as_str)).collect();
    let refused = rig.run(&many).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(stderr(&refused).contains("a: it would have more than"), "{refused:?}");
    rig.finish().await;
}
