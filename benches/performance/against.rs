//! Two builds compared: the same parts, measured with one and the other in turn.

use std::collections::BTreeMap;
use std::path::Path;

use crate::bed;
use crate::figures::{Series, Table};
use crate::{Part, Wanted};

/// What a part measured with both builds, by table, row, column and place in the cell.
type Cells = BTreeMap<(usize, usize, usize, usize), [Series; 2]>;

/// The number that a cell begins with.
fn value(cell: &str) -> Option<f64> {
    let number: String = cell.chars().filter(|letter| *letter != ',').collect();
    let end = number.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(number.len());
    number[..end].parse().ok()
}

/// Measures a part with the build made with this harness and with `other`, one round each in turn. A ratio is taken round
/// by round: the other's figure by ours.
pub fn measure(part: Part, wanted: &Wanted, other: &Path) -> Vec<Table> {
    let builds = [bed::built(), other.to_owned()];
    let mut cells = Cells::new();
    let mut tables = Vec::new();
    for round in 0..wanted.rounds {
        for who in bed::shuffled(2, round) {
            bed::measure_with(&builds[who]);
            tables = part(&Wanted { rounds: 1, rows: wanted.rows });
            for (at, table) in tables.iter().enumerate() {
                for (row, texts) in table.rows.iter().enumerate() {
                    for (column, text) in texts.iter().enumerate().skip(1) {
                        for (place, value) in text.split(" / ").filter_map(value).enumerate() {
                            cells.entry((at, row, column, place)).or_default()[who].push(value);
                        }
                    }
                }
            }
        }
    }
    bed::measure_with(&builds[0]);
    let compared = |(at, table): (usize, &Table)| {
        let mut compared =
            Table::new(table.title.clone(), &["what", "this build", "the other", "other by this"]);
        for ((_, row, column, place), [ours, others]) in cells.range((at, 0, 0, 0)..(at + 1, 0, 0, 0)) {
            let place = if *place == 0 { "" } else { ", the second" };
            let name = format!("{}: {}{place}", table.rows[*row][0], table.head[*column]);
            compared.row(&[&name, &ours.shown(), &others.shown(), &others.by(ours).shown()]);
        }
        compared
    };
    tables.iter().enumerate().map(compared).collect()
}
