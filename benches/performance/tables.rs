//! Series of measurements and the tables that show them.

use std::fmt;

use crate::host::Host;

/// The document that has all tables.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");

/// One value, measured several times.
#[derive(Clone, Default)]
pub struct Series(pub Vec<f64>);

impl Series {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The ratio to `other`, per round.
    pub fn ratio_to(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, other)| own / other).collect())
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        sorted[sorted.len() / 2]
    }

    /// The value below which this share of the measurements is.
    pub fn quantile(&self, share: f64) -> f64 {
        let sorted = self.sorted();
        sorted[((sorted.len() - 1) as f64 * share).round() as usize]
    }

    /// Median with minimum and maximum, if there are several values: `12.3 (11.0–14.5)`.
    pub fn to_text(&self) -> String {
        let sorted = self.sorted();
        let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
        if sorted.len() == 1 {
            return number(least);
        }
        format!("{} ({}–{})", number(self.median()), number(least), number(most))
    }
}

/// Three significant digits, with commas between thousands.
pub fn number(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { 2 - value.abs().log10().floor() as i32 };
    if digits > 0 {
        return format!("{value:.0$}", digits.min(3) as usize);
    }
    let whole = format!("{:.0}", value.abs());
    let mut spaced = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            spaced.push(',');
        }
        spaced.push(digit);
    }
    if value < 0.0 { format!("-{spaced}") } else { spaced }
}

/// The number that a cell begins with.
pub fn value(cell: &str) -> Option<f64> {
    let number: String = cell.chars().filter(|letter| *letter != ',').collect();
    let end = number.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(number.len());
    number[..end].parse().ok()
}

/// A Markdown table.
pub struct Table {
    pub title: String,
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: impl Into<String>, head: &[&'static str]) -> Self {
        Self { title: title.into(), head: head.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|cell| (*cell).to_owned()).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "**{}**\n", self.title)?;
        writeln!(f, "| {} |", self.head.join(" | "))?;
        writeln!(f, "|{}", " --- |".repeat(self.head.len()))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}

/// Where the tables of a part are in docs/performance.md.
struct Place {
    before: String,
    between: String,
    after: String,
}

impl Place {
    fn of(part: &str) -> Self {
        let text = std::fs::read_to_string(DOCUMENT).unwrap();
        let (begin, end) = (format!("<!-- {part} -->\n"), format!("<!-- end of {part} -->"));
        let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no marker for {part}"));
        let (between, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no end marker for {part}"));
        Self {
            before: format!("{before}{begin}"),
            between: between.to_owned(),
            after: format!("{end}{after}"),
        }
    }
}

/// Writes the tables of a part between its markers in docs/performance.md, in place of those that it has of this host.
/// Without a host, in place of all.
pub fn write(part: &str, tables: &[Table], host: Option<&Host>) {
    let Place { before, between, after } = Place::of(part);
    let tables: Vec<String> = tables.iter().map(ToString::to_string).collect();
    let tables = tables.join("\n");
    let between = match host {
        Some(host) => with_host(&between, &host.name, &format!("{host}\n\n{tables}")),
        None => tables,
    };
    std::fs::write(DOCUMENT, format!("{before}\n{}\n\n{after}", between.trim())).unwrap();
}

/// Puts what one host measured in the place of what it measured before, or behind the other hosts.
fn with_host(between: &str, name: &str, measured: &str) -> String {
    let mut hosts: Vec<String> = Vec::new();
    for line in between.trim().lines() {
        match hosts.last_mut() {
            Some(host) if !line.starts_with("On **") => *host = format!("{host}\n{line}"),
            _ => hosts.push(line.to_owned()),
        }
    }
    let begin = format!("On **{name}**");
    match hosts.iter_mut().find(|host| host.starts_with(&begin)) {
        Some(host) => *host = measured.to_owned(),
        None => hosts.push(measured.to_owned()),
    }
    hosts.iter().map(|host| host.trim()).collect::<Vec<_>>().join("\n\n")
}

/// Reads the rows of all the tables of a part from docs/performance.md.
pub fn read(part: &str) -> Vec<Vec<String>> {
    let place = Place::of(part);
    let rows = place.between.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(str::to_owned).collect()).collect()
}
