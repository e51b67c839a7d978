//! The provider's list of models, compared with the models of unfinished jobs and with the known list prices.

use crate::api::models::ModelsView;
use crate::cli::doctor::finding::Finding;
use crate::cli::format::count;
use crate::money::Quota;
use crate::pricing::models::MODELS;
use crate::provider::catalogue::{Catalogue, ListedPrice};
use crate::provider::wire::catalogue::read_catalogue;
use crate::provider::wire::read_json;

/// `models`: what the daemon says of them, if it runs.
pub(super) fn check(answer: &[u8], models: Option<&ModelsView>) -> Vec<Finding> {
    let Some(catalogue) = read_json(answer).as_ref().and_then(read_catalogue) else {
        let what = "the provider's list of models is empty or cannot be read";
        return vec![Finding::warning("catalogue", what, "nothing to do: jobs are submitted without it")];
    };
    let mut findings = unlisted_models(&catalogue, models);
    findings.extend(changed_prices(&catalogue));
    if findings.is_empty() {
        let models = count(catalogue.names().count() as u64, "model");
        findings.push(Finding::ok("catalogue", format!("the provider lists {models}")));
    }
    findings
}

fn unlisted_models(catalogue: &Catalogue, models: Option<&ModelsView>) -> Vec<Finding> {
    let of_jobs = models.map(|models| &models.models[..]).unwrap_or_default();
    let unlisted = of_jobs.iter().filter(|model| model.open_jobs > 0 && !catalogue.lists(&model.name));
    unlisted
        .map(|model| {
            let nearest = catalogue.nearest(&model.name).map(|name| format!("; the nearest is {name}"));
            let what = format!(
                "{} of model {}, which the provider does not list{}",
                count(model.open_jobs, "unfinished job"),
                model.name,
                nearest.unwrap_or_default()
            );
            Finding::warning(
                "models",
                what,
                "submit them again with a listed model; `dropreel models` shows all",
            )
        })
        .collect()
}

fn changed_prices(catalogue: &Catalogue) -> Option<Finding> {
    let differences: Vec<String> = MODELS
        .iter()
        .flat_map(|model| {
            let known = model.second_prices();
            catalogue
                .prices(model.name)
                .into_iter()
                .filter_map(|listed| difference(&listed, &known))
                .map(|difference| format!("{} {difference}", model.name))
                .collect::<Vec<_>>()
        })
        .collect();
    let what =
        format!("the provider's prices per second differ from the known ones: {}", differences.join(", "));
    let fix = "nothing to do for jobs; estimates by the list are that far off";
    (!differences.is_empty()).then(|| Finding::warning("prices", what, fix))
}

/// "720p $0.0500 instead of $0.0450", if there are known prices and none of them is the listed one.
fn difference(listed: &ListedPrice, known: &[(&str, Option<bool>, Quota)]) -> Option<String> {
    let of_same = |(resolution, sound, _): &&(&str, Option<bool>, Quota)| {
        *resolution == listed.resolution
            && (sound.is_none() || listed.sound.is_none() || *sound == listed.sound)
    };
    let prices: Vec<Quota> = known.iter().filter(of_same).map(|(_, _, price)| *price).collect();
    let first = prices.first()?;
    (!prices.contains(&listed.price))
        .then(|| format!("{} {} instead of {first}", listed.resolution, listed.price))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::models::ModelView;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn unlisted_models_of_jobs_and_changed_prices_are_warnings() {
        let job = |name: &str, open_jobs| ModelView { open_jobs, ..ModelView::new(name) };
        let models = vec![job("wan2.5-t2v", 2), job("wan2.7", 1), job("wan2.2-i2v-plus", 0)];
        let models = ModelsView { listed_at: None, models };
        let tiers = |p720, p1080| {
            json!({"unit": "second", "tiers": [
                {"resolution": "720p", "price": p720}, {"resolution": "1080p", "price": p1080},
            ]})
        };
        let answer =
            |config| json!({"data": [{"id": "wan2.7", "price_config": config}, {"id": "wan2.5-preview"}]});
        let found = |answer: &serde_json::Value, models| -> Vec<String> {
            let findings = check(answer.to_string().as_bytes(), models);
            findings.into_iter().map(|finding| format!("{:?} {}", finding.level, finding.what)).collect()
        };
        let same = answer(tiers(0.09, 0.135));
        assert_eq!(found(&same, None), ["Ok the provider lists 2 models"]);
        assert_eq!(
            found(&same, Some(&models)),
            [format!(
                "{:?} 2 unfinished jobs of model wan2.5-t2v, which the provider does not list; the nearest is \
                 wan2.5-preview",
                Level::Warning
            )]
        );
        let changed = found(&answer(tiers(0.1, 0.135)), None);
        assert!(changed[0].ends_with(": wan2.7 720p $0.10 instead of $0.09"), "{changed:?}");
        assert!(found(&json!({"data": []}), None)[0].contains("is empty"));
    }
}
