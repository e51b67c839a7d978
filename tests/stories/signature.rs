//! Signed callbacks, and a new callback secret while the daemon runs.

use dropreel::sandbox::signing::{Scheme, Signing};
use dropreel::secret::Secret;

use crate::support::{Rig, quick};

const SECRET: &str = "whsec_Y2FuYXJ5LW9mLXRoZS1zaWduYXR1cmU=";
const OTHER: &str = "whsec_YW5vdGhlcidzLXNlY3JldA==";
/// A secret that the daemon does not know.
const UNKNOWN: &str = "whsec_bm9ib2R5J3Mtc2VjcmV0";

/// A rig whose daemon requires signatures and first polls after `grace`, and whose sandbox signs with `secret`.
async fn signing(scheme: Scheme, trust: &str, secret: &str, seconds_ahead: i64, grace: &str) -> Rig {
    let mut rig = Rig::set_up("").await;
    let file = rig.write_private("signature.secret", &format!("{OTHER}\n{SECRET}\n"));
    rig.set("CALLBACKS__SIGNATURE__SCHEME", &scheme.to_string());
    if scheme == Scheme::HmacSha256Hex {
        rig.set("CALLBACKS__SIGNATURE__HEADER", "X-Hub-Signature-256");
    }
    rig.set("CALLBACKS__SIGNATURE__SECRET_FILE", &file.display().to_string());
    rig.set("CALLBACKS__TRUST", trust);
    rig.set("POLLING__CALLBACK_GRACE", grace);
    rig.set("POLLING__INTERVAL", "10m");
    rig.set("POLLING__MAX_INTERVAL", "20m");
    rig.sandbox.set_signing(Some(Signing { scheme, secret: Secret::new(secret), seconds_ahead }));
    rig.start_daemon().await;
    rig
}

fn status_queries(rig: &Rig) -> usize {
    rig.sandbox.ledger().requests.iter().filter(|arrival| arrival.call == "status").count()
}

#[tokio::test]
async fn signed_callbacks_are_accepted_in_both_schemes() {
    for scheme in [Scheme::StandardWebhooks, Scheme::HmacSha256Hex] {
        let rig = signing(scheme, "verify", SECRET, 0, "10m").await;
        rig.drop("a.json", quick("a", "callback=copies:3"));
        rig.until("a", &["succeeded"]).await;
        assert!(status_queries(&rig) >= 1, "a callback leads to a poll, signed or not");
        assert!(!rig.output().contains("canary"), "{}", rig.output());
        rig.finish().await;
    }
}

#[tokio::test]
async fn signed_body_replaces_the_poll_with_trust_payload() {
    for scheme in [Scheme::StandardWebhooks, Scheme::HmacSha256Hex] {
        let rig = signing(scheme, "payload", SECRET, 0, "10m").await;
        rig.drop("good.json", quick("good", "callback=progress"));
        rig.drop("bad.json", quick("bad", "end=task_failed"));
        rig.drop("wrapped.json", quick("wrapped", "callback-shape=event"));
        let states = rig.until_settled(3).await;
        assert_eq!(
            (states["good"].as_str(), states["bad"].as_str(), states["wrapped"].as_str()),
            ("succeeded", "failed", "succeeded")
        );
        assert_eq!(status_queries(&rig), 0, "{}", rig.output());
        rig.finish().await;
    }
}

#[tokio::test]
async fn signed_body_that_is_unclear_leads_to_a_poll() {
    let rig = signing(Scheme::HmacSha256Hex, "payload", SECRET, 0, "10m").await;
    rig.drop("a.json", quick("a", "callback=garbage"));
    rig.drop("b.json", quick("b", "callback=empty"));
    let states = rig.until_settled(2).await;
    assert!(states.values().all(|state| state == "succeeded"), "{states:?}");
    assert!(status_queries(&rig) >= 2);
    rig.finish().await;
}

#[tokio::test]
async fn wrongly_signed_and_old_callbacks_get_401_and_the_job_is_polled() {
    for (what, secret, seconds_ahead) in
        [("an unknown secret", UNKNOWN, 0), ("a clock ahead", SECRET, 400), ("a clock behind", SECRET, -400)]
    {
        let rig = signing(Scheme::StandardWebhooks, "verify", secret, seconds_ahead, "8s").await;
        rig.drop("a.json", quick("a", ""));
        rig.until("a", &["queued", "processing"]).await;
        rig.sandbox
            .wait_until(|ledger| ledger.callbacks.iter().any(|callback| callback.status.is_some()))
            .await;
        let callbacks = rig.sandbox.ledger().callbacks;
        assert!(
            callbacks.iter().all(|callback| callback.status.is_none_or(|status| status == 401)),
            "{what}"
        );
        rig.until_output("callback of job").await;
        assert_eq!(status_queries(&rig), 0, "{what}: polled before the grace was over");
        rig.until("a", &["succeeded"]).await;
        rig.finish().await;
    }
}

#[tokio::test]
async fn rotated_callback_secret_loses_no_callback() {
    let mut rig = Rig::set_up("").await;
    rig.set("POLLING__CALLBACK_GRACE", "10m");
    rig.set("POLLING__MAX_INTERVAL", "20m");
    rig.start_daemon().await;
    let file = rig.path("callback.secret");
    let before = std::fs::read_to_string(&file).unwrap();
    rig.drop("old.json", quick("old", "run=1500ms"));
    rig.until("old", &["queued", "processing"]).await;
    let rotated = rig.run(&["rotate", "callback-secret"]).await;
    assert!(rotated.status.success(), "{rotated:?}");
    let after = std::fs::read_to_string(&file).unwrap();
    assert!(after.ends_with(&before) && after.lines().count() == 2, "the old secret stays below the new one");
    rig.drop("new.json", quick("new", ""));
    let states = rig.until_settled(2).await;
    assert!(states.values().all(|state| state == "succeeded"), "{states:?}");
    let callbacks = rig.sandbox.ledger().callbacks;
    assert!(
        callbacks.iter().all(|callback| callback.status.is_none_or(|status| status == 204)),
        "{callbacks:?}"
    );
    for secret in after.lines() {
        assert!(!rig.output().contains(secret), "a secret is in the log");
    }
    rig.finish().await;
}
