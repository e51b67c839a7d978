//! Sends the callbacks of the simulated provider when they are due, concurrently, each with a timeout.

use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::clock::Clock;
use crate::sandbox::outbox::Callback;
use crate::sandbox::shared_world::SharedWorld;

/// Runs until it is dropped.
pub(crate) async fn run(shared: SharedWorld, client: reqwest::Client, clock: Clock) {
    let mut changes = shared.subscribe();
    let mut in_flight: FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>> = FuturesUnordered::new();
    loop {
        let now = clock.now();
        // `change` wakes this loop too: calling it with nothing due would make the loop spin.
        let due = match shared.read(|world| world.next_due()) {
            Some(at) if at <= now => shared.change(|world| world.take_due_callbacks(now)),
            _ => Vec::new(),
        };
        for callback in due {
            in_flight.push(Box::pin(send(shared.clone(), client.clone(), clock.clone(), callback)));
        }
        let next = shared.read(|world| world.next_due());
        let wait = async {
            match next {
                Some(next) => clock.sleep(next.since(now)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            Some(()) = in_flight.next() => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

async fn send(shared: SharedWorld, client: reqwest::Client, clock: Clock, callback: Callback) {
    let mut request = client
        .post(callback.url.expose())
        .header("Content-Type", "application/json")
        .header("User-Agent", "dropreel-sandbox");
    // All attempts of one message have the same id.
    let id = format!("msg_{}_{}", callback.task_id, callback.number);
    for (name, value) in shared.signature_headers(&id, &callback.body, clock.now()) {
        request = request.header(name, value);
    }
    let request = request.body(callback.body).send();
    let limit = shared.callback_timeout();
    let status = match clock.within(limit, request).await {
        Some(Ok(response)) => Some(response.status().as_u16()),
        Some(Err(_)) | None => None,
    };
    let now = clock.now();
    shared.change(|world| world.callback_answered(callback.number, status, now));
}

/// The HTTP client for callbacks. It follows no redirect and uses no proxy.
///
/// # Errors
/// When the system's certificates cannot be read.
pub(crate) fn client() -> reqwest::Result<reqwest::Client> {
    // Fails if a provider is installed already, which is all this needs.
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[expect(clippy::disallowed_methods, reason = "the sandbox is another program in the same binary")]
    let builder = reqwest::Client::builder();
    builder.no_proxy().redirect(reqwest::redirect::Policy::none()).build()
}
