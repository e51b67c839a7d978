//! Quotes: the provider's own prices before a job is bought. They delay nothing.

use serde_json::json;

use crate::support::output::stdout_json;
use crate::support::{Rig, SAKURA};

fn job(name: &str) -> String {
    let prompt = format!("{SAKURA} {name}");
    json!({"model": "wan2.6", "prompt": prompt, "resolution": "720p", "duration": 5, "dropreel": {"name": name}})
        .to_string()
}

#[tokio::test]
async fn estimate_has_the_quotes_of_a_provider_that_quotes() {
    let mut rig = Rig::set_up("generation=new").await;
    rig.set("PROVIDER__QUOTES", "auto");
    rig.start_daemon().await;
    let file = rig.beside("pair.json");
    std::fs::write(&file, format!("[{},{}]", job("one"), job("two"))).unwrap();
    let report = stdout_json(&rig.run(&["check", "--json", file.to_str().unwrap()]).await);
    assert_eq!(report["files"][0]["sources"], json!({"quote": 2}), "{report}");
    assert_eq!(report["estimate_usd"], json!(0.5625), "{report}");
    let repeated = job("many").replace(r#""name""#, r#""repeat":3,"name""#);
    std::fs::write(&file, repeated).unwrap();
    let report = stdout_json(&rig.run(&["check", "--json", file.to_str().unwrap()]).await);
    assert_eq!(report["files"][0]["sources"], json!({"quote": 3}), "{report}");
    rig.finish().await;
}

#[tokio::test]
async fn provider_without_quotes_leaves_the_list_price() {
    let mut rig = Rig::set_up("generation=old").await;
    rig.set("PROVIDER__QUOTES", "auto");
    rig.start_daemon().await;
    let file = rig.beside("one.json");
    std::fs::write(&file, job("one")).unwrap();
    for _ in 0..2 {
        let report = stdout_json(&rig.run(&["check", "--json", file.to_str().unwrap()]).await);
        assert_eq!(report["files"][0]["sources"], json!({"list": 1}), "{report}");
    }
    rig.finish().await;
}
