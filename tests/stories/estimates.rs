//! Estimates, as the commands show and limit them.

use serde_json::{Value, json};

use crate::support::output::{stderr, stdout, stdout_json};
use crate::support::{Rig, quick};

#[tokio::test]
async fn estimate_follows_own_jobs_and_limits_a_submit() {
    let rig = Rig::start("").await;
    let pair = rig.beside("pair.json");
    std::fs::write(&pair, format!("[{},{}]", quick("one", ""), quick("two", ""))).unwrap();
    let pair = pair.to_str().unwrap();

    let guessed = stdout(&rig.run(&["check", pair]).await);
    assert!(guessed.contains("2 jobs, about $1.80 (") && guessed.contains("2 guessed"), "{guessed}");
    let refused = rig.run(&["submit", "--max-cost", "1.79", pair]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("more than the limit of $1.79"), "{}", stderr(&refused));
    let both = rig.run(&["submit", "--max-cost", "1.80", pair, pair]).await;
    assert_eq!(both.status.code(), Some(1), "{}", stderr(&both));
    assert!(stderr(&both).contains("about $3.60"), "{}", stderr(&both));
    assert!(rig.all_jobs().await.is_empty());

    rig.drop("first.json", quick("first", ""));
    rig.until("first", &["succeeded"]).await;
    let own = stdout(&rig.run(&["check", pair]).await);
    assert!(own.ends_with("pair.json: 2 jobs, about $0.30 (2 from 1 of your jobs)\n"), "{own}");
    let offline = stdout(&rig.run(&["check", "--offline", pair]).await);
    assert!(offline.contains("2 guessed"), "{offline}");
    let report = stdout_json(&rig.run(&["check", "--json", pair, pair]).await);
    assert_eq!((&report["jobs"], &report["estimate_usd"]), (&json!(4), &json!(0.6)), "{report}");
    assert_eq!(report["files"][0]["sources"], json!({"own": 2}), "{report}");

    let submitted = rig.run(&["submit", "--wait", "--max-cost", "0.3", pair]).await;
    assert_eq!(submitted.status.code(), Some(0), "{}", stderr(&submitted));
    let job = rig.job("one").await;
    assert_eq!(job["estimate_usd"], json!(0.15), "{job}");
    let attempt = &job["attempts"][0];
    assert_eq!(
        (&attempt["estimate_usd"], &attempt["estimate_source"]),
        (&json!(0.15), &json!("own")),
        "{job}"
    );
    assert_eq!((&attempt["key"], &attempt["charged_quota"]), (&job["id"], &json!(75_000)), "{job}");
    assert!(attempt["base_url"].as_str().is_some_and(|url| url.starts_with("http://127.0.0.1")), "{job}");
    let shown = stdout(&rig.run(&["show", "one"]).await);
    assert!(shown.contains("estimated $0.15 (own)") && shown.contains("charged $0.15"), "{shown}");
    rig.finish().await;
}

#[tokio::test]
async fn price_file_wins_and_is_read_again_on_reload() {
    let mut rig = Rig::set_up("").await;
    let prices = rig.beside("prices.toml");
    std::fs::write(&prices, "[[price]]\nmodel = \"wan2.5-t2v\"\nusd_per_second = 0.02\n").unwrap();
    rig.set("BUDGET__PRICES", prices.to_str().unwrap());
    rig.start_daemon().await;
    let file = rig.beside("scene.json");
    std::fs::write(&file, quick("scene", "")).unwrap();
    let file = file.to_str().unwrap();
    let checked = async || stdout_json(&rig.run(&["check", "--json", file]).await)["files"][0].clone();
    let first: Value = checked().await;
    assert_eq!((&first["estimate_usd"], &first["sources"]), (&json!(0.1), &json!({"prices": 1})), "{first}");

    std::fs::write(&prices, "[[price]]\nmodel = \"wan2.5-t2v\"\nusd = 0.5\n").unwrap();
    rig.signal(rustix::process::Signal::HUP);
    rig.until_output("budgets and prices reloaded").await;
    assert_eq!(checked().await["estimate_usd"], json!(0.5));

    std::fs::write(&prices, "[[price]]\nmodle = \"wan2.5-t2v\"\nusd = 0.5\n").unwrap();
    rig.signal(rustix::process::Signal::HUP);
    rig.until_output("price 1: unknown key `modle`; the nearest valid key is `model`").await;
    rig.finish().await;
}
