//! What the page is made of besides its text: a style, scripts, an icon. In the binary, and nothing from elsewhere.

use crate::server::admin::problem::Problem;
use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::{HttpResponse, web};

use crate::secret::sha256_hex;

/// A digest of all assets. It is in the address of each, which browsers may then keep for ever.
pub(super) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let texts: String = ASSETS.iter().map(|(_, _, text)| *text).collect();
    sha256_hex(texts.as_bytes())[..12].to_owned()
});

const SCRIPT: &str = "text/javascript; charset=utf-8";
const ASSETS: [(&str, &str, &str); 9] = [
    ("page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ("page.js", SCRIPT, include_str!("assets/page.js")),
    ("live.js", SCRIPT, include_str!("assets/live.js")),
    ("orders.js", SCRIPT, include_str!("assets/orders.js")),
    ("submit.js", SCRIPT, include_str!("assets/submit.js")),
    ("times.js", SCRIPT, include_str!("assets/times.js")),
    ("films.js", SCRIPT, include_str!("assets/films.js")),
    ("idiomorph.js", SCRIPT, include_str!("assets/idiomorph.js")),
];

/// `GET /assets/{version}/{name}`.
pub(super) async fn give(path: web::Path<(String, String)>) -> Result<HttpResponse, Problem> {
    let (version, name) = path.into_inner();
    let asset = ASSETS.iter().find(|(known, _, _)| *known == name && version == *VERSION);
    let (_, kind, text) = asset.ok_or_else(Problem::unknown_address)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, *kind))
        .insert_header((header::CACHE_CONTROL, "private, max-age=31536000, immutable"))
        .body(*text))
}
