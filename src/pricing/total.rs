//! What several jobs will probably cost in all, and how many of them each source knows.

use std::collections::{BTreeMap, BTreeSet};

use crate::money::Quota;
use crate::money::estimate::{Estimate, EstimateSource};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EstimateTotal {
    /// How many jobs.
    pub jobs: u64,
    /// The most likely sum.
    pub quota: Quota,
    /// The least that is likely.
    pub low: Quota,
    /// The most that is likely.
    pub high: Quota,
    /// How many jobs each source knows.
    pub sources: BTreeMap<EstimateSource, u64>,
    /// How many own jobs the estimates from them are known from.
    pub own_jobs: u64,
    own_classes: BTreeSet<String>,
}

impl EstimateTotal {
    /// Adds a job. `price_class`: what jobs of the same price have in common.
    pub fn add(&mut self, estimate: Estimate, price_class: Option<&str>) {
        self.jobs += 1;
        self.quota = self.quota.plus(estimate.quota);
        self.low = self.low.plus(estimate.low);
        self.high = self.high.plus(estimate.high);
        *self.sources.entry(estimate.source).or_default() += 1;
        // Jobs of one kind are known from the same own jobs.
        if let Some(class) = price_class.filter(|_| estimate.source == EstimateSource::Own)
            && !self.own_classes.contains(class)
        {
            self.own_classes.insert(class.to_owned());
            self.own_jobs += u64::from(estimate.jobs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_counts_the_jobs_of_each_source_and_own_jobs_once() {
        let own = |quota, jobs| Estimate {
            jobs,
            high: Quota::new(quota * 2),
            ..Estimate::exactly(Quota::new(quota), EstimateSource::Own)
        };
        let mut total = EstimateTotal::default();
        total.add(own(10, 200), Some("720p|5|0|a"));
        total.add(own(10, 200), Some("720p|5|0|a"));
        total.add(own(30, 12), Some("720p|10|0|a"));
        total.add(Estimate::exactly(Quota::new(5), EstimateSource::Quote), Some("720p|5|0|a"));
        assert_eq!((total.jobs, total.own_jobs), (4, 212));
        assert_eq!((total.low.get(), total.quota.get(), total.high.get()), (55, 55, 105));
        assert_eq!(total.sources, [(EstimateSource::Quote, 1), (EstimateSource::Own, 3)].into());
    }
}
