//! Text for people: no control characters of others, short sizes and durations, tables that fit.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, presets};

use crate::job::state::StateName;
use crate::money::Quota;

/// The text without what a terminal would act on: control characters, and marks that change the direction of a line,
/// become dots. Every text that is not ours (names, prompts, provider messages, paths) passes through here.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || changes_direction(c) { '·' } else { c }).collect()
}

/// Bidirectional marks, and the line and paragraph separators among them.
fn changes_direction(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Dollars and cents, rounded like every amount that people see.
pub(crate) fn usd(value: f64) -> String {
    Quota::from_usd(value).map_or_else(|| format!("${value}"), |quota| quota.to_string())
}

/// A state's word, coloured if `colours`.
pub(crate) fn state_word(state: StateName, colours: bool) -> String {
    let code = match state {
        StateName::Succeeded => "32",
        StateName::Failed | StateName::Expired => "31",
        StateName::Held => "33;1",
        StateName::Processing | StateName::Downloading => "36",
        StateName::Pending | StateName::Submitting | StateName::Queued | StateName::Cancelled => "",
    };
    match code {
        code if colours && !code.is_empty() => format!("\u{1b}[{code}m{state}\u{1b}[0m"),
        _ => state.to_string(),
    }
}

/// A table without rules, one line per row, that knows the width of CJK text. Where `width` is too narrow, the first
/// column (names) is cut and the others stay whole, so that an id can always be copied.
pub(crate) fn table(headers: &[&str], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headers.to_vec());
    for row in rows {
        let mut row = Row::from(row.iter().map(|cell| printable(cell)).collect::<Vec<_>>());
        row.max_height(1);
        table.add_row(row);
    }
    match width {
        None => table.set_content_arrangement(ContentArrangement::Disabled),
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
    };
    for column in table.column_iter_mut().skip(1) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// `1 job`, `3 jobs`
pub(crate) fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `1.2 MiB`
pub(crate) fn bytes(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// `42s`, `7m`, `3h`, `5d`
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}m", seconds / 60),
        6_000..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_cent_is_rounded_up_as_in_reports() {
        for (value, expected) in [(1.125, "$1.13"), (0.0, "$0.00"), (0.001, "<$0.01"), (2.0, "$2.00")] {
            assert_eq!(usd(value), expected);
        }
    }

    #[test]
    fn control_characters_become_dots() {
        assert_eq!(printable("a\u{1b}[31mred\u{7}\r\nb\u{202E}c"), "a·[31mred···b·c");
        assert_eq!(printable("\u{9b}2J \u{2028}\u{200F}"), "·2J ··");
        assert_eq!(printable("春天"), "春天");
        assert_eq!(table(&["NAME"], vec![vec!["a\u{1b}b".into()]], None), " NAME\n a·b");
    }

    #[test]
    fn table_measures_wide_characters() {
        let rows = vec![vec!["春天".into(), "x".into()], vec!["ab".into(), "y".into()]];
        for width in [None, Some(40)] {
            assert_eq!(table(&["NAME", "S"], rows.clone(), width), " NAME  S\n 春天  x\n ab    y");
        }
    }

    #[test]
    fn long_names_are_cut_and_ids_stay_whole() {
        let id = "01a2069b-5192-7000-8002-4ba8a661699c";
        let cell = |name: &str| vec![vec![name.to_owned(), id.to_owned()]];
        for name in ["scene ".repeat(30), "樱花".repeat(60), "x".repeat(200)] {
            let cut = table(&["NAME", "ID"], cell(&name), Some(60));
            let lines: Vec<&str> = cut.lines().collect();
            assert_eq!(lines.len(), 2, "{cut}");
            assert!(lines[1].contains('…') && lines[1].ends_with(id), "{cut}");
            assert!(table(&["NAME", "ID"], cell(&name), None).contains(name.trim_end()));
        }
    }

    #[test]
    fn durations_and_sizes_are_short() {
        assert_eq!([42, 420, 11_000, 432_000].map(duration), ["42s", "7m", "3h", "5d"]);
        assert_eq!(bytes(1_258_291), "1.2 MiB");
        assert_eq!([count(1, "job"), count(0, "file")], ["1 job", "0 files"]);
    }
}
