//! Text for people: no control characters of others, short sizes and durations, tables that fit.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

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

/// The value behind `before`, its further lines below the first.
pub(crate) fn hang(before: &str, value: &str, width: Option<u16>) -> String {
    let indent = before.width();
    let width = width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(indent).max(MIN_TEXT));
    let mut text = before.to_owned();
    for (number, line) in wrap(value, width).iter().enumerate() {
        if number > 0 {
            text.truncate(text.trim_end().len());
            text.push_str(&format!("\n{:indent$}", ""));
        }
        text.push_str(line);
    }
    text.truncate(text.trim_end().len());
    text
}

/// The beginning of the text that fits `width` columns; what was cut ends in `…`.
pub(crate) fn cut(text: &str, width: u16) -> String {
    let cut = table(&[Column::cut("")], vec![vec![text.to_owned()]], Some(width));
    cut.lines().nth(1).unwrap_or_default().to_owned()
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

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    header: &'static str,
    /// Its part of the width where the table is too wide; 0: it stays whole.
    part: u16,
    alignment: CellAlignment,
}

impl Column {
    /// Text that is cut where the table is too wide, as names are.
    pub const fn cut(header: &'static str) -> Self {
        Self { header, part: 1, alignment: CellAlignment::Left }
    }

    /// The same for sentences, which need twice as much.
    pub const fn sentence(header: &'static str) -> Self {
        Self { header, part: 2, alignment: CellAlignment::Left }
    }

    /// Text that stays whole, so that an id can always be copied.
    pub const fn whole(header: &'static str) -> Self {
        Self { header, part: 0, alignment: CellAlignment::Left }
    }

    /// Numbers, which stay whole.
    pub const fn number(header: &'static str) -> Self {
        Self { header, part: 0, alignment: CellAlignment::Right }
    }
}

/// Spaces between two columns.
const GAP: u16 = 2;
/// A column is not cut to less.
const MIN_WIDTH: u16 = 4;
/// Text is not wrapped to less.
const MIN_TEXT: usize = 20;

/// A table without rules, one line per row, that knows the width of CJK text. Where `width` is too narrow, the columns that
/// may be cut share what the others leave.
pub(crate) fn table(columns: &[Column], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| column.header));
    for row in rows {
        let mut row = Row::from(row.iter().map(|cell| printable(cell)).collect::<Vec<_>>());
        row.max_height(1);
        table.add_row(row);
    }
    let needed = table.column_max_content_widths();
    let widths = width.map_or_else(|| needed.clone(), |width| share_width(columns, &needed, width));
    let last = columns.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        let gap = if index == last { 0 } else { GAP };
        column.set_padding((0, gap));
        if let Some(Column { alignment, .. }) = columns.get(index) {
            column.set_cell_alignment(*alignment);
        }
        if widths[index] < needed[index] {
            column
                .set_constraint(ColumnConstraint::Absolute(Width::Fixed(widths[index].saturating_add(gap))));
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// How wide each column may be: those that may be cut get as much as they need, or their parts of what is left.
fn share_width(columns: &[Column], needed: &[u16], width: u16) -> Vec<u16> {
    let part = |index: usize| columns.get(index).map_or(0, |column| column.part);
    let (mut cut, whole): (Vec<usize>, Vec<usize>) = (0..needed.len()).partition(|index| part(*index) > 0);
    let gaps = GAP.saturating_mul(u16::try_from(needed.len().saturating_sub(1)).unwrap_or(u16::MAX));
    let taken = whole.iter().map(|index| needed[*index]).fold(gaps, u16::saturating_add);
    let mut left = width.saturating_sub(taken);
    let mut parts: u16 = cut.iter().map(|index| part(*index)).sum();
    let mut widths = needed.to_vec();
    // The narrowest first: what it does not need is for the others.
    cut.sort_by_key(|index| needed[*index] / part(*index));
    for index in cut {
        let share = u32::from(left) * u32::from(part(index)) / u32::from(parts);
        widths[index] = needed[index].min(u16::try_from(share).unwrap_or(left).max(MIN_WIDTH));
        left = left.saturating_sub(widths[index]);
        parts -= part(index);
    }
    widths
}

/// The text in lines of at most `width` columns, broken between words, and inside words without spaces between them, as in
/// Chinese. A longer word in ASCII, such as a path, stays whole: it can be copied, and the terminal breaks it.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in printable(text).split(' ') {
        let space = if line.is_empty() { "" } else { " " };
        let fits = line.width() + space.len() + word.width() <= width;
        let is_broken = !word.is_ascii() && word.width() > width;
        if !fits && !is_broken && !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        } else {
            line.push_str(space);
        }
        if !is_broken {
            line.push_str(word);
            continue;
        }
        for c in word.chars() {
            if line.width() + c.width().unwrap_or(0) > width {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
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
        assert_eq!(table(&[Column::cut("NAME")], vec![vec!["a\u{1b}b".into()]], None), "NAME\na·b");
        assert_eq!(cut("a\u{1b}b", 9), "a·b");
    }

    #[test]
    fn table_measures_wide_characters() {
        let rows = vec![vec!["春天".into(), "7".into()], vec!["ab".into(), "12".into()]];
        for width in [None, Some(40)] {
            let columns = [Column::cut("NAME"), Column::number("N")];
            assert_eq!(table(&columns, rows.clone(), width), "NAME   N\n春天   7\nab    12");
        }
    }

    #[test]
    fn long_texts_share_the_width_and_ids_stay_whole() {
        const COLUMNS: [Column; 3] = [Column::cut("NAME"), Column::whole("ID"), Column::sentence("NOTE")];
        let id = "01a2069b-5192-7000-8002-4ba8a661699c";
        let texts = ["scene ".repeat(30), "樱花".repeat(60), "x".repeat(200), "short".to_owned()];
        for (name, note) in texts.iter().flat_map(|name| texts.iter().map(move |note| (name, note))) {
            let rows = || vec![vec![name.clone(), id.to_owned(), note.clone()]];
            let shown = table(&COLUMNS, rows(), Some(80));
            let row = shown.lines().nth(1).unwrap();
            assert!(row.contains(id) && row.width() <= 80, "{shown}");
            let cut_texts = [name, note].into_iter().filter(|text| text.len() > 9).count();
            assert_eq!((shown.lines().count(), row.matches('…').count()), (2, cut_texts), "{shown}");
            assert!(cut_texts == 0 || row.width() >= 75, "the width is used:\n{shown}");
            assert!(table(&COLUMNS, rows(), None).contains(name.trim_end()));
        }
    }

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrap("a stone bridge", 8), ["a stone", "bridge"]);
        assert_eq!(wrap("春天的樱花树下", 6), ["春天的", "樱花树", "下"]);
        assert_eq!(wrap("short", 6), ["short"]);
        assert_eq!(wrap("in /videos/a-long-name.mp4 now", 9), ["in", "/videos/a-long-name.mp4", "now"]);
        assert_eq!(wrap("at 春天的樱花 now", 6), ["at 春", "天的樱", "花 now"]);
        assert_eq!(
            hang("  why  ", "a stone bridge at dawn", Some(27)),
            "  why  a stone bridge at\n       dawn"
        );
        assert_eq!(hang("  why  ", "a stone bridge at dawn", None), "  why  a stone bridge at dawn");
        assert_eq!(hang("  why  ", "", Some(27)), "  why");
        assert_eq!(wrap("", 6), [""]);
        assert_eq!(cut("a stone bridge", 9), "a stone…");
    }

    #[test]
    fn durations_and_sizes_are_short() {
        assert_eq!([42, 420, 11_000, 432_000].map(duration), ["42s", "7m", "3h", "5d"]);
        assert_eq!(bytes(1_258_291), "1.2 MiB");
        assert_eq!([count(1, "job"), count(0, "file")], ["1 job", "0 files"]);
    }
}
