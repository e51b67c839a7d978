//! Media hosts that answer as no server of ours does: odd answers that hold a whole file, and hosts that hold up others.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::evidence::{conclude, log_of, record_drop};
use crate::support::checker::{OTHER_HOST, When};
use crate::support::{Rig, quick};

const ANSWERS: &str = include_str!("media-answers.jsonl");
const CLIP: &[u8] = include_bytes!("../../src/sandbox/clips/wide-dawn.mp4");
const SOUND: &[u8] = include_bytes!("../../src/sandbox/clips/chord.mp3");
const PICTURE: &[u8] = include_bytes!("../../src/sandbox/clips/picture.jpg");
const PAGE: &[u8] = b"<!DOCTYPE html><title>Not found</title><p>This page is no longer here.</p>";

#[derive(Deserialize)]
struct Answer {
    name: String,
    head: String,
    #[serde(default)]
    body: String,
    outcome: String,
}

/// What a host sends, and what the library must hold.
struct Content {
    kind: &'static str,
    sent: Vec<u8>,
    stored: Vec<u8>,
}

impl Content {
    fn of(words: &str) -> Self {
        let plain = |kind, bytes: Vec<u8>| Self { kind, sent: bytes.clone(), stored: bytes };
        let tail = [7; 200];
        match words {
            // What a redirect leads to.
            "" | "whole MP4" => plain("video", CLIP.to_vec()),
            "whole MP4 of 40000 bytes" => {
                let padding = 40_000 - CLIP.len();
                let mut clip = CLIP.to_vec();
                clip.extend(u32::try_from(padding).unwrap().to_be_bytes());
                clip.extend(b"free");
                clip.resize(40_000, 0);
                plain("video", clip)
            }
            "MP4, bytes 8..12 set to iso8 or hvc1" => {
                let mut clip = CLIP.to_vec();
                clip[8..12].copy_from_slice(b"hvc1");
                plain("video", clip)
            }
            "MP4 + 200 bytes" => plain("video", [CLIP, &tail].concat()),
            "JPEG + 200 bytes" => plain("image", [PICTURE, &tail].concat()),
            "PNG + 200 bytes" => {
                let chunk = |kind: &[u8], content: &[u8]| {
                    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
                    [&length, kind, content, b"CRC."].concat()
                };
                let chunks = [chunk(b"IHDR", &[1; 13]), chunk(b"IDAT", &[2; 300]), chunk(b"IEND", b"")];
                plain("image", [b"\x89PNG\r\n\x1a\n", &chunks.concat()[..], &tail].concat())
            }
            "RIFF FFFFFFFF WAVE ... data FFFFFFFF, then samples" => {
                let format = b"fmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0";
                let head = [b"RIFF\xFF\xFF\xFF\xFFWAVE", &format[..], b"data\xFF\xFF\xFF\xFF"].concat();
                plain("audio", [&head[..], &[3; 4000]].concat())
            }
            "whole MP3, last chunk sent" => plain("audio", SOUND.to_vec()),
            "whole WebM, last chunk sent" => {
                let head = b"\x1A\x45\xDF\xA3\x9F\x42\x86\x81\x01\x42\x82\x84webm\x42\x87\x81\x04";
                plain("video", [&head[..], &[0x55; 5000]].concat())
            }
            "SVG" => plain(
                "image",
                b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'></svg>\n".to_vec(),
            ),
            "HTML" => plain("image", PAGE.to_vec()),
            "gzip of whole MP4" => Self { sent: gzip(CLIP), ..plain("video", CLIP.to_vec()) },
            "gzip of whole MP4, cut" => {
                Self { sent: gzip(CLIP)[..4000].to_vec(), ..plain("video", Vec::new()) }
            }
            "gzip of HTML" => Self { sent: gzip(PAGE), ..plain("video", Vec::new()) },
            _ => panic!("no body for {words:?}"),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A host at an address of its own. `serve` has each connection once its request has been read.
async fn host<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream, String) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((OTHER_HOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let serve = serve.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let read = socket.read(&mut request).await.unwrap_or(0);
                serve(socket, String::from_utf8_lossy(&request[..read]).into_owned()).await;
            });
        }
    });
    address
}

async fn answering(head: &str, body: Vec<u8>) -> SocketAddr {
    let (head, moved) = (head.to_owned(), head.contains("Location"));
    let latin = head.contains("caf");
    host(move |mut socket, request| {
        let (head, body) = (head.clone(), body.clone());
        let host = request
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("host: ").map(str::to_owned));
        async move {
            // The redirect is for the first request, whose path has no name of a file.
            let followed = request.starts_with("GET /x?name=") || request.starts_with("GET /caf%");
            let head = match moved && followed {
                true => "HTTP/1.1 200 OK\r\nContent-Length: N".to_owned(),
                false => head.replace("HOST", &host.unwrap_or_default()),
            };
            let head = head.replace("Length: N", &format!("Length: {}", body.len()));
            let chunked = head.contains("Transfer-Encoding: chunked");
            let head = format!("{head}\r\nConnection: close\r\n\r\n");
            let head = if latin { head.replace('é', "\u{1}").into_bytes() } else { head.into_bytes() };
            let head: Vec<u8> = head.into_iter().map(|byte| if byte == 1 { 0xE9 } else { byte }).collect();
            let body = match (chunked, moved && !followed) {
                (_, true) => Vec::new(),
                (true, _) => [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat(),
                (false, _) => body,
            };
            let _ = socket.write_all(&[head, body].concat()).await;
            let _ = socket.shutdown().await;
        }
    })
    .await
}

#[tokio::test]
async fn odd_answer_with_a_whole_file_is_stored() {
    let rig = Rig::start("").await;
    let mut log = log_of(&rig);
    let answers: Vec<Answer> = ANSWERS.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // These two hold up others: see below.
    let answers: Vec<_> =
        answers.iter().filter(|answer| !matches!(answer.name.as_str(), "drip" | "silent")).collect();
    for (number, answer) in answers.iter().enumerate() {
        let content = Content::of(&answer.body);
        let address = answering(&answer.head, content.sent).await;
        let name = format!("answer-{number}");
        let file = quick(&name, &format!("kind={} media-host={address}", content.kind));
        record_drop(&mut log, &format!("{name}.json"), &file, Some(1));
        rig.drop(&format!("{name}.json"), file);
    }
    rig.until_settled(answers.len()).await;
    for (number, answer) in answers.iter().enumerate() {
        let job = rig.job(&format!("answer-{number}")).await;
        let expected = if answer.outcome == "held" { "held" } else { "succeeded" };
        assert_eq!(job["state"], expected, "{}: {job:#}", answer.name);
        if expected == "held" {
            assert!(job["reason"].as_str().unwrap().contains("quarantine/answer-"), "{job:#}");
        } else {
            let path = rig.path("videos").join(job["files"][0]["path"].as_str().unwrap());
            assert!(std::fs::read(path).unwrap() == Content::of(&answer.body).stored, "{}", answer.name);
        }
    }
    conclude(rig, &log, When::Finally).await;
}

/// Drops `count` videos, and returns how long all of them took.
async fn time_of_videos(rig: &Rig, count: usize) -> Duration {
    let began = Instant::now();
    for number in 0..count {
        rig.drop(&format!("video-{number}.json"), quick(&format!("video-{number}"), "size=256KiB"));
    }
    for number in 0..count {
        rig.until(&format!("video-{number}"), &["succeeded"]).await;
    }
    began.elapsed()
}

/// Accepts the connection and says nothing.
async fn silent_host() -> SocketAddr {
    host(|socket, _| async move {
        let _socket = socket;
        std::future::pending::<()>().await;
    })
    .await
}

/// Sends 2 KiB a second.
async fn dripping_host() -> SocketAddr {
    host(|mut socket, _| async move {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\nETag: \"v1\"\r\n\r\n\0\0\0\x18ftypisom";
        let mut sent = socket.write_all(head.as_bytes()).await;
        while sent.is_ok() {
            tokio::time::sleep(Duration::from_millis(250)).await;
            sent = socket.write_all(&[0; 512]).await;
        }
    })
    .await
}

/// A healthy download that a busy machine makes look slow waits until the first sick one gives its slot away, after ten
/// seconds. Each sick one would take half an hour.
const TURN: Duration = Duration::from_secs(45);

#[tokio::test]
async fn hosts_that_drip_or_stay_silent_stop_no_others() {
    let rig = Rig::start("").await;
    let usual = time_of_videos(&rig, 40).await;
    rig.finish().await;

    // Links of the very host that has the videos.
    let rig = Rig::start("").await;
    for number in 0..20 {
        let name = format!("drip-{number}");
        rig.drop(&format!("{name}.json"), quick(&name, "size=4MiB media=drip:2KiBxall"));
    }
    rig.until("drip-19", &["downloading"]).await;
    let beside = time_of_videos(&rig, 40).await;
    println!("forty videos took {usual:?}, and {beside:?} beside sick links");
    assert!(beside < usual * 2 + TURN, "{beside:?} instead of {usual:?}\n{}", rig.output());
    rig.finish().await;

    let rig = Rig::start("").await;
    let sick = (0..54).map(async |number| match number % 13 {
        0 if number < 52 => ("drip", number, dripping_host().await),
        _ => ("silent", number, silent_host().await),
    });
    for (kind, number, address) in futures_util::future::join_all(sick).await {
        let name = format!("{kind}-{number}");
        rig.drop(&format!("{name}.json"), quick(&name, &format!("media-host={address}")));
    }
    let beside = time_of_videos(&rig, 40).await;
    println!("forty videos took {usual:?}, and {beside:?} beside sick hosts");
    assert!(beside < usual * 2 + TURN, "{beside:?} instead of {usual:?}\n{}", rig.output());
    let jobs = rig.all_jobs().await;
    let waiting = jobs.iter().filter(|job| job["state"] == "downloading").count();
    assert_eq!((jobs.len(), waiting), (94, 54), "the sick ones are not given up");
    rig.finish().await;
}
