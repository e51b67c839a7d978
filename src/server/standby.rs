//! The servers of a daemon that waits because another one leads, which is to use the database that both share. Every
//! request is answered that it waits: a proxy in front of both sends callbacks to the other one, and who sends them without
//! a proxy tries again.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use parking_lot::RwLock;

use crate::api::data_dir::{DATA_DIR_HEADER, DataDir};
use crate::api::problem::ProblemDetails;
use crate::clock::Clock;
use crate::server::connection_limits::{ConnectionLimits, ConnectionTimeouts};

/// No answer takes long.
const TIMEOUTS: ConnectionTimeouts = ConnectionTimeouts {
    head: Duration::from_secs(5),
    keep_alive: Duration::from_secs(5),
    linger: Duration::from_secs(2),
    idle: Duration::from_secs(10),
    answer: Some(Duration::from_secs(30)),
};
/// Most connections of a listener at a time.
const MAX_CONNECTIONS: usize = 128;
/// After how many seconds to try again.
const RETRY_AFTER: &str = "5";

/// The only metric: others would be wrong, and `dropreel_ready 0` would raise an alarm.
const METRICS: &str = "# HELP dropreel_leads 1 if this daemon leads, 0 if it waits because another one does.\n\
                       # TYPE dropreel_leads gauge\ndropreel_leads 0\n# EOF\n";

/// Who leads, for people; it may change while a daemon waits.
pub type Leader = Arc<RwLock<String>>;

/// What a waiting daemon says of itself.
pub fn describe(leader: &str) -> String {
    format!("this daemon waits: {leader} leads; it takes over within 10 seconds once that one is gone")
}

/// Starts the public server. Unlike that of the daemon that leads, it is not healthy, so that no proxy sends callbacks to it.
///
/// # Errors
/// If the listener is not usable.
pub fn serve_public(listener: TcpListener, clock: Clock) -> io::Result<Server> {
    let connections = ConnectionLimits::new(clock, TIMEOUTS, MAX_CONNECTIONS);
    connections.serve(listener, |routes| {
        routes.default_service(web::to(|| async {
            let mut answer = HttpResponse::ServiceUnavailable();
            answer.insert_header((header::RETRY_AFTER, RETRY_AFTER)).force_close();
            answer.content_type("text/plain; charset=utf-8").body("another daemon leads")
        }));
    })
}

/// Starts the admin server. It is alive, and not ready.
///
/// # Errors
/// If the listener is not usable.
pub fn serve_admin(
    listener: TcpListener,
    data_dir: &Path,
    leader: Leader,
    clock: Clock,
) -> io::Result<Server> {
    let connections = ConnectionLimits::new(clock, TIMEOUTS, MAX_CONNECTIONS);
    let state = web::Data::new((leader, DataDir::of(data_dir).to_header()));
    connections.serve(listener, move |routes| {
        routes.app_data(state.clone()).default_service(web::to(answer_admin));
    })
}

async fn answer_admin(request: HttpRequest, state: web::Data<(Leader, String)>) -> HttpResponse {
    let text = match request.path() {
        "/healthz" => Some("ok"),
        "/metrics" => Some(METRICS),
        _ => None,
    };
    if let Some(text) = text {
        return HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text);
    }
    let (leader, data_dir) = state.get_ref();
    let detail = describe(&leader.read());
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let problem = ProblemDetails {
        r#type: "about:blank".to_owned(),
        title: "Service Unavailable".to_owned(),
        status: status.as_u16(),
        ready: Some(false),
        reasons: Some(vec![detail.clone()]),
        detail,
        ..ProblemDetails::default()
    };
    let mut answer = HttpResponse::build(status);
    answer.insert_header((header::RETRY_AFTER, RETRY_AFTER));
    answer.insert_header((DATA_DIR_HEADER, data_dir.as_str())).force_close();
    answer.content_type("application/problem+json").body(serde_json::to_string(&problem).unwrap_or_default())
}
