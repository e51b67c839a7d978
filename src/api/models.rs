//! The models: what the provider lists, what they cost by the list, and what own jobs of each took and cost.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::pricing::models;

/// The models that the provider lists, those known in detail, and those of jobs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Models)]
pub struct ModelsView {
    /// When the provider's list was read; `null`: not yet, or there is no list.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub listed_at: Option<Timestamp>,
    pub models: Vec<ModelView>,
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Model)]
pub struct ModelView {
    pub name: String,
    /// Whether the provider lists it; `null` without a list.
    pub listed: Option<bool>,
    /// Whether requests for it are checked against what is known of it.
    pub known: bool,
    /// What dropreel knows of its price.
    pub list_prices: Vec<ModelPrice>,
    /// What the provider's list says of its price, as far as it could be read.
    pub provider_prices: Vec<ModelPrice>,
    /// The same as the provider sent it.
    #[schema(value_type = Option<Object>)]
    pub price_config: Option<Value>,
    /// Own jobs that have not ended.
    pub open_jobs: u64,
    /// Own jobs that succeeded, of the newest 1,000 of all models.
    pub succeeded_jobs: u64,
    /// From the submit to the end of these.
    pub median_seconds: Option<f64>,
    /// The cost of those of them whose cost is known.
    pub median_cost_usd: Option<f64>,
    /// Its tasks that take a place at the provider.
    #[serde(default)]
    pub running: u32,
    /// The most places that it may take.
    #[serde(default)]
    pub max_running: u32,
    /// How its tasks went in the last 24, 48 and 72 hours; empty if none ended.
    #[serde(default)]
    pub recent: Vec<ModelWindow>,
}

/// The tasks of a model that ended within some hours, of at most the newest 1,000 of all models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelWindow {
    pub hours: u32,
    /// Succeeded, failed and expired ones.
    pub ended_jobs: u64,
    pub succeeded_jobs: u64,
    /// Of those that succeeded, from the submit to the end.
    pub median_seconds: Option<f64>,
    pub median_cost_usd: Option<f64>,
}

/// The price of a second of video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelPrice {
    pub resolution: String,
    /// Whether it is the price with sound; `null`: for both.
    pub sound: Option<bool>,
    pub usd_per_second: f64,
}

impl ModelView {
    /// The model of this name, with what is known without the provider.
    pub fn new(name: &str) -> Self {
        let known = models::model(name);
        let list_prices = known.map(models::Model::second_prices).unwrap_or_default();
        Self {
            name: name.to_owned(),
            known: known.is_some(),
            list_prices: list_prices
                .into_iter()
                .map(|(resolution, sound, price)| ModelPrice::new(resolution, sound, price))
                .collect(),
            ..Self::default()
        }
    }
}

impl ModelPrice {
    /// In US dollars.
    pub fn new(resolution: &str, sound: Option<bool>, price: Quota) -> Self {
        Self { resolution: resolution.to_owned(), sound, usd_per_second: price.usd() }
    }
}
