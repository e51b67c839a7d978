//! Quotes: what the provider answers about the price of a request (docs/provider.md#endpoints).

use serde_json::{Map, Value};

use crate::money::Quota;
use crate::provider::reply::CallOutcome;
use crate::provider::wire::read_json;

/// The highest price that is believed.
const MAX_USD: f64 = 10_000.0;

/// What a call for a quote got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteAnswer {
    /// The request costs this much.
    Price(Quota),
    /// There is no quote for this request.
    Refused,
    /// No answer, or none for now.
    Unanswered,
    /// The provider does not quote, or not in a form that is known.
    NoQuotes,
}

/// Reads the answer to a call for a quote. It is no evidence about the account: the call has no key.
pub fn read_quote(outcome: &CallOutcome) -> QuoteAnswer {
    let CallOutcome::Reply(reply) = outcome else { return QuoteAnswer::Unanswered };
    let answer = read_json(reply.bytes());
    let answer = answer.as_ref().and_then(Value::as_object);
    match (reply.status, answer) {
        (408 | 425 | 429 | 500.., _) => QuoteAnswer::Unanswered,
        (_, Some(answer)) if is_refusal(answer) => QuoteAnswer::Refused,
        (200..300, Some(answer)) => price(answer).map_or(QuoteAnswer::NoQuotes, QuoteAnswer::Price),
        _ => QuoteAnswer::NoQuotes,
    }
}

/// A refusal says why in a word of its own; an unknown address has no such word.
fn is_refusal(answer: &Map<String, Value>) -> bool {
    let key = answer.get("errorKey").or_else(|| answer.get("error_key"));
    key.is_some_and(|key| key.as_str().is_some_and(|word| !word.is_empty()))
}

fn price(answer: &Map<String, Value>) -> Option<Quota> {
    let quote = answer.get("data").and_then(Value::as_object).unwrap_or(answer);
    let currencies = [answer.get("currency"), quote.get("currency")];
    let is_usd = |currency: &Value| {
        currency.is_null() || currency.as_str().is_some_and(|word| word.trim().eq_ignore_ascii_case("usd"))
    };
    if !currencies.into_iter().flatten().all(is_usd) {
        return None;
    }
    let usd = match quote.get("total_usd")? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().trim_start_matches('$').trim_start().parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    // A price of nothing would let a job pass every budget.
    let quota = Quota::from_usd(usd).filter(|quota| *quota > Quota::ZERO);
    quota.filter(|_| usd <= MAX_USD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::reply::ApiReply;
    use QuoteAnswer::{NoQuotes, Price, Refused, Unanswered};

    #[test]
    fn quotes_are_read_leniently_and_other_answers_mean_no_quotes() {
        let price = |quota| Price(Quota::new(quota));
        let cases = [
            (
                200,
                r#"{"code":"success","message":"","data":{"total_usd":0.4725,"unit":"second","billed_quantity":5,"multipliers":{"1080p":1.68}}}"#,
                price(236_250),
            ),
            (200, r#"{"code":0,"data":{"total_usd":"0.15","unit":"file"}}"#, price(75_000)),
            (200, r#"{"total_usd":" $1 ","currency":"usd"}"#, price(500_000)),
            (200, r#"{"data":{"total_usd":1,"currency":null}}"#, price(500_000)),
            (200, r#"{"data":{"total_usd":1,"currency":"CNY"}}"#, NoQuotes),
            (200, r#"{"currency":"CNY","data":{"total_usd":1}}"#, NoQuotes),
            (200, r#"{"data":{"total_usd":0}}"#, NoQuotes),
            (200, r#"{"data":{"total_usd":-0.1}}"#, NoQuotes),
            (200, r#"{"data":{"total_usd":null}}"#, NoQuotes),
            (200, r#"{"data":{"total_usd":"NaN"}}"#, NoQuotes),
            (200, r#"{"data":{"total_usd":1e9}}"#, NoQuotes),
            (200, r#"{"data":{"total_usd":[1]}}"#, NoQuotes),
            (200, r#"{"data":{"unit":"second"}}"#, NoQuotes),
            (200, r#"{"data":[{"total_usd":1}]}"#, NoQuotes),
            (200, r#"[{"total_usd":1}]"#, NoQuotes),
            (200, "<html>Sign in</html>", NoQuotes),
            (200, "", NoQuotes),
            (302, "", NoQuotes),
            (401, r#"{"error":{"message":"no key"}}"#, NoQuotes),
            (403, "<html>", NoQuotes),
            (404, r#"{"detail":"Not Found"}"#, NoQuotes),
            (404, r#"{"errorKey":""}"#, NoQuotes),
            (
                404,
                r#"{"code":"error","message":"no such model","errorKey":"model_not_found","data":null}"#,
                Refused,
            ),
            (400, r#"{"code":"error","errorKey":"capability_violation","data":null}"#, Refused),
            (200, r#"{"code":"error","errorKey":"quote_unavailable","data":{"total_usd":1}}"#, Refused),
            (429, r#"{"errorKey":"slow_down"}"#, Unanswered),
            (500, "", Unanswered),
            (503, r#"{"data":{"total_usd":1}}"#, Unanswered),
        ];
        for (status, body, expected) in cases {
            let reply = ApiReply { status, headers: Default::default(), body: Ok(body.into()) };
            assert_eq!(read_quote(&CallOutcome::Reply(reply)), expected, "{status} {body}");
        }
        for outcome in [CallOutcome::Lost("reset".into()), CallOutcome::NotSent("no route".into())] {
            assert_eq!(read_quote(&outcome), Unanswered, "{outcome:?}");
        }
    }
}
