//! The models as the API shows them.

use serde_json::{Value, json};

use super::*;
use crate::provider::wire::catalogue::read_catalogue;

#[actix_web::test]
async fn every_job_of_a_missing_model_says_that_another_list_is_awaited() {
    let admin = TestAdmin::start_with(|admin| {
        admin.catalogue.record(read_catalogue(&json!(["other-model"])).unwrap());
        // As the submit stage asks.
        admin.catalogue.listing("wan2.5-t2v");
    });
    admin.add_jobs(&["a", "b"]).await;
    let jobs = admin.get("/api/v1/jobs").await.json();
    let reason = "the provider's list of models lacks wan2.5-t2v; waits for the next list to say the same";
    for job in jobs["jobs"].as_array().unwrap() {
        assert_eq!(job["reason"], reason, "{job}");
    }
}

#[actix_web::test]
async fn models_are_joined_with_the_list_the_table_and_own_jobs() {
    let admin = TestAdmin::start_with(|admin| {
        let tier = json!({"resolution": "720p", "price": 0.1});
        let list = json!([{"id": "wan2.7", "price_config": {"tiers": [tier]}}, {"id": "new-model"}]);
        admin.catalogue.record(read_catalogue(&list).unwrap());
    });
    admin.add_jobs(&["a", "b"]).await;
    let answer = admin.get("/api/v1/models").await.json();
    assert!(answer["listed_at"].is_string(), "{answer}");
    let models = answer["models"].as_array().unwrap();
    let model =
        |name: &str| models.iter().find(|model| model["name"] == name).cloned().unwrap_or(Value::Null);
    let wan = model("wan2.7");
    assert_eq!((&wan["listed"], &wan["known"]), (&json!(true), &json!(true)));
    assert_eq!(wan["list_prices"][0], json!({"resolution": "720p", "sound": null, "usd_per_second": 0.09}));
    assert_eq!(wan["provider_prices"][0]["usd_per_second"], 0.1);
    assert_eq!(wan["price_config"]["tiers"][0]["price"], 0.1);
    let older = model("wan2.5-t2v");
    assert_eq!((&older["listed"], &older["open_jobs"]), (&json!(false), &json!(2)), "{older}");
    let new = model("new-model");
    assert_eq!((&new["listed"], &new["known"]), (&json!(true), &json!(false)));
}
