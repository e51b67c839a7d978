//! The state diagram in ARCHITECTURE.md shows what `src/job/step/table.txt` says, and that table shows what the code does.

use std::collections::BTreeMap;

use crate::source;

const BEGIN: &str =
    "<!-- states: written by `DROPREEL_GOLDEN=write cargo test --test architecture states` -->\n";
const END: &str = "<!-- end of states -->\n";

/// Width of the event column in the table.
const EVENT_WIDTH: usize = 33;

/// Which events lead from one state to another.
fn transitions(table: &str) -> BTreeMap<(String, String), Vec<String>> {
    let mut transitions: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let first_word = |text: &str| text.split([' ', ',']).next().unwrap_or_default().to_owned();
    let mut from = String::new();
    for line in table.lines().filter(|line| !line.is_empty()) {
        if let Some(heading) = line.strip_prefix("## ") {
            from = first_word(heading);
            continue;
        }
        let (event, outcome) = line.split_at(EVENT_WIDTH.min(line.len()));
        let to = first_word(outcome.trim());
        if to == from || to == "-" || to == "rejected" || to == "refused" || to.is_empty() {
            continue;
        }
        // Variants of one event, "completed, two outputs", are one arrow.
        let event = event.split(',').next().unwrap_or_default().trim().replace(": ", " ");
        let events = transitions.entry((from.clone(), to)).or_default();
        if !events.contains(&event) {
            events.push(event);
        }
    }
    transitions
}

fn diagram(table: &str) -> String {
    let mut lines =
        vec!["```mermaid".to_owned(), "stateDiagram-v2".to_owned(), "    [*] --> pending".to_owned()];
    for ((from, to), events) in transitions(table) {
        lines.push(format!("    {from} --> {to}: {}", events.join(", ")));
    }
    lines.push("    succeeded --> [*]".to_owned());
    lines.push("```\n".to_owned());
    lines.join("\n")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test may read the environment")]
fn state_diagram_follows_the_table_of_events() {
    let table = std::fs::read_to_string(source::root().join("src/job/step/table.txt")).expect("the table");
    let page = source::root().join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&page).expect("ARCHITECTURE.md");
    let (before, rest) = text.split_once(BEGIN).expect("the diagram's first marker");
    let (_, after) = rest.split_once(END).expect("the diagram's last marker");
    let expected = format!("{before}{BEGIN}{}{END}{after}", diagram(&table));
    assert!(transitions(&table).len() > 20, "the table is not read any more");
    if std::env::var_os("DROPREEL_GOLDEN").is_some() {
        std::fs::write(&page, &expected).expect("ARCHITECTURE.md can be written");
    } else {
        assert!(text == expected, "the diagram is out of date");
    }
}
