//! The list of jobs in pages: by a filter and an order.
//!
//! A page costs the same at any number of jobs. Jobs are read from indexes in the order of the list, until the page is full or
//! `MAX_EXAMINED` of them have been examined; a rare match is then found by the pages that follow. If a condition leaves few
//! jobs, only these are read, and sorted.

use crate::api::list::{JobFilter, JobOrder, MAX_PAGE, RatingFilter};
use crate::store::Store;
use crate::store::db::{Connection, OptionalExtension, Value, params_from_iter};
use crate::store::details::{JobDetails, details_where};
use crate::store::error::StoreError;
use crate::store::lists::{conditions_of, folder_bounds, of_file};
use crate::store::needs::{CAUSE, IN_NEED};
use crate::store::prices::set_prices;

/// Most jobs that one page examines, and most that are sorted.
const MAX_EXAMINED: usize = 1_000;

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub jobs: Vec<JobDetails>,
    /// Where the next page begins, if there may be one.
    pub next: Option<i64>,
}

impl Store {
    /// The jobs that pass `filter`, newest first, from `cursor` on; at most `limit` and never more than [`MAX_PAGE`]. There
    /// may be fewer, or none, before the last page.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn list(&self, filter: JobFilter, cursor: Option<i64>, limit: u32) -> Result<Page, StoreError> {
        self.list_sorted(filter, JobOrder::Created, cursor, limit).await
    }

    /// As [`Self::list`], in this order.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn list_sorted(
        &self,
        filter: JobFilter,
        order: JobOrder,
        cursor: Option<i64>,
        limit: u32,
    ) -> Result<Page, StoreError> {
        let book = self.prices.read().clone();
        self.read(move |connection| {
            let limit = limit.clamp(1, MAX_PAGE) as usize;
            let mut page = page(connection, &filter, order, cursor, limit)?;
            set_prices(connection, &book, &mut page.jobs)?;
            Ok(page)
        })
        .await
    }
}

fn page(
    connection: &Connection,
    filter: &JobFilter,
    order: JobOrder,
    cursor: Option<i64>,
    limit: usize,
) -> Result<Page, StoreError> {
    let parts = match few_candidates(connection, filter, order)? {
        Some(candidates) => vec![Part::of(candidates, order)],
        None => parts(order),
    };
    let mut after = match cursor {
        None => None,
        Some(cursor) => match Place::find(connection, &parts, cursor)? {
            None => return Ok(Page { jobs: Vec::new(), next: None }),
            place => place,
        },
    };
    let first = after.as_ref().map_or(0, |place| place.part);
    let mut reader = PageReader { limit, ..PageReader::default() };
    for (at, part) in parts.into_iter().enumerate().skip(first) {
        for range in part.ranges(after.take()) {
            let (sql, values) = select_page(filter, order, &part, range);
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            while !reader.has_more
                && let Some(row) = rows.next()?
            {
                reader.add((at, row.get(0)?), row.get(1)?);
            }
        }
    }
    let PageReader { found, last, has_more, .. } = reader;
    let mut jobs = Vec::with_capacity(found.len());
    for nr in found {
        jobs.extend(details_where(connection, "jobs.nr = ?1", [nr])?);
    }
    Ok(Page { jobs, next: last.filter(|_| has_more).map(cursor_of) })
}

/// A page while it is read.
#[derive(Default)]
struct PageReader {
    limit: usize,
    found: Vec<i64>,
    examined: usize,
    /// The last job of the page, or the last that was examined, after its part.
    last: Option<(usize, i64)>,
    has_more: bool,
}

impl PageReader {
    fn add(&mut self, (part, nr): (usize, i64), matches: bool) {
        self.has_more = self.examined == MAX_EXAMINED || (matches && self.found.len() == self.limit);
        if self.has_more {
            return;
        }
        self.examined += 1;
        if matches {
            self.found.push(nr);
        }
        if self.last.is_none() && (self.found.len() == self.limit || self.examined == MAX_EXAMINED) {
            self.last = Some((part, nr));
        }
    }
}

/// Jobs that follow each other in the list, and where they are read from.
#[derive(Debug)]
struct Part {
    /// What follows `FROM`, with an index in the order of the list, and its values.
    source: String,
    values: Vec<Value>,
    /// The condition that the index finds.
    within: &'static str,
    /// What else they have in common; each job is asked.
    also: &'static str,
    /// What they are sorted by before their numbers.
    key: Option<&'static str>,
}

impl Part {
    /// Few jobs, which are sorted.
    fn of(candidates: Candidates, order: JobOrder) -> Self {
        let key = match order {
            JobOrder::Created => None,
            JobOrder::Cost => Some("coalesce(jobs.cost_quota, -1)"),
            // Those that nobody has rated come before rejected ones.
            JobOrder::Rating => Some("coalesce(jobs.rating * 2, 1)"),
            JobOrder::Name => Some("jobs.name"),
        };
        let source = format!("({}) AS candidates CROSS JOIN jobs ON jobs.nr = candidates.nr", candidates.sql);
        Self { source, values: candidates.values, within: "true", also: "true", key }
    }

    /// The jobs after a place, in one range or two. In one, by a comparison of key and number, an index is entered by its key
    /// alone: the jobs that share the key of the place would all be read again.
    fn ranges(&self, after: Option<Place>) -> Vec<Range> {
        match after {
            None => vec![Range::All],
            Some(Place { nr, .. }) if self.key.is_none() => vec![Range::AfterNumber(nr)],
            Some(Place { key, nr, .. }) => vec![Range::SameKey(key.clone(), nr), Range::AfterKey(key)],
        }
    }
}

/// Jobs of a part that follow each other.
#[derive(Debug)]
enum Range {
    All,
    AfterNumber(i64),
    /// With this key, after the job of this number.
    SameKey(Value, i64),
    AfterKey(Value),
}

/// All jobs in this order. By cost and by rating, the indexes have only those that have one. A job that was retried counts with
/// the cost of its newest attempt.
fn parts(order: JobOrder) -> Vec<Part> {
    let part = |source: &str, within, also, key| Part {
        source: source.to_owned(),
        values: Vec::new(),
        within,
        also,
        key,
    };
    let by_rating = "jobs INDEXED BY jobs_by_rating";
    match order {
        JobOrder::Created => vec![part("jobs", "true", "true", None)],
        JobOrder::Name => vec![part("jobs INDEXED BY jobs_by_name", "true", "true", Some("jobs.name"))],
        JobOrder::Cost => vec![
            part(
                "jobs INDEXED BY jobs_by_cost",
                "jobs.cost_quota IS NOT NULL",
                "true",
                Some("jobs.cost_quota"),
            ),
            part("jobs", "true", "jobs.cost_quota IS NULL", None),
        ],
        JobOrder::Rating => vec![
            part(by_rating, "jobs.rating > 0", "true", Some("jobs.rating")),
            part("jobs", "true", "jobs.rating IS NULL", None),
            part(by_rating, "jobs.rating = 0", "true", None),
        ],
    }
}

/// A cursor is the number of a job, above it that of the part where it was read.
const PART_SHIFT: u32 = 48;

fn cursor_of((part, nr): (usize, i64)) -> i64 {
    i64::try_from(part).unwrap_or(0) << PART_SHIFT | nr
}

/// What a page comes after.
struct Place {
    part: usize,
    /// By what the job is sorted in this part.
    key: Value,
    nr: i64,
}

impl Place {
    fn find(connection: &Connection, parts: &[Part], cursor: i64) -> Result<Option<Self>, StoreError> {
        let nr = cursor & ((1 << PART_SHIFT) - 1);
        let first = usize::try_from(cursor >> PART_SHIFT).unwrap_or(usize::MAX);
        for (part, Part { within, key, .. }) in parts.iter().enumerate().skip(first) {
            // Also after a job that was removed meanwhile.
            let Some(key) = key else { return Ok(Some(Self { part, key: Value::Null, nr })) };
            let sql = format!("SELECT {key} FROM jobs WHERE jobs.nr = ?1 AND {within}");
            let key = connection.prepare_cached(&sql)?.query_row([nr], |row| row.get(0)).optional()?;
            if let Some(key) = key {
                return Ok(Some(Self { part, key, nr }));
            }
        }
        Ok(None)
    }
}

/// The statement of a range: the number of each job, and whether it matches.
fn select_page(filter: &JobFilter, order: JobOrder, part: &Part, range: Range) -> (String, Vec<Value>) {
    let (mut matches, mut values) = matches(filter);
    matches.push(part.also.to_owned());
    values.extend(part.values.iter().cloned());
    let (later, direction) = match order {
        JobOrder::Created | JobOrder::Cost | JobOrder::Rating => ("<", "DESC"),
        JobOrder::Name => (">", "ASC"),
    };
    // The other way around, jobs would not be read in their order.
    let requests = match filter.text {
        Some(_) => " CROSS JOIN requests ON requests.job = jobs.nr",
        None => "",
    };
    let number = if part.source.starts_with('(') { "candidates.nr" } else { "jobs.nr" };
    let key = part.key.unwrap_or(number);
    let after = match range {
        Range::All => String::new(),
        Range::AfterNumber(nr) => {
            values.push(nr.into());
            format!(" AND {number} {later} ?")
        }
        Range::SameKey(value, nr) => {
            values.extend([value, nr.into()]);
            format!(" AND {key} = ? AND {number} {later} ?")
        }
        Range::AfterKey(value) => {
            values.push(value);
            format!(" AND {key} {later} ?")
        }
    };
    let sorted = part.key.map_or_else(String::new, |key| format!("{key} {direction}, "));
    let sql = format!(
        "SELECT {number}, coalesce({}, false) FROM {}{requests} WHERE {}{after} ORDER BY {sorted}{number} {direction} LIMIT {}",
        matches.join(" AND "),
        part.source,
        part.within,
        // A server sends all rows at once. One more says that there are more.
        MAX_EXAMINED + 1,
    );
    (sql, values)
}

/// A statement for the numbers of jobs, with its values.
#[derive(Clone, Debug)]
struct Candidates {
    sql: String,
    values: Vec<Value>,
    /// Whether its index has them in the order of their numbers.
    is_ordered: bool,
}

/// All jobs that can match, if one condition says that they are few, or if they need not be sorted.
fn few_candidates(
    connection: &Connection,
    filter: &JobFilter,
    order: JobOrder,
) -> Result<Option<Candidates>, StoreError> {
    let mut all = candidates(filter);
    let needs_no_sort = |candidates: &Candidates| candidates.is_ordered && order == JobOrder::Created;
    if all.len() == 1 && needs_no_sort(&all[0]) {
        return Ok(all.pop());
    }
    for Candidates { sql, values, .. } in &all {
        let count = format!(
            "SELECT count(*) FROM (SELECT 1 FROM ({sql}) AS found LIMIT {}) AS few",
            MAX_EXAMINED + 1
        );
        let count: i64 =
            connection.prepare_cached(&count)?.query_row(params_from_iter(values), |row| row.get(0))?;
        if usize::try_from(count).is_ok_and(|count| count <= MAX_EXAMINED) {
            return Ok(Some(Candidates { sql: sql.clone(), values: values.clone(), is_ordered: false }));
        }
    }
    Ok(all.into_iter().find(needs_no_sort))
}

/// What an index finds, condition by condition.
fn candidates(filter: &JobFilter) -> Vec<Candidates> {
    let mut candidates = Vec::new();
    let mut add = |sql: &str, values: Vec<Value>, is_ordered: bool| {
        candidates.push(Candidates { sql: sql.to_owned(), values, is_ordered });
    };
    if let Some(batch) = filter.batch {
        add("SELECT nr FROM jobs WHERE batch = ?", vec![batch.into()], true);
    }
    if let Some(file) = &filter.file {
        let (of_file, values) = of_file(file);
        add(&format!("SELECT nr FROM jobs WHERE {of_file}"), values, false);
    }
    for label in &filter.labels {
        let values = vec![label.key.clone().into(), label.value.clone().into()];
        add("SELECT job AS nr FROM labels WHERE key = ? AND value = ?", values, true);
    }
    if let Some(cause) = &filter.cause {
        let of_cause = format!("SELECT nr FROM jobs WHERE {IN_NEED} AND {CAUSE} = ?");
        add(&of_cause, vec![cause.clone().into()], false);
    } else if filter.needs {
        let in_need = format!("SELECT nr FROM jobs INDEXED BY jobs_in_need_by_number WHERE {IN_NEED}");
        add(&in_need, Vec::new(), true);
    }
    if let Some(folder) = &filter.folder {
        add(
            "SELECT job AS nr FROM labels WHERE key = 'folder' AND value = ?
             UNION ALL SELECT job FROM labels WHERE key = 'folder' AND value >= ? AND value < ?",
            folder_bounds(folder).into(),
            false,
        );
    }
    match filter.rating {
        Some(RatingFilter::Exactly(stars)) => {
            add("SELECT nr FROM jobs WHERE rating = ?", vec![i64::from(stars).into()], true);
        }
        Some(RatingFilter::AtLeast(stars)) => {
            add("SELECT nr FROM jobs WHERE rating >= ?", vec![i64::from(stars).into()], false);
        }
        Some(RatingFilter::Unrated) | None => {}
    }
    if let Some(state) = filter.state {
        add("SELECT nr FROM jobs WHERE state = ?", vec![state.into_str().to_owned().into()], true);
    }
    candidates
}

/// Whether a job passes the filter, asked of one job after the other: no list of all that match is made for it.
fn matches(filter: &JobFilter) -> (Vec<String>, Vec<Value>) {
    let others = JobFilter { labels: Vec::new(), folder: None, rating: None, ..filter.clone() };
    let (mut conditions, mut values) = conditions_of(&others);
    let mut add = |condition: &str, given: Vec<Value>| {
        conditions.push(condition.to_owned());
        values.extend(given);
    };
    for label in &filter.labels {
        add(
            "EXISTS (SELECT 1 FROM labels WHERE key = ? AND value = ? AND labels.job = jobs.nr)",
            vec![label.key.clone().into(), label.value.clone().into()],
        );
    }
    if let Some(folder) = &filter.folder {
        add(
            "EXISTS (SELECT 1 FROM (SELECT labels ->> '$.folder' AS folder FROM requests WHERE job = jobs.nr)
                         AS labelled WHERE folder = ? OR folder >= ? AND folder < ?)",
            folder_bounds(folder).into(),
        );
    }
    match filter.rating {
        Some(RatingFilter::Exactly(stars)) => add("jobs.rating = ?", vec![i64::from(stars).into()]),
        Some(RatingFilter::AtLeast(stars)) => add("jobs.rating >= ?", vec![i64::from(stars).into()]),
        Some(RatingFilter::Unrated) => add("jobs.rating IS NULL", Vec::new()),
        None => {}
    }
    (conditions, values)
}

/// The statements of pages that may be of any job, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    let orders = [
        ("newest jobs", JobOrder::Created),
        ("expensive jobs", JobOrder::Cost),
        ("best jobs", JobOrder::Rating),
        ("jobs by name", JobOrder::Name),
    ];
    let statements = |(name, order)| {
        parts(order).into_iter().flat_map(move |part| {
            let place = Place { part: 0, key: Value::Null, nr: 1 };
            let ranges = part.ranges(Some(place)).into_iter();
            ranges
                .map(|range| (name, select_page(&JobFilter::default(), order, &part, range).0))
                .collect::<Vec<_>>()
        })
    };
    orders.into_iter().flat_map(statements).collect()
}

#[cfg(test)]
mod tests;
