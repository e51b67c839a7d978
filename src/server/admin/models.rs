//! `GET /api/v1/models`: the provider's list of models, joined with what is known of each and with own jobs.

use std::collections::BTreeSet;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};

use crate::api::models::{ModelPrice, ModelView, ModelWindow, ModelsView};
use crate::money::Quota;
use crate::pricing::models::MODELS;
use crate::provider::catalogue::Catalogue;
use crate::server::admin::http::json_response;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::state::AdminState;
use crate::settings::Settings;
use crate::store::activity::{WINDOWS, Window};
use crate::store::model_stats::ModelStats;

/// How long a request waits for a new list if the last one is old.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// `GET /api/v1/models`.
#[utoipa::path(
    get,
    path = "/api/v1/models",
    tag = "control",
    summary = "The models with prices, and what own jobs of each took and cost",
    description = "If the provider's list was read long ago, the answer waits a few seconds for a new one.",
    responses(
        (status = 200, description = "Models that the provider lists, that are known, or that jobs have", body = ModelsView),
        ProblemResponses
    )
)]
pub(super) async fn get_models(admin: web::Data<AdminState>) -> Result<HttpResponse, Problem> {
    // One that follows does not ask the provider.
    let list = match admin.server.store.follows() {
        true => None,
        false => admin.server.catalogue.recent(LIST_TIMEOUT).await,
    };
    let (store, now) = (&admin.server.store, admin.server.clock.now());
    let mut stats = store.model_stats().await?;
    let (activity, slots) = (store.recent_activity(now).await?, store.slots(now).await?);
    let catalogue = list.as_ref().map(|(catalogue, _)| &**catalogue);
    let mut names: BTreeSet<String> = stats.keys().cloned().collect();
    names.extend(catalogue.into_iter().flat_map(Catalogue::names).map(str::to_owned));
    names.extend(MODELS.iter().map(|model| model.name.to_owned()));
    let models = names.iter().map(|name| ModelView {
        running: slots.tasks.of(name).working,
        max_running: max_running(&admin.server.settings, name),
        recent: activity.get(name).map_or_else(Vec::new, windows),
        ..view(name, catalogue, stats.remove(name).unwrap_or_default())
    });
    let models = models.collect();
    Ok(json_response(StatusCode::OK, &ModelsView { listed_at: list.map(|(_, at)| at), models }))
}

/// The most places at the provider that a model may take.
pub(super) fn max_running(settings: &Settings, model: &str) -> u32 {
    let all = settings.provider.max_running;
    settings.provider.max_running_per_model.get(model).map_or(all, |limit| all.min(*limit))
}

fn windows(windows: &[Window; WINDOWS.len()]) -> Vec<ModelWindow> {
    let view = |(hours, window): (u32, &Window)| ModelWindow {
        hours,
        ended_jobs: window.ended,
        succeeded_jobs: window.succeeded,
        median_seconds: window.median_time.map(|time| time.as_secs_f64()),
        median_cost_usd: window.median_cost.map(Quota::usd),
    };
    WINDOWS.into_iter().zip(windows).map(view).collect()
}

fn view(name: &str, catalogue: Option<&Catalogue>, stats: ModelStats) -> ModelView {
    let prices = catalogue.map(|catalogue| catalogue.prices(name)).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
    let seconds = |millis: i64| millis as f64 / 1000.0;
    ModelView {
        listed: catalogue.map(|catalogue| catalogue.lists(name)),
        provider_prices: prices
            .iter()
            .map(|listed| ModelPrice::new(&listed.resolution, listed.sound, listed.price))
            .collect(),
        price_config: catalogue.and_then(|catalogue| catalogue.price_config(name)).cloned(),
        open_jobs: stats.open,
        succeeded_jobs: stats.succeeded,
        median_seconds: stats.median_millis.map(seconds),
        median_cost_usd: stats.median_cost.map(Quota::usd),
        ..ModelView::new(name)
    }
}
