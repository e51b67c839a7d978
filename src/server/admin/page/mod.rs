//! The web page: an overview, batches, a list of jobs, each job in full, and the videos: as a grid, one by one, and compared.
//!
//! Pages are rendered here, as a whole (`templates`). Scripts (`assets`) fetch a page again when something
//! changes, take over the differences, and send actions to the API. So templates alone define how a page
//! looks, and it can be read without scripts. Nothing is loaded from other hosts.

mod assets;
mod batches;
mod bucket_media;
mod compare;
mod effects;
mod form_models;
mod format;
mod frame;
mod job;
mod language;
mod list;
mod media;
mod messages;
mod model_rows;
mod needs;
mod overview;
mod parameters;
mod pictures;
mod quarantine;
mod rework;
mod row;
mod timeline;
mod timing;
mod videos;

use actix_web::http::Method;
use actix_web::web;

use crate::server::admin::http::{get_or_head, resource};
pub(super) use language::choose_messages;
pub(super) use messages::Messages;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/", &[Method::GET]).route(get_or_head().to(overview::get_overview)))
        .service(resource("/jobs", &[Method::GET]).route(get_or_head().to(list::get_list)))
        .service(resource("/jobs/{job}", &[Method::GET]).route(get_or_head().to(job::get_job_page)))
        .service(resource("/batches", &[Method::GET]).route(get_or_head().to(batches::get_batches)))
        .service(resource("/videos", &[Method::GET]).route(get_or_head().to(videos::get_videos)))
        .service(
            resource("/videos/{job}/{number}", &[Method::GET])
                .route(get_or_head().to(videos::view::get_view)),
        )
        .service(resource("/compare", &[Method::GET]).route(get_or_head().to(compare::get_comparison)))
        .service(resource("/media/{job}/{number}", &[Method::GET]).route(get_or_head().to(media::get_media)))
        .service(
            resource("/media/{job}/{number}/poster", &[Method::GET, Method::PUT])
                .route(get_or_head().to(media::get_poster))
                .route(web::put().to(media::put_poster)),
        )
        .service(
            resource("/quarantine/{job}/{name}", &[Method::GET])
                .route(get_or_head().to(quarantine::get_quarantined)),
        )
        .service(resource("/pictures/{name}", &[Method::GET]).route(get_or_head().to(pictures::get_picture)))
        .service(
            resource("/language/{language}", &[Method::GET]).route(get_or_head().to(language::set_language)),
        )
        .service(
            resource("/assets/{version}/{name}", &[Method::GET]).route(get_or_head().to(assets::get_asset)),
        );
}
