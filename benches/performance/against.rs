//! Compares two builds: measures the same parts with both in turn.

use std::collections::BTreeMap;
use std::path::Path;

use crate::harness;
use crate::tables::{Series, Table, value};
use crate::{Options, Part};

/// The values of a part for both builds, by table, row, column and place in the cell.
type Cells = BTreeMap<(usize, usize, usize, usize), [Series; 2]>;

/// Measures a part with this build and with `other`, one round each in turn. A ratio is the other build's value divided by
/// this build's, per round.
pub fn measure(part: Part, options: &Options, other: &Path) -> Vec<Table> {
    let builds = [harness::built(), other.to_owned()];
    let mut cells = Cells::new();
    let mut tables = Vec::new();
    for round in 0..options.rounds {
        for who in harness::random_order(2, round) {
            harness::measure_with(&builds[who]);
            tables = part(&Options { rounds: 1, rows: options.rows, files: options.files });
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
    harness::measure_with(&builds[0]);
    let compared = |(at, table): (usize, &Table)| {
        let mut compared =
            Table::new(table.title.clone(), &["what", "this build", "the other", "other by this"]);
        for ((_, row, column, place), [this, others]) in cells.range((at, 0, 0, 0)..(at + 1, 0, 0, 0)) {
            let place = if *place == 0 { "" } else { ", the second" };
            let name = format!("{}: {}{place}", table.rows[*row][0], table.head[*column]);
            compared.row(&[&name, &this.to_text(), &others.to_text(), &others.ratio_to(this).to_text()]);
        }
        compared
    };
    tables.iter().enumerate().map(compared).collect()
}
