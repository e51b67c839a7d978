//! The JSON of the list of models and of quotes (docs/provider.md#the-simulated-service). Nobody publishes the shape of
//! `price_config` and the whole of a quote: these are a reading of what is known.

use serde_json::{Map, Value, json};

use crate::money::Quota;
use crate::sandbox::catalogue::{self, ListedModel, Pricing, Tier};
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::faults::{CatalogueFault, Generation, PriceConfigShape, QuoteShape};
use crate::sandbox::http_types::Response;
use crate::sandbox::price;
use crate::sandbox::responses;
use crate::sandbox::task::kind_of;

/// The list of models, in the OpenAI shape.
pub(crate) fn list(new_generation: bool, plan: &FaultPlan) -> Response {
    let lacks = |id: &str| {
        plan.catalogue.iter().any(|fault| matches!(fault, CatalogueFault::Lacks(missing) if missing.0 == id))
    };
    let generation = if new_generation { Generation::New } else { Generation::Old };
    let mut data: Vec<Value> = catalogue::listed(&generation)
        .filter(|model| !lacks(model.id))
        .map(|model| entry(model, new_generation, plan))
        .collect();
    for fault in &plan.catalogue {
        if let CatalogueFault::Also(id) = fault {
            data.push(bare_entry(&id.0));
        }
    }
    if plan.catalogue.contains(&CatalogueFault::Empty) {
        data.clear();
    }
    Response::json(200, &json!({"object": "list", "data": data}))
}

/// One model, also if it is switched off.
pub(crate) fn model(id: &str, new_generation: bool, plan: &FaultPlan) -> Response {
    match catalogue::model(id) {
        Some(model) => Response::json(200, &entry(model, new_generation, plan)),
        None => responses::model_not_found(id),
    }
}

fn bare_entry(id: &str) -> Value {
    json!({"id": id, "object": "model", "owned_by": "sandbox"})
}

fn entry(model: &ListedModel, new_generation: bool, plan: &FaultPlan) -> Value {
    let mut entry = bare_entry(model.id);
    if new_generation {
        entry["tags"] = json!(model.tags);
    }
    let usual = if new_generation { PriceConfigShape::Tiers } else { PriceConfigShape::Absent };
    let shape = plan.price_config.as_ref().unwrap_or(&usual);
    if *shape != PriceConfigShape::Absent {
        entry["price_config"] = price_config(&model.pricing, shape);
    }
    entry
}

fn price_config(pricing: &Pricing, shape: &PriceConfigShape) -> Value {
    let price = |quota: i64| match shape {
        PriceConfigShape::Wrong => json!("on request"),
        PriceConfigShape::Zero => json!(0),
        _ => json!(Quota::new(quota).usd()),
    };
    let of_tier = |tier: &Tier| {
        let mut value = json!({"resolution": tier.resolution, "price": price(tier.per_second)});
        if let Some(sound) = tier.sound {
            value["audio"] = sound.into();
        }
        value
    };
    let usual = match pricing {
        Pricing::PerSecond(tiers) => {
            let tiers: Vec<Value> = tiers.iter().map(of_tier).collect();
            json!({"currency": "USD", "unit": "second", "tiers": tiers})
        }
        Pricing::PerFile(quota) => {
            json!({"currency": "USD", "unit": "file", "tiers": [{"price": price(*quota)}]})
        }
    };
    match shape {
        PriceConfigShape::Null => Value::Null,
        PriceConfigShape::Text => usual.to_string().into(),
        PriceConfigShape::Odd => json!({"mode": "ratio", "ratio": {"model": 37.5, "completion": null}}),
        _ => usual,
    }
}

/// What the request `body` would cost.
pub(crate) fn quote(body: &Map<String, Value>, plan: &FaultPlan) -> Response {
    let id = body.get("model").and_then(Value::as_str).unwrap_or_default();
    let price = price::of_request(body, &kind_of(id));
    let percent = plan.quote_percent.map_or(100, i64::from);
    let total = Quota::new(price.total().get() * percent / 100);
    let mut multipliers = json!({});
    if price.per_unit != price.base {
        // For people only: the total is computed in quota.
        multipliers[&price.tier] = json!(Quota::new(price.per_unit).usd() / Quota::new(price.base).usd());
    }
    let mut data = json!({
        "total_usd": total.usd(), "unit": price.unit, "billed_quantity": price.quantity,
        "multipliers": multipliers,
    });
    match plan.quote_shape.as_ref().unwrap_or(&QuoteShape::Envelope) {
        QuoteShape::Envelope => {}
        QuoteShape::Refused => return refusal(200, "quote_unavailable", "no price for this request now"),
        QuoteShape::Bare => return Response::json(200, &data),
        QuoteShape::List => return Response::json(200, &json!([data])),
        QuoteShape::Text => data["total_usd"] = total.usd().to_string().into(),
        QuoteShape::Null => data["total_usd"] = Value::Null,
        QuoteShape::Negative => data["total_usd"] = json!(-total.usd()),
        QuoteShape::Absent => {
            data = json!({"unit": price.unit, "billed_quantity": price.quantity});
        }
    }
    Response::json(200, &json!({"code": "success", "message": "", "data": data}))
}

/// A quote that is refused for the reason of a submit's refusal.
pub(crate) fn refused_quote(refusal_of_submit: &Response) -> Response {
    let error = &refusal_of_submit.value()["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    refusal(refusal_of_submit.status, &text("code"), &text("message"))
}

/// A refused quote.
pub(crate) fn refusal(status: u16, key: &str, message: &str) -> Response {
    Response::json(status, &json!({"code": "error", "message": message, "errorKey": key, "data": null}))
}
