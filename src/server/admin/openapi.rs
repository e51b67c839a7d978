//! `GET /api/v1/openapi.json`: the OpenAPI document. A test generates it from the handlers; the program holds its text, which
//! is half a megabyte smaller than what generates it.

use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, web};

use crate::server::admin::state::AdminState;

/// `servers` is left out: the API is wherever the client found it.
const DOCUMENT: &str = include_str!("../../../schema/openapi.json");

/// `GET /api/v1/openapi.json`.
pub(super) async fn get_openapi(_admin: web::Data<AdminState>) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(DOCUMENT)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use strum::VariantArray;
    use utoipa::OpenApi;

    use crate::api::problem::ProblemDetails;
    use crate::job::state::StateName;
    use crate::server::admin::{
        adopt, again, batches, bulk, control, edit, estimate, event_stream, export, jobs, models, pictures,
        prune, rate, report, upload,
    };

    #[derive(OpenApi)]
    #[openapi(
        info(
            title = "dropreel",
            description = "The admin API of dropreel: list, submit and control jobs. It listens on this machine only by \
                default; where a token is set, send it as `Authorization: Bearer TOKEN`."
        ),
        paths(
            jobs::list_jobs,
            upload::submit_jobs,
            estimate::estimate_jobs,
            pictures::upload_picture,
            pictures::get_picture,
            jobs::get_job,
            jobs::run_action,
            again::run_again,
            edit::edit_job,
            rate::rate_job,
            export::export_jobs,
            export::move_jobs,
            export::acknowledge_moved,
            bulk::run_bulk_action,
            adopt::adopt,
            batches::list_batches,
            event_stream::stream_events,
            report::get_report,
            models::get_models,
            control::get_status,
            control::pause,
            control::resume,
            control::rotate_callback_secret,
            prune::prune
        ),
        components(schemas(ProblemDetails)),
        tags(
            (name = "jobs", description = "Jobs and actions on them"),
            (name = "control", description = "The daemon as a whole")
        )
    )]
    struct ApiDocument;

    fn document() -> Value {
        serde_json::to_value(ApiDocument::openapi()).unwrap()
    }

    #[test]
    fn committed_openapi_document_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/openapi.json");
        let text = format!("{:#}\n", document());
        if std::env::var_os("DROPREEL_GOLDEN").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    }

    #[test]
    fn openapi_document_lists_all_job_states() {
        let states = &document()["components"]["schemas"]["JobState"]["enum"];
        assert_eq!(
            states,
            &serde_json::json!(StateName::VARIANTS.iter().map(StateName::into_str).collect::<Vec<_>>())
        );
    }

    #[test]
    fn operation_ids_are_unique() {
        let document = document();
        let paths = document["paths"].as_object().unwrap().values();
        let operations = paths.flat_map(|path| path.as_object().unwrap().values());
        let ids: Vec<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        let unique: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(unique.len(), ids.len(), "{ids:?}");
    }
}
