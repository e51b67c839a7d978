//! Sends the simulated provider's callbacks: when they are due, side by side, each with its own time limit.

use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::clock::Clock;
use crate::sandbox::outbox::Callback;
use crate::sandbox::server::Shared;

/// Sends until it is dropped.
pub(crate) async fn run(shared: Shared, client: reqwest::Client, clock: Clock) {
    let mut news = shared.news();
    let mut under_way: FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>> = FuturesUnordered::new();
    loop {
        let now = clock.now();
        // A task that has ended of itself rings too; without anything due, ringing would only wake ourselves.
        let due = match shared.look(|world| world.next_due()) {
            Some(at) if at <= now => shared.change(|world| world.due(now)),
            _ => Vec::new(),
        };
        for callback in due {
            under_way.push(Box::pin(send(shared.clone(), client.clone(), clock.clone(), callback)));
        }
        let next = shared.look(|world| world.next_due());
        let wait = async {
            match next {
                Some(next) => clock.sleep(next.since(now)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            Some(()) = under_way.next() => {}
            changed = news.changed() => if changed.is_err() { return },
        }
    }
}

async fn send(shared: Shared, client: reqwest::Client, clock: Clock, callback: Callback) {
    let mut request = client
        .post(callback.url.expose())
        .header("Content-Type", "application/json")
        .header("User-Agent", "dropreel-sandbox");
    // All tries of one message carry its one id.
    let id = format!("msg_{}_{}", callback.task_id, callback.number);
    for (name, value) in shared.signed(&id, &callback.body, clock.now()) {
        request = request.header(name, value);
    }
    let request = request.body(callback.body).send();
    let limit = shared.callback_timeout();
    let status = match clock.within(limit, request).await {
        Some(Ok(answer)) => Some(answer.status().as_u16()),
        Some(Err(_)) | None => None,
    };
    let now = clock.now();
    shared.change(|world| world.callback_answered(callback.number, status, now));
}

/// The client callbacks are sent with: it goes where it is told, once, and nowhere else.
///
/// # Errors
/// When the system's certificates cannot be read.
pub(crate) fn client() -> reqwest::Result<reqwest::Client> {
    // A second call finds the first one's provider in place, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[expect(clippy::disallowed_methods, reason = "the sandbox is another program in the same binary")]
    let builder = reqwest::Client::builder();
    builder.no_proxy().redirect(reqwest::redirect::Policy::none()).build()
}
