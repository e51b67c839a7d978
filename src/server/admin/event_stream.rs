//! `GET /api/v1/events`: changes as they happen, as server-sent events (WHATWG HTML, section 9.2).

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::Stream;

use crate::api::event::{Hello, StreamEvent};
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::suspension::Suspension;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::query::Query;
use crate::server::admin::state::{AdminServer, AdminState};
use crate::server::admin::status::status_view;
use crate::server::answer_limit::hold;
use crate::store::error::StoreError;
use crate::store::notify::{Notifications, Topic};
use crate::store::slots::Slots;
use crate::watchers::OpenStream;

/// A comment is sent after this much silence, so that proxies and both ends know that the connection is
/// alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Least time between two reports of the slots, which change with every job.
const STATUS_PAUSE: Duration = Duration::from_secs(3);
/// Most changed jobs read at once; the rest follow right after.
const BATCH: u32 = 200;

/// The state of one stream.
struct EventStream {
    server: AdminServer,
    changes: Notifications,
    /// Only these jobs; all if empty.
    only: BTreeSet<JobId>,
    /// The last change that the client knows; `None`: only changes from now on.
    resume_after: Option<i64>,
    /// The last change read; `None` before the first read.
    last_change: Option<i64>,
    /// The suspensions last sent.
    suspensions: Option<Vec<Suspension>>,
    /// The slots last sent, and when.
    slots: Option<(Slots, Timestamp)>,
    /// The slots have changed too soon after that.
    has_newer_slots: bool,
    has_changes: bool,
    _watching: OpenStream,
}

/// `GET /api/v1/events`: changes as they happen.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "jobs",
    summary = "Changes as they happen, as server-sent events: `hello`, `job` (with an id to resume from) and `status`",
    params(
        ("after" = Option<i64>, Query, description = "Resume after this change; `Last-Event-ID` does the same"),
        ("job" = Option<Vec<String>>, Query, description = "Only this job, by its full id; repeatable")
    ),
    responses(
        (status = 200, description = "A stream without an end of its own", body = String, content_type = "text/event-stream"),
        ProblemResponses
    )
)]
pub(super) async fn stream_events(
    request: HttpRequest,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(&request, &["after", "job"])?;
    // A browser that reconnects sends this header; it is later than `after` of the original address.
    let last_event = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = last_event.or(query.number("after")?);
    let ids = query.values("job").map(|id| {
        JobId::parse(id).ok_or_else(|| Problem::bad_request(format!("`{id}` is not a full job id")))
    });
    let only = ids.collect::<Result<BTreeSet<_>, _>>()?;
    let permit = admin.event_streams.clone().try_acquire_owned();
    let permit =
        permit.map_err(|_| Problem::busy("too many event streams are open; close some of their readers"))?;
    let stream = EventStream::subscribe(admin.server.clone(), after, only);
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        // For proxies that would otherwise buffer the stream.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(stream.into_stream())
        .map_body(|_, body| hold(permit, body)))
}

impl EventStream {
    /// Subscribes before the first read, so that no change between the two is missed.
    fn subscribe(server: AdminServer, resume_after: Option<i64>, only: BTreeSet<JobId>) -> Self {
        let changes = server.store.listen(Topic::Changes);
        let watching = server.watchers.open_stream();
        // Its reader sees progress from now on.
        server.store.wake(Topic::Poll);
        Self {
            server,
            changes,
            only,
            resume_after,
            last_change: None,
            suspensions: None,
            slots: None,
            has_newer_slots: false,
            has_changes: true,
            _watching: watching,
        }
    }

    /// The stream ends when the daemon stops or the database cannot be read; clients reconnect.
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        futures_util::stream::unfold(self, |mut stream| async move {
            let text = stream.next().await?;
            Some((Ok(Bytes::from(text)), stream))
        })
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if *self.server.shutdown.borrow() {
                return None;
            }
            if self.has_changes {
                let events = self.read_events().await;
                let events =
                    events.inspect_err(|error| tracing::warn!("event stream ended: {error}")).ok()?;
                if !events.is_empty() {
                    return Some(events);
                }
                if self.has_changes {
                    continue;
                }
            }
            tokio::select! {
                biased;
                stopped = self.server.shutdown.wait_for(|stop| *stop) => { let _ = stopped; return None },
                () = self.changes.next() => self.has_changes = true,
                () = self.server.clock.sleep(STATUS_PAUSE), if self.has_newer_slots => self.has_changes = true,
                () = self.server.clock.sleep(KEEP_ALIVE) => return Some(": keep-alive\n\n".to_owned()),
            }
        }
    }

    /// The changes since the last read. A job that changed several times is sent once, as it is now.
    async fn read_events(&mut self) -> Result<String, StoreError> {
        let store = &self.server.store;
        let mut events = String::new();
        let after = match self.last_change {
            Some(last) => last,
            None => {
                // A number from the future belongs to another database; waiting for it would hide every
                // change.
                let newest = store.last_change().await?;
                let after = self.resume_after.map_or(newest, |after| after.min(newest));
                write_event(&mut events, None, &StreamEvent::Hello(Hello { change: after }));
                after
            }
        };
        self.last_change = Some(after);
        let changed = store.changes_since(after, BATCH).await?;
        self.has_changes = changed.len() == BATCH as usize;
        let suspensions = store.suspensions().await?;
        for details in &changed {
            self.last_change = Some(details.changed);
            if self.only.is_empty() || self.only.contains(&details.job.id()) {
                let view = details.view(self.server.library_dir(), &suspensions, self.server.clock.now());
                write_event(&mut events, Some(details.changed), &StreamEvent::Job(Box::new(view)));
            }
        }
        let (slots, now) = (store.slots(self.server.clock.now()).await?, self.server.clock.now());
        let are_slots_new = self.slots.as_ref().is_none_or(|(sent, _)| *sent != slots);
        let is_due = self.slots.as_ref().is_none_or(|(_, at)| now.since(*at) >= STATUS_PAUSE);
        self.has_newer_slots = are_slots_new && !is_due;
        if self.suspensions.as_ref() != Some(&suspensions) || (are_slots_new && is_due) {
            self.suspensions = Some(suspensions.clone());
            self.slots = Some((slots, now));
            self.has_newer_slots = false;
            let status = status_view(&self.server, suspensions).await?;
            write_event(&mut events, None, &StreamEvent::Status(status));
        }
        Ok(events)
    }
}

fn write_event(text: &mut String, id: Option<i64>, event: &StreamEvent) {
    // Strings, numbers and maps of strings always serialize, on one line: JSON escapes line ends.
    let (event, data) = (event.into_str(), serde_json::to_string(event).unwrap_or_default());
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // Writing to a string cannot fail.
    let _ = write!(text, "event: {event}\n{id}data: {data}\n\n");
}
