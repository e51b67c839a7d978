//! The pages of videos, and the posters that browsers send.

use rusqlite::Connection;

use super::*;
use crate::server::admin::tests::page::TEXTS;

/// The smallest part of a JPEG picture that tells its size.
fn jpeg(side: u8) -> Vec<u8> {
    let mut bytes = b"\xFF\xD8\xFF\xC0\x00\x0B\x08".to_vec();
    bytes.extend([0, side, 0, side]);
    bytes.extend(b"\x01\x01\x11\x00\xFF\xDA\x00\x02data\xFF\xD9");
    bytes
}

impl TestAdmin {
    /// Puts an output of the job into the library, with this name.
    fn store_file(&self, job: JobId, index: u16, name: &str) {
        let library = self.rig.folder.path().join("videos");
        std::fs::write(library.join(name), "clip").unwrap();
        #[allow(clippy::disallowed_methods, reason = "a test writes what the download stage would")]
        let connection = Connection::open(self.rig.folder.path().join("dropreel.db")).unwrap();
        connection
            .execute(
                "INSERT INTO outputs (job, task_id, kind, idx, position, state, tries, link_refusals, refusal_confirmed,
                    invalid_downloads, expires_at, path, bytes, sha256, host, stored_at)
                 SELECT nr, 'task-' || nr, 'video', ?2, ?2, 'stored', 0, 0, 0, 0, 0, ?3, 4, '', 'h', ?4
                 FROM jobs WHERE id = ?1",
                (job, index, name, NOW.millis()),
            )
            .unwrap();
    }

    async fn put_poster(&self, path: &str, media_type: &str, poster: &[u8]) -> TestResponse {
        let head = format!(
            "PUT {path} HTTP/1.1\r\nConnection: close\r\nHost: {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            self.server.address,
            poster.len()
        );
        self.server.send_raw([head.as_bytes(), poster].concat()).await
    }
}

#[actix_web::test]
async fn poster_is_kept_once_it_is_a_small_jpeg_picture() {
    let admin = TestAdmin::start();
    let job = admin.add_jobs(&["sakura"]).await[0];
    admin.store_file(job, 0, "sakura.mp4");
    let path = format!("/media/{job}/1/poster");
    assert_eq!(admin.get(&path).await.status, 404);
    assert!(admin.get("/videos").await.body.contains("<canvas"));
    let too_long = [jpeg(100), vec![0; 100_000]].concat();
    let cases: [(&str, &str, &[u8], u16); 7] = [
        (&path, "image/jpeg", b"<script>", 422),
        (&path, "image/jpeg", &jpeg(3), 422),
        (&path, "image/jpeg", &too_long, 413),
        (&path, "application/json", &jpeg(100), 415),
        (&path, "text/plain", &jpeg(100), 415),
        (&format!("/media/{job}/2/poster"), "image/jpeg", &jpeg(100), 404),
        ("/media/x/1/poster", "image/jpeg", &jpeg(100), 404),
    ];
    for (path, media_type, poster, status) in cases {
        let answer = admin.put_poster(path, media_type, poster).await;
        assert_eq!(answer.status, status, "{path} {media_type}: {answer:?}");
    }
    assert_eq!(admin.put_poster(&path, "image/jpeg", &jpeg(100)).await.status, 204);
    let kept = admin.rig.folder.path().join("videos/.sakura.mp4.poster.jpg");
    assert_eq!(std::fs::read(kept).unwrap(), jpeg(100));
    let page = admin.get("/videos").await.body;
    assert!(page.contains(&format!(r#"<img src="{path}""#)) && !page.contains("<canvas"), "{page}");
}

#[actix_web::test]
async fn grid_viewer_and_comparison_show_each_output() {
    let admin = TestAdmin::start();
    let jobs = admin.add_jobs(&["sakura", "storm"]).await;
    admin.store_file(jobs[0], 0, "sakura.mp4");
    admin.store_file(jobs[0], 1, "sakura-2.mp4");
    admin.store_file(jobs[1], 0, "storm.mp4");
    let grid = admin.get("/videos").await.body;
    for text in ["sakura", "sakura · 2", "storm"] {
        assert!(grid.contains(&format!(">{text}</a>")), "{text}: {grid}");
    }
    let view = admin.get(&format!("/videos/{}/2", jobs[0])).await.body;
    for text in ["2 of 2", "春天的樱花树下", "<dt>seed</dt><dd>1.10</dd>", "/videos/sakura-2.mp4"] {
        assert!(view.contains(text), "{text}: {view}");
    }
    let siblings = format!("/compare?o={}.2&#38;o={}.1", jobs[0], jobs[1]);
    assert!(view.contains(&siblings), "{view}");
    let compared = admin.get(&siblings.replace("&#38;", "&")).await;
    assert_eq!(compared.body.matches("<figure").count(), 2, "{compared:?}");
    for (path, status) in [
        ("/compare".to_owned(), 200),
        (format!("/compare?o={0}.1&o={0}.1", jobs[0]), 200),
        (format!("/compare?o={}.3", jobs[0]), 400),
        ("/compare?o=sakura".to_owned(), 400),
        (format!("/videos/{}/3", jobs[0]), 404),
        ("/videos/x/1".to_owned(), 404),
        ("/videos?cursor=%5B%5D".to_owned(), 400),
    ] {
        assert_eq!(admin.get(&path).await.status, status, "{path}");
    }
}

#[actix_web::test]
async fn texts_of_outputs_never_become_markup() {
    let admin = TestAdmin::start();
    let texts: Vec<&str> =
        TEXTS.lines().filter(|line| line.contains('<') && !line.starts_with('#')).collect();
    assert!(texts.len() >= 10, "{}", texts.len());
    for (number, text) in texts.iter().enumerate() {
        let hostile = |name: &str| Draft {
            prompt: Some(name.to_owned()),
            labels: [((*text).to_owned(), (*text).to_owned())].into(),
            body: json!({ "model": text, "prompt": text, *text: { *text: name } }).to_string(),
            model: (*text).to_owned(),
            ..draft(name)
        };
        let ids = admin.rig.add_jobs(vec![hostile(text), hostile(&format!("{text}2"))]).await;
        admin.store_file(ids[0], 0, &format!("{number}-a.mp4"));
        admin.store_file(ids[1], 0, &format!("{number}-b.mp4"));
        let query: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        for path in [
            "/videos".to_owned(),
            format!("/videos?q={query}&model={query}&label={query}%3D{query}&folder={query}"),
            format!("/videos/{}/1", ids[0]),
            format!("/compare?o={}.1&o={}.1", ids[0], ids[1]),
            format!("/compare?o={query}"),
        ] {
            let answer = admin.get(&path).await;
            assert!(answer.status < 500, "{path}: {answer:?}");
            assert!(!answer.body.contains(text), "{path} contains {text} unescaped");
            let policy = answer.header("content-security-policy").unwrap();
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        }
    }
}
