//! The list of models, quotes, what each generation accepts, and how long files live.

use super::*;

fn models(provider: &mut Provider) -> Value {
    provider.request(&Request::get("/v1/models")).value()
}

fn entry(list: &Value, id: &str) -> Value {
    let data = list["data"].as_array().expect("a list");
    data.iter().find(|model| model["id"] == id).cloned().unwrap_or_default()
}

fn quote(provider: &mut Provider, body: &Value) -> Response {
    let body = body.to_string().into_bytes();
    let request = Request { method: "POST".to_owned(), body, ..Request::get("/waveapi/quote") };
    provider.request(&Request { authorization: None, ..request })
}

#[test]
fn prices_and_tags_are_listed_by_the_new_generation() {
    let old = models(&mut Provider::with_faults(""));
    assert_eq!(
        entry(&old, "wan2.5-t2v"),
        json!({"id": "wan2.5-t2v", "object": "model", "owned_by": "sandbox"})
    );
    assert_eq!(entry(&old, "wan2.6"), Value::Null);
    let new = models(&mut Provider::with_faults("generation=new"));
    assert_eq!(entry(&new, "wan2.5-t2v"), Value::Null);
    let tiers = json!([{"resolution": "720p", "price": 0.05625}, {"resolution": "1080p", "price": 0.0945}]);
    assert_eq!(
        entry(&new, "wan2.6")["price_config"],
        json!({"currency": "USD", "unit": "second", "tiers": tiers})
    );
    let sounds = entry(&new, "wan2.6-i2v-flash")["price_config"]["tiers"].clone();
    assert_eq!(sounds[3], json!({"resolution": "1080p", "audio": true, "price": 0.0675}));
    assert!(entry(&new, "wan2.7")["tags"].as_array().is_some_and(|tags| tags.contains(&json!("video"))));
}

#[test]
fn list_and_price_config_have_every_fault() {
    for (plan, pointer, expected) in [
        ("catalogue=empty", "/data", json!([])),
        ("catalogue=lacks:wan2.5-preview", "/data/0/id", json!("wan2.6")),
        ("catalogue=also:wan2.5-t2v", "/data/11/id", json!("wan2.5-t2v")),
        ("price-config=absent", "/data/0/price_config", Value::Null),
        ("price-config=null", "/data/0/price_config", Value::Null),
        ("price-config=odd", "/data/0/price_config/mode", json!("ratio")),
        ("price-config=wrong", "/data/0/price_config/tiers/0/price", json!("on request")),
        ("price-config=zero", "/data/0/price_config/tiers/0/price", json!(0)),
        ("price-config=tiers generation=old", "/data/0/price_config/tiers/1/price", json!(0.03)),
    ] {
        let list = models(&mut Provider::with_faults(&format!("generation=new {plan}")));
        assert_eq!(list.pointer(pointer).unwrap_or(&Value::Null), &expected, "{plan}: {list}");
    }
    let list = models(&mut Provider::with_faults("generation=new price-config=string"));
    let text = list["data"][0]["price_config"].as_str().expect("a string").to_owned();
    assert!(text.contains("\"tiers\":["), "{text}");
    let page = Provider::with_faults("models=html200").request(&Request::get("/v1/models"));
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
}

#[test]
fn switched_off_model_answers_alone_but_is_not_listed_or_run() {
    let mut provider = Provider::with_faults("generation=new");
    let one = provider.request(&Request::get("/v1/models/wan2.5-t2v"));
    assert_eq!((one.status, &one.value()["id"]), (200, &json!("wan2.5-t2v")));
    assert_eq!(code(&provider.request(&Request::get("/v1/models/some-model"))), "model_not_found");
    let refused = provider.submit("a");
    assert_eq!((refused.status, code(&refused).as_str()), (404, "model_not_found"));
    assert_eq!(provider.world.ledger().tasks.len(), 0);
    for (plan, status) in [
        ("generation=new unlisted=yes", 200),
        ("generation=old", 200),
        ("generation=old unlisted=no catalogue=empty", 200),
    ] {
        assert_eq!(Provider::with_faults(plan).submit("a").status, status, "{plan}");
    }
    let unlisted = Provider::with_faults("unlisted=no").submit_with("a", json!({"model": "wan2.6"}));
    assert_eq!((unlisted.status, code(&unlisted).as_str()), (404, "model_not_found"));
}

#[test]
fn undeclared_parameter_is_refused_unbilled_by_the_new_generation_only() {
    for (plan, model, status) in [
        ("generation=old", "wan2.5-t2v", 200),
        ("generation=old", "wan2.6", 200),
        ("generation=new", "wan2.6", 400),
    ] {
        for (more, param) in
            [(json!({"extra": {"audio": true}}), "extra"), (json!({"quality": 1}), "quality")]
        {
            let mut provider = Provider::with_faults(plan);
            let mut body = more.clone();
            body["model"] = model.into();
            let answer = provider.submit_with("a", body);
            assert_eq!(answer.status, status, "{plan}: {more}");
            if status == 400 {
                let error = answer.value()["error"].clone();
                assert_eq!(
                    (&error["code"], &error["param"]),
                    (&json!("capability_violation"), &json!(param))
                );
                assert_eq!(provider.world.totals().all.tasks, 0);
            }
        }
    }
}

#[test]
fn quote_is_what_the_task_is_charged() {
    for (more, usd, unit, quantity) in [
        (json!({}), 0.28125, "second", 5),
        (json!({"duration": 15, "resolution": "1080p"}), 1.4175, "second", 15),
        (
            json!({"model": "wan2.6-i2v-flash", "generate_audio": true, "image_urls": ["https://a/1"]}),
            0.225,
            "second",
            5,
        ),
        (json!({"model": "sandbox-image"}), 0.04, "file", 1),
    ] {
        let mut provider = Provider::with_faults("generation=new");
        let mut body = json!({"model": "wan2.6", "prompt": "a cat"});
        for (key, value) in more.as_object().expect("an object") {
            body[key] = value.clone();
        }
        let answer = quote(&mut provider, &body).value();
        assert_eq!(answer["code"], "success", "{answer}");
        let data = &answer["data"];
        assert_eq!(
            (&data["total_usd"], &data["unit"], &data["billed_quantity"]),
            (&json!(usd), &json!(unit), &json!(quantity)),
            "{answer}"
        );
        provider.submit_with("a", body);
        assert!((provider.world.ledger().total.usd() - usd).abs() < f64::EPSILON, "{more}");
    }
}

#[test]
fn quote_has_every_shape_and_refusal() {
    let body = json!({"model": "wan2.6", "prompt": "a cat"});
    for (plan, status, pointer, expected) in [
        ("generation=old", 404, "/error/code", json!("not_found")),
        ("quote-shape=refused", 200, "/errorKey", json!("quote_unavailable")),
        ("quote-shape=bare", 200, "/total_usd", json!(0.28125)),
        ("quote-shape=string", 200, "/data/total_usd", json!("0.28125")),
        ("quote-shape=absent", 200, "/data/total_usd", Value::Null),
        ("quote-shape=null", 200, "/data/total_usd", Value::Null),
        ("quote-shape=negative", 200, "/data/total_usd", json!(-0.28125)),
        ("quote-shape=list", 200, "/0/total_usd", json!(0.28125)),
        ("quote-percent=10", 200, "/data/total_usd", json!(0.028124)),
        ("quote=401", 401, "/error/code", json!("invalid_api_key")),
        ("quote=404", 404, "/error/code", json!("task_not_found")),
        ("quote=html200", 200, "", Value::Null),
    ] {
        let plan =
            if plan.starts_with("generation") { plan.to_owned() } else { format!("generation=new {plan}") };
        let mut provider = Provider::with_faults(&plan);
        let answer = quote(&mut provider, &body);
        assert_eq!(answer.status, status, "{plan}");
        assert_eq!(answer.value().pointer(pointer).unwrap_or(&Value::Null), &expected, "{plan}");
        assert_eq!(provider.world.ledger().calls.get("quote"), Some(&1));
    }
    let silent = quote(&mut Provider::with_faults("generation=new quote=silence"), &body);
    assert!(!silent.is_complete() && silent.transmission.delay >= Duration::from_secs(3600));
    let mut provider = Provider::with_faults("generation=new");
    for (body, status, key) in [
        (json!({"model": "wan2.5-t2v", "prompt": "a"}), 404, "model_not_found"),
        (json!({"model": "wan2.6", "prompt": "a", "extra": {"audio": true}}), 400, "capability_violation"),
        (json!([1]), 400, "invalid_request"),
    ] {
        let answer = quote(&mut provider, &body);
        assert_eq!((answer.status, &answer.value()["errorKey"]), (status, &json!(key)), "{body}");
    }
}

#[test]
fn file_of_the_new_generation_lives_seven_days_with_one_expiry() {
    for (plan, links) in [("generation=new", 1), ("generation=new links=fresh", 3)] {
        let mut provider = Provider::with_faults(plan);
        let id = id_of(&provider.submit_with("a", json!({"model": "wan2.6"})));
        provider.advance(20);
        let mut seen = BTreeSet::new();
        let mut expiries = BTreeSet::new();
        for (days, opens) in [(3, 200), (3, 200), (1, 404)] {
            let status = provider.status(&id);
            expiries.insert(status["result"]["videos"][0]["expires_at"].as_i64());
            let link = provider.link(&id);
            seen.insert(link.clone());
            provider.advance(days * 24 * 3600);
            assert_eq!(provider.request(&Request::media(&link, None)).status, opens, "{plan}");
        }
        assert_eq!((seen.len(), expiries), (links, BTreeSet::from([Some(1_775_285_180 + 7 * 24 * 3600)])));
        let link = provider.link(&id);
        assert_eq!(
            provider.request(&Request::media(&link, None)).status,
            404,
            "a deleted file has no fresh link"
        );
    }
}
