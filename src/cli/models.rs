//! `models`: the provider's list of models with prices, and what own jobs of each took and cost.

use crate::api::models::{ModelPrice, ModelView, ModelWindow, ModelsView};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{Column, duration, printable, table, usd};
use crate::cli::received::Received;
use crate::cli::terminal::{eprint_line, print_json, print_line, width};
use crate::clock::calendar::Zone;
use crate::pricing::models::MODELS;

const COLUMNS: [Column; 9] = [
    Column::cut("MODEL"),
    Column::whole("LISTED"),
    Column::whole("PRICE"),
    Column::number("OPEN"),
    Column::number("SLOTS"),
    Column::number("OK"),
    Column::number("24H"),
    Column::number("TIME"),
    Column::number("COST"),
];

/// `models`
pub(crate) async fn models(context: &Context) -> Result<Exit, CliError> {
    match request(context).await {
        Ok(models) if context.json => print_json(&models)?,
        Ok(models) => print_models(&models, &context.clock.zone())?,
        Err(error) if error.exit == Exit::Unreachable => {
            eprint_line(
                "no daemon: only the models that this version of dropreel knows, with their list prices",
            );
            let models = MODELS.iter().map(|model| ModelView::new(model.name)).collect();
            let models = ModelsView { listed_at: None, models };
            if context.json {
                print_json(&models)?;
            } else {
                print_models(&models, &context.clock.zone())?;
            }
        }
        Err(error) => return Err(error),
    }
    Ok(Exit::Done)
}

async fn request(context: &Context) -> Result<Received<ModelsView>, CliError> {
    context.client()?.models().await
}

fn print_models(models: &ModelsView, zone: &Zone) -> Result<(), CliError> {
    let list = match models.listed_at {
        Some(at) => format!("listed by the provider at {}", zone.date_and_time_of(at)),
        None => "the provider's list is not known".to_owned(),
    };
    eprint_line(&format!("{list}; prices in US dollars per second"));
    print_line(&table(&COLUMNS, models.models.iter().map(row).collect(), width()))
}

fn row(model: &ModelView) -> Vec<String> {
    let listed = match model.listed {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    };
    let jobs = |jobs: u64| if jobs == 0 { String::new() } else { jobs.to_string() };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds are shown")]
    let seconds = model.median_seconds.map(|seconds| duration(seconds.max(0.0) as u64));
    vec![
        printable(&model.name),
        listed.to_owned(),
        // The provider's own prices are newer than the table.
        price_range(if model.provider_prices.is_empty() {
            &model.list_prices
        } else {
            &model.provider_prices
        }),
        jobs(model.open_jobs),
        if model.running > 0 { format!("{}/{}", model.running, model.max_running) } else { String::new() },
        jobs(model.succeeded_jobs),
        model.recent.first().and_then(success_share).unwrap_or_default(),
        seconds.unwrap_or_default(),
        model.median_cost_usd.map(usd).unwrap_or_default(),
    ]
}

/// "98%"; not rounded up to 100.
fn success_share(window: &ModelWindow) -> Option<String> {
    Some(format!("{}%", (window.succeeded_jobs * 100).checked_div(window.ended_jobs)?))
}

/// Four decimal places at most.
fn short(price: f64) -> String {
    ((price * 10_000.0).round() / 10_000.0).to_string()
}

/// The lowest and the highest price, as far as they differ.
fn price_range(prices: &[ModelPrice]) -> String {
    let mut usd: Vec<f64> = prices.iter().map(|price| price.usd_per_second).collect();
    usd.sort_by(f64::total_cmp);
    match (usd.first(), usd.last()) {
        (Some(low), Some(high)) if low < high => format!("{}-{}", short(*low), short(*high)),
        (Some(only), _) => short(*only),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures::assert_golden;

    #[test]
    fn models_are_listed_with_prices_and_own_jobs() {
        let listed = |name: &str| ModelView { listed: Some(true), ..ModelView::new(name) };
        let provider_prices =
            vec![ModelPrice { resolution: "720p".into(), sound: None, usd_per_second: 0.05 }];
        let models = [
            ModelView {
                open_jobs: 3,
                succeeded_jobs: 120,
                median_seconds: Some(95.4),
                median_cost_usd: Some(0.15),
                running: 2,
                max_running: 4,
                recent: vec![ModelWindow {
                    hours: 24,
                    ended_jobs: 60,
                    succeeded_jobs: 59,
                    median_seconds: Some(95.4),
                    median_cost_usd: Some(0.15),
                }],
                ..listed("wan2.5-preview")
            },
            ModelView { provider_prices, ..listed("wan2.7") },
            ModelView { listed: Some(false), open_jobs: 1, ..ModelView::new("wan2.5-t2v") },
            ModelView::new("春天\u{1b}[2J"),
        ];
        assert_golden("models", &table(&COLUMNS, models.iter().map(row).collect(), Some(80)));
    }
}
