//! The page's media route: serves a job's own files, whole and in ranges, and nothing else.

use crate::support::{Rig, quick};

async fn get(rig: &Rig, path: &str, range: Option<&str>) -> reqwest::Response {
    let request = reqwest::Client::new().get(format!("{}{path}", rig.admin()));
    let request = match range {
        Some(range) => request.header("range", range),
        None => request,
    };
    request.send().await.unwrap()
}

#[tokio::test]
async fn media_route_serves_ranges_of_stored_files_only() {
    let rig = Rig::start("").await;
    rig.drop("clip.json", quick("clip", ""));
    let job = rig.until("clip", &["succeeded"]).await;
    let id = job["id"].as_str().unwrap();
    let stored = std::fs::read(job["files"][0]["path"].as_str().unwrap()).unwrap();
    let address = format!("/media/{id}/1");

    let whole = get(&rig, &address, None).await;
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.headers()["content-type"], "video/mp4");
    assert_eq!(whole.headers()["x-content-type-options"], "nosniff");
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    assert_eq!(whole.headers()["cache-control"], "private, no-cache");
    assert_eq!(whole.bytes().await.unwrap(), stored);

    let part = get(&rig, &address, Some("bytes=100-199")).await;
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], format!("bytes 100-199/{}", stored.len()).as_str());
    assert_eq!(part.bytes().await.unwrap(), stored[100..200]);
    assert_eq!(get(&rig, &address, Some("bytes=99999999-")).await.status(), 416);

    let elsewhere = [
        format!("/media/{id}/0"),
        format!("/media/{id}/2"),
        format!("/media/{id}/1/..%2f..%2fdropreel.db"),
        "/media/clip/1".to_owned(),
        "/media/..%2f..%2fetc%2fpasswd/1".to_owned(),
        format!("/media/{}/1", id.replace(id.split('-').next().unwrap(), "00000000")),
    ];
    for path in elsewhere {
        assert_eq!(get(&rig, &path, None).await.status(), 404, "{path}");
    }
    let page = get(&rig, "/", None).await.text().await.unwrap();
    assert!(page.contains(&format!(r#"data-src="{address}""#)), "{page}");
    let page = get(&rig, "/jobs/clip", None).await.text().await.unwrap();
    assert!(page.contains(job["files"][0]["sha256"].as_str().unwrap()), "{page}");

    let (path, aside) = (job["files"][0]["path"].as_str().unwrap(), rig.beside("aside.mp4"));
    std::fs::rename(path, &aside).unwrap();
    assert_eq!(get(&rig, &address, None).await.status(), 404);
    for target in [aside.clone(), rig.path("callback.secret")] {
        std::os::unix::fs::symlink(target, path).unwrap();
        assert_eq!(get(&rig, &address, None).await.status(), 404, "a link is followed");
        std::fs::remove_file(path).unwrap();
    }
    std::fs::rename(&aside, path).unwrap();
    assert_eq!(get(&rig, &address, None).await.status(), 200);
    rig.finish().await;
}
