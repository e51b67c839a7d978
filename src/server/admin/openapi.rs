//! `GET /api/v1/openapi.json`: the API described for programs, made from the code that answers.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::Value;
use utoipa::OpenApi;

use crate::server::admin::{Admin, answer, bulk, control, intake, jobs, prune, report};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "dropreel",
        description = "The admin door of dropreel: see and steer jobs. It listens on this machine; where a token is set, \
            send it as `Authorization: Bearer TOKEN`."
    ),
    paths(
        jobs::list,
        intake::take,
        jobs::show,
        jobs::order,
        bulk::order,
        jobs::events,
        report::report,
        control::status,
        control::pause,
        control::resume,
        control::rotate_callback_secret,
        prune::prune
    ),
    tags((name = "jobs", description = "Jobs and orders for them"), (name = "line", description = "All of them at once"))
)]
struct Described;

/// The description. `servers` is left out: it is wherever one asked.
fn described() -> Value {
    serde_json::to_value(Described::openapi()).unwrap_or_default()
}

/// `GET /api/v1/openapi.json`.
pub(super) async fn give(_admin: web::Data<Admin>) -> HttpResponse {
    answer(StatusCode::OK, &described())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::state::StateName;

    #[test]
    fn the_committed_description_is_the_one_of_this_version() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/openapi.json");
        let text = format!("{:#}\n", described());
        if std::env::var_os("DROPREEL_GOLDEN").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    }

    #[test]
    fn it_knows_the_states_that_there_are() {
        let states = &described()["components"]["schemas"]["JobState"]["enum"];
        assert_eq!(states, &serde_json::json!(StateName::ALL.map(StateName::as_str)));
    }
}
