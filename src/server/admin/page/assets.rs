//! The static files of the page, compiled into the binary.

use crate::server::admin::problem::Problem;
use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::{HttpResponse, web};

use crate::sha256::sha256_hex;

/// A digest of all assets. It is part of their addresses, so browsers may cache them forever.
pub(super) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let contents: String = ASSETS.iter().map(|(_, _, content)| *content).collect();
    sha256_hex(contents.as_bytes())[..12].to_owned()
});

const SCRIPT: &str = "text/javascript; charset=utf-8";
/// Name, media type and content.
const ASSETS: &[(&str, &str, &str)] = &[
    ("page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
    ("videos.css", "text/css; charset=utf-8", include_str!("assets/videos.css")),
    ("list.css", "text/css; charset=utf-8", include_str!("assets/list.css")),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ("page.js", SCRIPT, include_str!("assets/page.js")),
    ("live.js", SCRIPT, include_str!("assets/live.js")),
    ("actions.js", SCRIPT, include_str!("assets/actions.js")),
    ("texts.js", SCRIPT, include_str!("assets/texts.js")),
    ("parts.js", SCRIPT, include_str!("assets/parts.js")),
    ("review.js", SCRIPT, include_str!("assets/review.js")),
    ("storage.js", SCRIPT, include_str!("assets/storage.js")),
    ("form.js", SCRIPT, include_str!("assets/form.js")),
    ("json_text.js", SCRIPT, include_str!("assets/json_text.js")),
    ("picture_field.js", SCRIPT, include_str!("assets/picture_field.js")),
    ("rework.js", SCRIPT, include_str!("assets/rework.js")),
    ("submit.js", SCRIPT, include_str!("assets/submit.js")),
    ("keys.js", SCRIPT, include_str!("assets/keys.js")),
    ("list.js", SCRIPT, include_str!("assets/list.js")),
    ("times.js", SCRIPT, include_str!("assets/times.js")),
    ("gallery.js", SCRIPT, include_str!("assets/gallery.js")),
    ("videos.js", SCRIPT, include_str!("assets/videos.js")),
    ("viewer.js", SCRIPT, include_str!("assets/viewer.js")),
    ("view.js", SCRIPT, include_str!("assets/view.js")),
    ("posters.js", SCRIPT, include_str!("assets/posters.js")),
    ("ratings.js", SCRIPT, include_str!("assets/ratings.js")),
    ("compare.js", SCRIPT, include_str!("assets/compare.js")),
    ("idiomorph.js", SCRIPT, include_str!("assets/idiomorph.js")),
];

/// `GET /assets/{version}/{name}`.
pub(super) async fn get_asset(path: web::Path<(String, String)>) -> Result<HttpResponse, Problem> {
    let (version, name) = path.into_inner();
    let asset = ASSETS.iter().find(|(known, _, _)| *known == name && version == *VERSION);
    let (_, media_type, content) = asset.ok_or_else(Problem::unknown_address)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, *media_type))
        .insert_header((header::CACHE_CONTROL, "private, max-age=31536000, immutable"))
        .body(*content))
}
