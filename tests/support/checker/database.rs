//! Reads a copy of the database file and its write-ahead log with SQL of the checker's own.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

/// The rows that the checker needs.
#[derive(Default)]
pub struct Snapshot {
    pub jobs: Vec<Row>,
    pub batches: Vec<Row>,
    pub attempts: Vec<Row>,
    pub spending: Vec<Row>,
    pub outputs: Vec<Row>,
    pub history: Vec<Row>,
    pub deliveries: Vec<Row>,
    pub suspensions: Vec<Row>,
    /// Tables not named above, for the search for secrets.
    pub others: Vec<(String, Row)>,
    pub integrity: String,
    pub foreign_keys_broken: usize,
    pub journal_mode: String,
}

/// One row, by column.
#[derive(Clone, Debug)]
pub struct Row(pub BTreeMap<String, Value>);

impl Row {
    /// The value of a column. Panics without one: after a rename the checker would check nothing.
    fn value(&self, column: &str) -> &Value {
        self.0.get(column).unwrap_or_else(|| panic!("the table has no column {column}"))
    }

    /// The text of a column; empty if null.
    pub fn text(&self, column: &str) -> &str {
        match self.value(column) {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// The bytes of a column; empty if it has another type.
    pub fn bytes(&self, column: &str) -> &[u8] {
        match self.value(column) {
            Value::Blob(bytes) => bytes,
            _ => &[],
        }
    }

    pub fn is_set(&self, column: &str) -> bool {
        *self.value(column) != Value::Null
    }

    pub fn number(&self, column: &str) -> Option<i64> {
        match self.value(column) {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The number of a column that is never null.
    pub fn count(&self, column: &str) -> i64 {
        self.number(column).unwrap_or(i64::MIN)
    }
}

impl Snapshot {
    /// Copies the database with its log and reads the copy, so that the original does not change.
    pub fn take(data_dir: &Path) -> Result<Self, String> {
        let place = tempfile::tempdir_in(scratch()).map_err(|error| error.to_string())?;
        let copy = place.path().join("copy.db");
        let from = data_dir.join("dropreel.db");
        if !from.exists() {
            // The daemon was killed before it created one, so there must be no job anywhere.
            return Ok(Self { integrity: "ok".into(), journal_mode: "wal".into(), ..Self::default() });
        }
        std::fs::copy(&from, &copy).map_err(|error| format!("{}: {error}", from.display()))?;
        let log = data_dir.join("dropreel.db-wal");
        if log.exists() {
            std::fs::copy(&log, place.path().join("copy.db-wal")).map_err(|error| error.to_string())?;
        }
        Self::read(&copy).map_err(|error| error.to_string())
    }

    fn read(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            return Ok(Self { integrity: "ok".into(), journal_mode: "wal".into(), ..Self::default() });
        }
        let mut tables: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        let mut names = connection.prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
        )?;
        let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for name in names {
            let mut statement = connection.prepare(&format!("SELECT * FROM \"{name}\" ORDER BY 1, 2"))?;
            let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
            let rows = statement.query_map([], |row| {
                let value = |(place, column): (usize, &String)| Ok((column.clone(), row.get(place)?));
                Ok(Row(columns.iter().enumerate().map(value).collect::<rusqlite::Result<_>>()?))
            })?;
            tables.insert(name, rows.collect::<Result<_, _>>()?);
        }
        let word = |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0));
        let mut broken = connection.prepare("PRAGMA foreign_key_check")?;
        let foreign_keys_broken = broken.query_map([], |_| Ok(()))?.count();
        let mut take = |name: &str| tables.remove(name).unwrap_or_default();
        let (mut jobs, mut batches) = (take("jobs"), take("batches"));
        // What a kill left staged is not there: nobody sees it, and the next start deletes it.
        let is_staged = |batch: &Row| batch.number("staged") == Some(1);
        let staged: Vec<i64> =
            batches.iter().filter(|row| is_staged(row)).map(|row| row.count("nr")).collect();
        batches.retain(|batch| !is_staged(batch));
        jobs.retain(|job| !staged.contains(&job.count("batch")));
        Ok(Self {
            jobs,
            batches,
            attempts: take("attempts"),
            spending: take("spending"),
            outputs: take("outputs"),
            history: take("history"),
            deliveries: take("deliveries"),
            suspensions: take("suspensions"),
            integrity: word("integrity_check")?,
            journal_mode: word("journal_mode")?,
            foreign_keys_broken,
            others: tables
                .into_iter()
                .flat_map(|(name, rows)| rows.into_iter().map(move |row| (name.clone(), row)))
                .collect(),
        })
    }

    /// A job by the number of its row.
    pub fn job(&self, nr: i64) -> Option<&Row> {
        self.jobs.iter().find(|job| job.number("nr") == Some(nr))
    }

    /// A job by its id.
    pub fn job_by_id(&self, id: &str) -> Option<&Row> {
        self.jobs.iter().find(|job| job.text("id") == id)
    }
}

/// A folder in memory, if there is one: copies should not slow down the disk under test.
fn scratch() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Whether this state is final.
pub fn is_end(state: &str) -> bool {
    ["succeeded", "failed", "cancelled", "expired"].contains(&state)
}
