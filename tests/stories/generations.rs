//! Jobs at the newest generation of the service: what it refuses costs nothing, and the costs agree with its ledger.

use serde_json::{Value, json};

use crate::support::{Rig, SAKURA};

/// Name, what is added to the request, expected state, final cost in quota.
fn jobs() -> Vec<(&'static str, Value, &'static str, i64)> {
    let image = "https://example.com/reference.png";
    vec![
        ("text", json!({}), "succeeded", 140_625),
        (
            "large",
            json!({"duration": 10, "resolution": "1080p", "prompt_extend": false}),
            "succeeded",
            472_500,
        ),
        (
            "sound",
            json!({"model": "wan2.6-i2v-flash", "generate_audio": true, "image_urls": [image]}),
            "succeeded",
            112_500,
        ),
        ("extra", json!({"extra": {"audio": true}}), "failed", 0),
        ("undeclared", json!({"strength": 1}), "failed", 0),
        // Never sent: the list lacks it.
        ("switched-off", json!({"model": "wan2.5-t2v"}), "held", 0),
    ]
}

#[tokio::test]
async fn newest_generation_refuses_unbilled_and_charges_listed_prices() {
    let rig = Rig::start("generation=new").await;
    for (name, more, ..) in jobs() {
        let prompt = format!("{SAKURA} [sandbox: queue=50ms run=300ms]");
        let mut request = json!({"model": "wan2.6", "prompt": prompt, "duration": 5});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rig.drop(&format!("{name}.json"), request.to_string());
    }
    let states = rig.until_settled(jobs().len()).await;
    for (name, _, expected, _) in jobs() {
        assert_eq!(states[name], expected, "{name}: {:#}", rig.job(name).await);
    }
    rig.sandbox.wait_until(|ledger| ledger.totals().all.pending.get() == 0).await;
    let ledger = rig.sandbox.ledger();
    for (name, _, _, quota) in jobs() {
        // The daemon learns of it at its next poll.
        let is_settled = |job: &Value| job["cost_quota"].as_i64().unwrap_or_default() == quota;
        let job = rig.until_job(name, is_settled).await;
        let charged = ledger.tasks.iter().filter(|task| task.key.as_deref() == job["id"].as_str());
        assert_eq!(
            charged.filter_map(|task| task.charged).map(|cost| cost.get()).sum::<i64>(),
            quota,
            "{name}"
        );
    }
    let expected: i64 = jobs().iter().map(|job| job.3).sum();
    assert_eq!(ledger.totals().all.charged.get(), expected);
    rig.finish().await;
}
