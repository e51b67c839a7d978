//! Compares texts word by word; Chinese, Japanese and Korean character by character.

use std::ops::Range;

/// The longest middle parts that are compared word by word: the product of their lengths. Longer ones, which no prompt
/// has, count as different as a whole.
const MAX_COMPARISONS: usize = 4_000_000;

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub text: String,
    /// It is not in the text compared with.
    pub differs: bool,
}

/// Compares the first text with each of the others. Of the first, what is missing in any other differs.
pub(super) fn compare(texts: &[&str]) -> Vec<Vec<Piece>> {
    let Some((first, others)) = texts.split_first() else { return Vec::new() };
    let first = tokens(first);
    let mut first_differs = vec![false; first.len()];
    let mut compared = vec![Vec::new()];
    for other in others {
        let other = tokens(other);
        let (missing, added) = differences(&first, &other);
        first_differs.iter_mut().zip(missing).for_each(|(differs, missing)| *differs |= missing);
        compared.push(pieces(&other, &added));
    }
    compared[0] = pieces(&first, &first_differs);
    compared
}

/// Words, single characters of scripts without spaces, and everything between words.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() && !stands_alone(c);
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if first.is_whitespace() {
            rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after;
    }
    tokens
}

/// Han, kana and hangul.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFF}')
}

/// Which tokens of each are not in their longest common subsequence.
fn differences(one: &[&str], other: &[&str]) -> (Vec<bool>, Vec<bool>) {
    let start = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one_rest, other_rest) = (&one[start..], &other[start..]);
    let end = one_rest.iter().rev().zip(other_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (one_middle, other_middle) = (start..one.len() - end, start..other.len() - end);
    let (mut missing, mut added) = (vec![false; one.len()], vec![false; other.len()]);
    missing[one_middle.clone()].fill(true);
    added[other_middle.clone()].fill(true);
    if one_middle.len() * other_middle.len() <= MAX_COMPARISONS {
        for (at, other_at) in common(one, one_middle, other, other_middle) {
            missing[at] = false;
            added[other_at] = false;
        }
    }
    (missing, added)
}

/// The places of a longest common subsequence.
fn common(
    one: &[&str],
    one_part: Range<usize>,
    other: &[&str],
    other_part: Range<usize>,
) -> Vec<(usize, usize)> {
    let (rows, columns) = (one_part.len(), other_part.len());
    let (one_start, other_start) = (one_part.start, other_part.start);
    let (one_part, other_part) = (&one[one_part], &other[other_part]);
    // The length of the longest one of what follows each pair of places.
    let mut lengths = vec![0_u32; (rows + 1) * (columns + 1)];
    let cell = |row: usize, column: usize| row * (columns + 1) + column;
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            lengths[cell(row, column)] = if one_part[row] == other_part[column] {
                lengths[cell(row + 1, column + 1)] + 1
            } else {
                lengths[cell(row + 1, column)].max(lengths[cell(row, column + 1)])
            };
        }
    }
    let (mut row, mut column, mut places) = (0, 0, Vec::new());
    while row < rows && column < columns {
        if one_part[row] == other_part[column] {
            places.push((one_start + row, other_start + column));
            (row, column) = (row + 1, column + 1);
        } else if lengths[cell(row + 1, column)] >= lengths[cell(row, column + 1)] {
            row += 1;
        } else {
            column += 1;
        }
    }
    places
}

/// Joins neighbours. Space between two different words differs with them.
fn pieces(tokens: &[&str], differ: &[bool]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_between = token.trim().is_empty()
            && at.checked_sub(1).is_some_and(|before| differ[before])
            && differ.get(at + 1) == Some(&true);
        let differs = is_between || (differ[at] && !token.trim().is_empty());
        match pieces.last_mut() {
            Some(last) if last.differs == differs => last.text.push_str(token),
            _ => pieces.push(Piece { text: (*token).to_owned(), differs }),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The texts with what differs in brackets.
    fn marked(texts: &[&str]) -> Vec<String> {
        let mark =
            |piece: &Piece| if piece.differs { format!("[{}]", piece.text) } else { piece.text.clone() };
        compare(texts).iter().map(|pieces| pieces.iter().map(mark).collect()).collect()
    }

    #[test]
    fn words_and_single_characters_that_differ_are_marked() {
        let cases: [(&[&str], &[&str]); 9] = [
            (&["a red boat", "a blue boat"], &["a [red] boat", "a [blue] boat"]),
            (&["a red boat", "a red boat at dawn"], &["a red boat", "a red boat [at dawn]"]),
            (&["slow dolly in", "fast pan"], &["[slow dolly in]", "[fast pan]"]),
            (&["春天的樱花树下", "秋天的枫树下"], &["[春]天的[樱花]树下", "[秋]天的[枫]树下"]),
            (&["rain, night", "rain; night"], &["rain[,] night", "rain[;] night"]),
            (&["a b c", "a x c", "a b y"], &["a [b c]", "a [x] c", "a b [y]"]),
            (&["same", "same"], &["same", "same"]),
            (&["", "new"], &["", "[new]"]),
            (&["alone"], &["alone"]),
        ];
        for (texts, expected) in cases {
            assert_eq!(marked(texts), expected);
        }
        assert!(compare(&[]).is_empty());
    }

    #[test]
    fn very_long_texts_differ_as_a_whole_between_their_ends() {
        let long = |word: &str| format!("start {} end", vec![word; 2500].join(" "));
        let compared = compare(&[&long("a"), &long("b")]);
        assert_eq!(compared[1].len(), 3);
        assert!(compared[1][1].differs && compared[1][1].text.starts_with("b b"));
    }

    proptest! {
        #[test]
        fn pieces_are_the_whole_text(one in "[ab 春天,]{0,12}", other in "[ab 春天,]{0,12}") {
            for (pieces, text) in compare(&[&one, &other]).iter().zip([&one, &other]) {
                prop_assert_eq!(&pieces.iter().map(|piece| piece.text.as_str()).collect::<String>(), text);
            }
            let equal = compare(&[&one, &one]);
            prop_assert!(equal.iter().flatten().all(|piece| !piece.differs));
        }
    }
}
