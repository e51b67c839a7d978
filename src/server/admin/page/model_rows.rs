//! Places at the provider and the models of the overview: what is in use, and how their tasks went lately.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::api::slots::SlotsView;
use crate::clock::Timestamp;
use crate::server::admin::models::max_running;
use crate::server::admin::page::format::{self, DisplayTime};
use crate::server::admin::page::messages::Messages;
use crate::settings::Settings;
use crate::store::activity::{Activity, MAX_JOBS, WINDOWS, Window};
use crate::store::slots::Slots;

/// Most models that are shown: those with the most tasks.
const MAX_MODELS: usize = 12;
/// A model is shown as failing often below this share, in percent, of at least this many tasks.
const POOR_SHARE: u64 = 90;
const MIN_TASKS: u64 = 5;

/// "20 of 20 slots · 18 waiting · 1 on Dec 24".
pub(super) struct SlotsLine {
    pub text: String,
    /// The jobs with a time, before the nearest of them.
    pub scheduled: String,
    pub next_scheduled: Option<DisplayTime>,
}

impl SlotsLine {
    /// `None` if nothing runs or waits.
    pub(super) fn new(m: &Messages, slots: &SlotsView, now: Timestamp) -> Option<Self> {
        let SlotsView { running, max, waiting, scheduled, next_scheduled_at } = *slots;
        let is_idle = running == 0 && waiting == 0 && scheduled == 0;
        (!is_idle).then(|| Self {
            text: m
                .timing
                .slots
                .replace("{running}", &running.to_string())
                .replace("{max}", &max.to_string()),
            scheduled: match scheduled {
                1 => m.timing.one_scheduled.to_owned(),
                _ => m.timing.scheduled.replace("{n}", &scheduled.to_string()),
            },
            next_scheduled: next_scheduled_at.map(|at| DisplayTime::new(m, at, now)),
        })
    }
}

/// A model.
pub(super) struct ModelRow {
    pub name: String,
    /// "2 / 4".
    pub in_use: String,
    /// One for each of [`WINDOWS`].
    pub windows: Vec<ModelCell>,
}

/// How the tasks of a model went in some hours.
pub(super) struct ModelCell {
    /// "98%"; empty: none ended.
    pub share: String,
    /// The typical time and cost.
    pub rest: String,
    /// How many tasks the share is of.
    pub title: String,
    pub is_poor: bool,
}

/// The titles of the columns of [`ModelRow::windows`].
pub(super) fn window_titles(m: &Messages) -> Vec<String> {
    WINDOWS.iter().map(|hours| m.timing.last_hours.replace("{n}", &hours.to_string())).collect()
}

/// The models with tasks at the provider, or whose tasks ended lately.
pub(super) fn model_rows(
    m: &Messages,
    activity: &Activity,
    slots: &Slots,
    settings: &Settings,
) -> Vec<ModelRow> {
    let tasks = |model: &str| {
        let ended = activity.get(model).map_or(0, |[.., longest]| longest.ended);
        ended + u64::from(slots.tasks.of(model).working)
    };
    let names: BTreeSet<&str> = activity.keys().chain(slots.tasks.0.keys()).map(String::as_str).collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by_key(|name| std::cmp::Reverse(tasks(name)));
    let row = |name: &&str| ModelRow {
        in_use: format!("{} / {}", slots.tasks.of(name).working, max_running(settings, name)),
        windows: activity
            .get(*name)
            .copied()
            .unwrap_or_default()
            .iter()
            .map(|window| cell(m, window))
            .collect(),
        name: (*name).to_owned(),
    };
    names.iter().take(MAX_MODELS).map(row).collect()
}

fn cell(m: &Messages, window: &Window) -> ModelCell {
    let Some(share) = (window.succeeded * 100).checked_div(window.ended) else {
        return ModelCell { share: String::new(), rest: String::new(), title: String::new(), is_poor: false };
    };
    let seconds =
        |time: Duration| Duration::from_secs(time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
    let time = window.median_time.map(|time| format::duration(m, seconds(time)));
    let cost = window.median_cost.map(|cost| cost.to_string());
    let of_newest = match window.is_cut {
        true => m.timing.of_newest.replace("{n}", &MAX_JOBS.to_string()),
        false => String::new(),
    };
    let numbers = [("{succeeded}", window.succeeded), ("{ended}", window.ended)];
    ModelCell {
        // Not rounded up to 100.
        share: format!("{share}%"),
        rest: time.into_iter().chain(cost).collect::<Vec<_>>().join(" · "),
        title: numbers.iter().fold(m.timing.share.to_owned(), |text, (place, number)| {
            text.replace(place, &number.to_string())
        }) + &of_newest,
        is_poor: share < POOR_SHARE && window.ended >= MIN_TASKS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::admin::page::messages::english::ENGLISH;

    #[test]
    fn share_of_the_newest_tasks_is_shown_as_such() {
        let titles = [(false, "3 of 4 succeeded"), (true, "3 of 4 succeeded, of the newest 1000 tasks")];
        for (is_cut, title) in titles {
            let window = Window { ended: 4, succeeded: 3, is_cut, ..Window::default() };
            assert_eq!(cell(&ENGLISH, &window).title, title);
        }
    }
}
