//! The event stream of the admin door, read line by line (HTML standard, "Server-sent events").

use reqwest::Response;
use serde_json::Value;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// What it tells of: `hello`, `job`, `status`.
    pub kind: String,
    /// The number of the change, if it has one.
    pub change: Option<i64>,
    /// What it tells.
    pub data: Value,
}

/// The stream.
pub(crate) struct EventStream {
    response: Response,
    reader: Reader,
}

#[derive(Default)]
struct Reader {
    unread: Vec<u8>,
    kind: String,
    data: String,
    change: Option<i64>,
}

impl EventStream {
    pub fn new(response: Response) -> Self {
        Self { response, reader: Reader::default() }
    }

    /// The next event; `None` when the stream has ended or broken off.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.reader.next() {
                return Some(event);
            }
            let chunk = self.response.chunk().await.ok().flatten()?;
            self.reader.unread.extend_from_slice(&chunk);
        }
    }
}

impl Reader {
    fn next(&mut self) -> Option<Event> {
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if let Some(event) = self.finish() {
                    return Some(event);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.kind),
                "id" => self.change = value.parse().ok(),
                "data" => {
                    if !self.data.is_empty() {
                        self.data.push('\n');
                    }
                    self.data.push_str(value);
                }
                _ => {}
            }
        }
        None
    }

    fn finish(&mut self) -> Option<Event> {
        let (kind, data) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data));
        let change = self.change.take();
        (!data.is_empty()).then(|| Event {
            kind,
            change,
            data: serde_json::from_str(&data).unwrap_or(Value::Null),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_across_any_cut() {
        let stream =
            ": a comment\n\nevent: job\nid: 7\ndata: {\"name\":\r\ndata: \"a\"}\n\nevent: hello\ndata: 1\n\n";
        for cut in 0..stream.len() {
            let mut reader = Reader::default();
            let mut events = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                reader.unread.extend_from_slice(part.as_bytes());
                while let Some(event) = reader.next() {
                    events.push(event);
                }
            }
            assert_eq!(events.len(), 2, "cut at {cut}");
            assert_eq!((events[0].change, events[0].data["name"].as_str()), (Some(7), Some("a")));
            assert_eq!(events[1].kind, "hello");
        }
    }
}
