//! Many jobs in few words, for people: programs get each job on a line of its own.

use std::collections::BTreeMap;

use crate::api::job::JobView;
use crate::cli::format::{count, cut, printable};
use crate::cli::terminal::width;
use crate::money::Quota;

/// More jobs are summed up.
pub(crate) const MANY: usize = 20;
/// Messages have no width of their own: they go to standard error.
const MESSAGE_WIDTH: u16 = 80;

/// Whether these are too many to show each of them to a person.
pub(crate) fn are_many<T>(jobs: &[T]) -> bool {
    jobs.len() > MANY
}

/// `40 jobs added, about $5.20: bridge-1 … bridge-40`, in which `words` say what became of the jobs.
pub(crate) fn sum_up(words: &str, jobs: &[&JobView]) -> String {
    let what = printable(&format!("{}{words}", count(jobs.len() as u64, "job")));
    // Ids sort by time.
    let first = jobs.iter().min_by_key(|job| job.id);
    let last = jobs.iter().max_by_key(|job| job.id);
    let (Some(first), Some(last)) = (first, last) else { return what };
    let width = width().unwrap_or(MESSAGE_WIDTH);
    let left = usize::from(width).saturating_sub(what.chars().count() + ": ".len());
    if first.id == last.id {
        return format!("{what}: {}", cut(&first.name, each(left)));
    }
    let half = each(left.saturating_sub(" … ".chars().count()) / 2);
    format!("{what}: {} … {}", cut(&first.name, half), cut(&last.name, half))
}

/// A name is not cut to less than this.
fn each(left: usize) -> u16 {
    u16::try_from(left).unwrap_or(MESSAGE_WIDTH).max(8)
}

/// Jobs of which the same is said, in the order in which it is first said.
pub(crate) fn group<'a>(
    said: impl IntoIterator<Item = (String, &'a JobView)>,
) -> Vec<(String, Vec<&'a JobView>)> {
    let mut groups: Vec<(String, Vec<&JobView>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (text, job) in said {
        let place = *places.entry(text.clone()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, jobs)) => jobs.push(job),
            None => groups.push((text, vec![job])),
        }
    }
    groups
}

/// `, about $1.20`, by the estimates of the jobs; nothing if none is known.
pub(crate) fn about_cost<'a>(jobs: impl IntoIterator<Item = &'a JobView>) -> String {
    let usd: f64 = jobs.into_iter().filter_map(|job| job.estimate_usd).sum();
    let cost = Quota::from_usd(usd).filter(|cost| *cost > Quota::ZERO);
    cost.map_or_else(String::new, |cost| format!(", about {cost}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures::{NOW, job};
    use crate::job::JobId;
    use crate::job::state::StateName;
    use crate::rng::Rng;

    fn named(name: &str, number: u64) -> JobView {
        let id = JobId::new(NOW, number, &Rng::seeded(1));
        JobView { id, name: name.to_owned(), ..job(StateName::Pending) }
    }

    #[test]
    fn many_jobs_are_named_by_the_first_and_the_last() {
        let jobs = [named("a-40", 40), named("a-2", 2), named("a-1", 1), named("a\u{1b}[2J", 41)];
        let jobs: Vec<&JobView> = jobs.iter().collect();
        for (jobs, expected) in [
            (&jobs[..3], "3 jobs added: a-1 … a-40"),
            (&jobs[..1], "1 job added: a-40"),
            (&jobs[2..], "2 jobs added: a-1 … a·[2J"),
            (&[], "0 jobs added"),
        ] {
            assert_eq!(sum_up(" added", jobs), expected);
        }
        let (long, short) = (named(&"樱花".repeat(40), 1), named("b", 2));
        let line = sum_up(" added, about $5.20", &[&long, &short]);
        assert!(line.ends_with("… … b") && line.chars().count() < 60, "{line}");
    }

    #[test]
    fn jobs_with_the_same_message_are_one_group() {
        let jobs = ["a", "b", "c"].map(|name| named(name, 1));
        let said = ["x", "y", "x"].iter().zip(&jobs).map(|(text, job)| ((*text).to_owned(), job));
        let groups = group(said).into_iter().map(|(text, jobs)| {
            let names: Vec<&str> = jobs.iter().map(|job| &*job.name).collect();
            format!("{text} {}", names.concat())
        });
        assert_eq!(groups.collect::<Vec<_>>(), ["x ac", "y b"]);
    }

    #[test]
    fn cost_is_that_of_the_jobs_whose_cost_is_known() {
        let known = |usd| JobView { estimate_usd: usd, ..job(StateName::Pending) };
        assert_eq!(about_cost(&[known(Some(1.0)), known(None), known(Some(0.2))]), ", about $1.20");
        assert_eq!(about_cost(&[known(None)]), "");
    }
}
