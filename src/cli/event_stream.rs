//! The daemon's event stream, parsed line by line (HTML standard, "Server-sent events").

use reqwest::Response;

use crate::api::event::StreamEvent;
use crate::api::status::StatusView;
use crate::cli::received::ReceivedJob;

/// A message of the stream.
#[derive(Debug)]
pub(crate) struct Message {
    /// The number of the change; a stream opened after it continues with the next one.
    pub change: Option<i64>,
    pub event: ReceivedEvent,
}

/// A [`StreamEvent`], with jobs as they were sent.
#[derive(Debug)]
pub(crate) enum ReceivedEvent {
    Hello,
    Job(Box<ReceivedJob>),
    Status(StatusView),
}

pub(crate) struct EventStream {
    response: Response,
    parser: Parser,
}

#[derive(Default)]
struct Parser {
    unread: Vec<u8>,
    name: String,
    data: String,
    id: Option<i64>,
}

impl EventStream {
    pub fn new(response: Response) -> Self {
        Self { response, parser: Parser::default() }
    }

    /// The next message; `None` when the stream has ended or broken off.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.parser.next() {
                return Some(message);
            }
            let chunk = self.response.chunk().await.ok().flatten()?;
            self.parser.unread.extend_from_slice(&chunk);
        }
    }
}

impl Parser {
    fn next(&mut self) -> Option<Message> {
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if let Some(message) = self.finish_message() {
                    return Some(message);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.name),
                "id" => self.id = value.parse().ok(),
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

    /// `None` for a comment, and for what another version of the daemon may send.
    fn finish_message(&mut self) -> Option<Message> {
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        let id = self.id.take();
        let event = StreamEvent::parse(&name, &data)?.ok()?;
        let (change, event) = match event {
            StreamEvent::Hello(hello) => (id.or(Some(hello.change)), ReceivedEvent::Hello),
            StreamEvent::Job(_) => (id, ReceivedEvent::Job(serde_json::from_str(&data).ok()?)),
            StreamEvent::Status(status) => (id, ReceivedEvent::Status(status)),
        };
        Some(Message { change, event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_parsed_across_any_cut() {
        let status = r#"{"version":"1","counts":{},"#;
        let rest = r#""suspensions":[],"message":"a"}"#;
        let stream = format!(
            ": a comment\n\nevent: status\nid: 7\ndata: {status}\r\ndata: {rest}\n\nevent: news\ndata: 1\n\n\
             event: hello\ndata: {{\"change\":9}}\n\n"
        );
        for cut in 0..stream.len() {
            let mut parser = Parser::default();
            let mut messages = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                parser.unread.extend_from_slice(part.as_bytes());
                while let Some(message) = parser.next() {
                    messages.push(message);
                }
            }
            let [first, second] = messages.as_slice() else { panic!("cut at {cut}: {messages:?}") };
            assert!(
                matches!(&first.event, ReceivedEvent::Status(status) if status.message.as_deref() == Some("a"))
            );
            assert_eq!((first.change, second.change), (Some(7), Some(9)));
        }
    }
}
