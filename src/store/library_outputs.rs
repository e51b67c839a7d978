//! The outputs in the library, as the page of videos shows them: by a filter and an order, in pages.
//!
//! A page costs the same at any number of outputs: it reads an index in its order from the cursor on, and stops once it
//! is full or has examined `MAX_EXAMINED` outputs. A rare match is then found by the pages that follow.

use std::fmt;

use crate::api::batch::batch_id;
use crate::api::list::RatingFilter;
use crate::clock::Timestamp;
use crate::job::label::Label;
use crate::job::output::{OutputKey, OutputKind, StoredFile};
use crate::job::{JobId, Labels};
use crate::money::Quota;
use crate::store::Store;
use crate::store::db::{self, Connection, Params, Row, Value, params_from_iter};
use crate::store::error::StoreError;
use crate::store::job_rows::number_of;
use crate::store::output_rows::read_stored;
use crate::store::search::HAS_WORDS;

/// The longest page.
pub const MAX_OUTPUT_PAGE: u32 = 100;
/// Most outputs that one page examines.
const MAX_EXAMINED: u32 = 1_000;
/// Longer requests, which hold whole pictures, are not read for a list.
const MAX_REQUEST_BYTES: u32 = 64 * 1024;

/// Which outputs to select: those that match all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputFilter {
    pub kind: Option<OutputKind>,
    pub model: Option<String>,
    /// Only outputs of jobs with each of these labels.
    pub labels: Vec<Label>,
    /// Only files in this folder of the library, or below it.
    pub folder: Option<String>,
    /// Only outputs of the batch with this number.
    pub batch: Option<i64>,
    /// Only files stored at this time or later.
    pub since: Option<Timestamp>,
    /// Only files stored before this time.
    pub until: Option<Timestamp>,
    pub rating: Option<RatingFilter>,
    /// Only outputs of jobs with these words (`search`).
    pub text: Option<String>,
}

/// The order of the outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputOrder {
    #[default]
    Newest,
    /// The best first; rejected ones come after those that nobody has rated.
    BestRated,
    /// Only those whose cost is known.
    MostExpensive,
}

/// An output in the library, with what is displayed of its job.
#[derive(Clone, Debug, PartialEq)]
pub struct LibraryOutput {
    pub job: JobId,
    pub name: String,
    pub model: String,
    /// The id of its batch.
    pub batch: String,
    /// The name of its job file.
    pub file_name: Option<String>,
    pub cost: Option<Quota>,
    pub prompt: Option<String>,
    pub labels: Labels,
    /// The user's own text of the request, unless it is very long.
    pub request: Option<String>,
    /// Its task was made elsewhere: no request is known.
    pub is_adopted: bool,
    pub key: OutputKey,
    /// Its number among the files of its job, from 1.
    pub number: u32,
    pub file: StoredFile,
    /// 0: rejected.
    pub rating: Option<u8>,
}

/// A page of outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputPage {
    pub outputs: Vec<LibraryOutput>,
    /// Where the next page begins, if there may be one.
    pub next: Option<OutputCursor>,
}

/// The place of an output in an order: the values of its keys.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputCursor(Vec<Value>);

impl OutputCursor {
    /// Reads a cursor of this order, as it is displayed.
    pub fn parse(text: &str, order: OutputOrder) -> Option<Self> {
        let read = |key: &serde_json::Value| match key {
            serde_json::Value::String(text) => Some(Value::from(text.clone())),
            number => number.as_i64().map(Value::from),
        };
        let keys: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
        let keys: Vec<Value> = keys.iter().map(read).collect::<Option<_>>()?;
        (keys.len() == order.keys().len()).then_some(Self(keys))
    }
}

impl fmt::Display for OutputCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.iter().map(|key| match key {
            Value::Integer(number) => serde_json::Value::from(*number),
            Value::Text(text) => text.as_str().into(),
            _ => serde_json::Value::Null,
        });
        write!(f, "{}", keys.collect::<serde_json::Value>())
    }
}

const CARD: &str = "SELECT jobs.id, jobs.name, jobs.model, jobs.batch, batches.file_name, jobs.cost_quota,
        requests.prompt, requests.labels, CASE WHEN octet_length(requests.body) <= ? THEN requests.body END AS request, jobs.adopted,
        outputs.kind, outputs.idx, outputs.rating, outputs.path, outputs.bytes, outputs.sha256, outputs.host,
        outputs.stored_at, outputs.bucket,
        (SELECT count(*) FROM outputs AS earlier WHERE earlier.job = outputs.job AND earlier.state = 'stored'
            AND (earlier.stored_at, earlier.position) <= (outputs.stored_at, outputs.position)) AS number
    FROM outputs CROSS JOIN jobs ON jobs.nr = outputs.job CROSS JOIN requests ON requests.job = jobs.nr
    CROSS JOIN batches ON batches.nr = jobs.batch";

impl Store {
    /// A page of the outputs that pass `filter`, from `cursor` on, the `next` of the page before in the same order.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn library_outputs(
        &self,
        filter: OutputFilter,
        order: OutputOrder,
        cursor: Option<OutputCursor>,
        limit: u32,
    ) -> Result<OutputPage, StoreError> {
        let limit = limit.clamp(1, MAX_OUTPUT_PAGE) as usize;
        self.read(move |connection| page(connection, &filter, order, cursor, limit)).await
    }

    /// All outputs of a job that are in the library, in the order of their numbers.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn outputs_of_job(&self, job: JobId) -> Result<Vec<LibraryOutput>, StoreError> {
        self.read(move |connection| {
            let nr = number_of(connection, job)?;
            let condition =
                "outputs.job = ? AND outputs.state = 'stored' ORDER BY outputs.stored_at, outputs.position";
            cards(connection, condition, (MAX_REQUEST_BYTES, nr))
        })
        .await
    }
}

fn page(
    connection: &Connection,
    filter: &OutputFilter,
    order: OutputOrder,
    cursor: Option<OutputCursor>,
    limit: usize,
) -> Result<OutputPage, StoreError> {
    let keys = order.keys().len();
    let (mut found, mut examined, mut last) = (Vec::new(), 0, None);
    let mut has_more = false;
    for range in ranges(filter, order, cursor) {
        let (sql, values) = select_page(filter, order, range);
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while !has_more && let Some(row) = rows.next()? {
            let matches: bool = row.get(keys)?;
            has_more = examined == MAX_EXAMINED || (matches && found.len() == limit);
            if has_more {
                break;
            }
            examined += 1;
            if matches {
                let place: [Value; 4] =
                    [row.get(keys + 1)?, row.get(keys + 2)?, row.get(keys + 3)?, row.get(keys + 4)?];
                found.push(place);
            }
            // The last output of this page, or the last that did not match.
            if last.is_none() && (found.len() == limit || examined == MAX_EXAMINED) {
                last = Some(read_cursor(&row, keys)?);
            }
        }
    }
    let mut outputs = Vec::with_capacity(found.len());
    for place in found {
        let values = std::iter::once(Value::from(MAX_REQUEST_BYTES)).chain(place);
        let condition = "outputs.job = ? AND outputs.task_id = ? AND outputs.kind = ? AND outputs.idx = ?";
        outputs.extend(cards(connection, condition, params_from_iter(values))?);
    }
    Ok(OutputPage { outputs, next: last.filter(|_| has_more) })
}

fn cards(
    connection: &Connection,
    condition: &str,
    values: impl Params,
) -> Result<Vec<LibraryOutput>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{CARD} WHERE {condition}"))?;
    statement.query_and_then(values, read_card)?.collect()
}

fn read_card(row: &Row<'_>) -> Result<LibraryOutput, StoreError> {
    let labels: String = row.get("labels")?;
    Ok(LibraryOutput {
        job: row.get("id")?,
        name: row.get("name")?,
        model: row.get("model")?,
        batch: batch_id(row.get("batch")?),
        file_name: row.get("file_name")?,
        cost: row.get("cost_quota")?,
        prompt: row.get("prompt")?,
        labels: serde_json::from_str(&labels)
            .map_err(|_| StoreError::UnknownWord { what: "labels", value: labels })?,
        request: row.get("request")?,
        is_adopted: row.get("adopted")?,
        key: OutputKey { kind: row.get("kind")?, index: row.get("idx")? },
        number: row.get("number")?,
        file: read_stored(row)?,
        rating: row.get("rating")?,
    })
}

impl OutputOrder {
    /// The table that is read in this order, with its index.
    fn source(self) -> &'static str {
        match self {
            Self::Newest => "outputs INDEXED BY outputs_by_time",
            Self::BestRated => "outputs INDEXED BY outputs_by_rating",
            Self::MostExpensive => "jobs INDEXED BY jobs_by_cost CROSS JOIN outputs ON outputs.job = jobs.nr",
        }
    }

    /// What to order by, descending. The keys of an output are those of no other.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Newest => &["stored_at", "outputs.job", "outputs.task_id", "kind", "idx"],
            Self::BestRated => {
                &["rating_order", "stored_at", "outputs.job", "outputs.task_id", "kind", "idx"]
            }
            Self::MostExpensive => &["jobs.cost_quota", "jobs.nr", "outputs.task_id", "kind", "idx"],
        }
    }
}

/// Outputs that follow each other in an order.
enum Range {
    All,
    After(OutputCursor),
    /// After this output, of jobs with the same cost.
    SameCost(OutputCursor),
    LowerCost(Value),
}

/// The outputs after a cursor. By cost there are two ranges: in one, the index of another table is entered by the cost alone,
/// and all jobs of that cost would be read again.
fn ranges(filter: &OutputFilter, order: OutputOrder, cursor: Option<OutputCursor>) -> Vec<Range> {
    match cursor {
        None => vec![Range::All],
        Some(cursor) if order == OutputOrder::MostExpensive && filter.batch.is_none() => {
            let cost = cursor.0[0].clone();
            vec![Range::SameCost(cursor), Range::LowerCost(cost)]
        }
        Some(cursor) => vec![Range::After(cursor)],
    }
}

/// The statement of a range: the keys of each output, whether it matches, and its primary key.
fn select_page(filter: &OutputFilter, order: OutputOrder, range: Range) -> (String, Vec<Value>) {
    let (matches, mut values) = matches(filter);
    let mut conditions = vec!["outputs.state = 'stored'"];
    let source = match filter.batch {
        // A batch is small enough to be sorted.
        Some(batch) => {
            conditions.push("jobs.batch = ?");
            values.push(batch.into());
            "jobs INDEXED BY jobs_by_batch CROSS JOIN outputs ON outputs.job = jobs.nr"
        }
        None => order.source(),
    };
    if order == OutputOrder::MostExpensive {
        conditions.push("jobs.cost_quota IS NOT NULL");
    }
    for (bound, condition) in [(filter.since, "stored_at >= ?"), (filter.until, "stored_at < ?")] {
        if let Some(bound) = bound {
            conditions.push(condition);
            values.push(bound.millis().into());
        }
    }
    let keys = order.keys();
    let after = format!("({}) < ({})", keys.join(", "), vec!["?"; keys.len()].join(", "));
    match range {
        Range::All => {}
        Range::After(OutputCursor(cursor)) => {
            conditions.push(&after);
            values.extend(cursor);
        }
        Range::SameCost(OutputCursor(cursor)) => {
            // An index is entered only by the columns of its own table.
            conditions.extend(["jobs.cost_quota = ? AND jobs.nr <= ?", &after]);
            values.extend(cursor[..2].iter().cloned());
            values.extend(cursor);
        }
        Range::LowerCost(cost) => {
            conditions.push("jobs.cost_quota < ?");
            values.push(cost);
        }
    }
    let sql = format!(
        "SELECT {}, {matches}, outputs.job, outputs.task_id, outputs.kind, outputs.idx FROM {source} WHERE {}
         ORDER BY {} DESC LIMIT {}",
        keys.join(", "),
        conditions.join(" AND "),
        keys.join(" DESC, "),
        // A server sends all rows at once. One more says that there are more.
        MAX_EXAMINED + 1,
    );
    (sql, values)
}

/// Whether an output passes what no index finds, as an expression.
fn matches(filter: &OutputFilter) -> (String, Vec<Value>) {
    let has_words = format!(
        "EXISTS (SELECT 1 FROM jobs JOIN requests ON requests.job = jobs.nr WHERE jobs.nr = outputs.job AND {HAS_WORDS})"
    );
    let (mut conditions, mut values) = (vec!["true"], Vec::<Value>::new());
    let mut add = |condition, given: Vec<Value>| {
        conditions.push(condition);
        values.extend(given);
    };
    if let Some(kind) = filter.kind {
        add("outputs.kind = ?", vec![kind.into_str().to_owned().into()]);
    }
    match filter.rating {
        Some(RatingFilter::AtLeast(stars)) => add("outputs.rating >= ?", vec![i64::from(stars).into()]),
        Some(RatingFilter::Exactly(stars)) => add("outputs.rating = ?", vec![i64::from(stars).into()]),
        Some(RatingFilter::Unrated) => add("outputs.rating IS NULL", Vec::new()),
        None => {}
    }
    if let Some(folder) = &filter.folder {
        // `0` follows `/`.
        let bounds = vec![format!("{folder}/").into(), format!("{folder}0").into()];
        add("outputs.path >= ? AND outputs.path < ?", bounds);
    }
    for label in &filter.labels {
        add(
            "EXISTS (SELECT 1 FROM labels WHERE key = ? AND value = ? AND labels.job = outputs.job)",
            vec![label.key.clone().into(), label.value.clone().into()],
        );
    }
    if let Some(model) = &filter.model {
        add("(SELECT model FROM jobs AS of WHERE of.nr = outputs.job) = ?", vec![model.clone().into()]);
    }
    if let Some(text) = &filter.text {
        // Jobs are a table of their own in it, also where the outer statement reads them.
        add(&has_words, vec![text.clone().into()]);
    }
    (format!("coalesce({}, false)", conditions.join(" AND ")), values)
}

fn read_cursor(row: &Row<'_>, keys: usize) -> db::Result<OutputCursor> {
    (0..keys).map(|key| row.get(key)).collect::<Result<_, _>>().map(OutputCursor)
}

/// The statements of a page without a batch, so that a test can check their query plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    let orders = [
        ("newest outputs", OutputOrder::Newest),
        ("best outputs", OutputOrder::BestRated),
        ("expensive outputs", OutputOrder::MostExpensive),
    ];
    let statements = |(name, order): (&'static str, OutputOrder)| {
        let cursor = OutputCursor(vec![Value::Null; order.keys().len()]);
        let ranges = ranges(&OutputFilter::default(), order, Some(cursor)).into_iter();
        ranges.map(move |range| (name, select_page(&OutputFilter::default(), order, range).0))
    };
    let card = "WHERE outputs.job = ? AND outputs.task_id = ? AND outputs.kind = ? AND outputs.idx = ?";
    orders.into_iter().flat_map(statements).chain([("output", format!("{CARD} {card}"))]).collect()
}

#[cfg(test)]
mod tests;
