//! What a job will probably cost, and where that is known from.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;

use crate::money::Quota;

/// What a job will probably cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The most likely charge: what budgets reserve.
    pub quota: Quota,
    /// The least that is likely.
    pub low: Quota,
    /// The most that is likely.
    pub high: Quota,
    /// Where it is known from.
    pub source: EstimateSource,
    /// How many own jobs it is known from; 0: from another source.
    pub jobs: u32,
}

impl Estimate {
    /// An estimate without a range.
    pub const fn exactly(quota: Quota, source: EstimateSource) -> Self {
        Self { quota, low: quota, high: quota, source, jobs: 0 }
    }
}

/// Where an estimate comes from, the most trusted source first.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum EstimateSource {
    /// The operator's price file (`budget.prices`).
    Prices,
    /// The provider's quote for this very request.
    Quote,
    /// What the user's own jobs of the same kind were charged.
    Own,
    /// The prices in the provider's catalogue.
    PriceConfig,
    /// The list prices that dropreel knows.
    List,
    /// Nothing is known about the model: the dearest known price.
    Guess,
}
