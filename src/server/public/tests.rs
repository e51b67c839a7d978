//! The public door over real sockets, with friends and with others.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::secret::Secret;
use crate::server::rig::{Answer, Open, Rig, SOON, draft};
use crate::settings::SignatureScheme;

/// The default limits, several times as fast. actix-web counts its own from a clock that it reads every half second
/// only, so they may be that much shorter.
fn quick() -> PublicLimits {
    PublicLimits {
        patience: Patience {
            head: Duration::from_millis(900),
            keep_alive: Duration::from_millis(900),
            linger: Duration::from_millis(700),
            quiet: Duration::from_millis(2200),
            connections: 64,
        },
        body: BodyLimit { time: Duration::from_millis(800), ..PublicLimits::default().body },
    }
}

/// By then every bad socket is closed, on the slowest of machines; the limits above would do it in three seconds.
const CLOSED_BY: Duration = Duration::from_secs(15);

struct Stage {
    rig: Rig,
    door: Open,
    secrets: Arc<RwLock<CallbackSecrets>>,
    job: JobId,
    path: String,
}

impl Stage {
    async fn set() -> Self {
        Self::set_within(quick()).await
    }

    async fn set_within(limits: PublicLimits) -> Self {
        let rig = Rig::new();
        let job = rig.take_in(vec![draft("sakura")]).await[0];
        let secrets = CallbackSecrets::new(Secret::new("current"), vec![Secret::new("previous")]);
        let path = path_of(&secrets, &job.to_string());
        let secrets = Arc::new(RwLock::new(secrets));
        let door = open_within(limits, &rig, &secrets);
        Self { rig, door, secrets, job, path }
    }

    /// Another door to the same house.
    fn open_within(&self, limits: PublicLimits) -> Open {
        open_within(limits, &self.rig, &self.secrets)
    }

    /// Hands in so many callbacks, one after another. The median of their times.
    async fn serve(&self, count: usize, served: &mut u64) -> Duration {
        let mut times = Vec::new();
        for _ in 0..count {
            let began = Instant::now();
            assert_eq!(self.door.ask(&format!("POST {}", self.path), "{}").await.status, 204);
            times.push(began.elapsed());
            *served += 1;
        }
        times.sort();
        times[count / 2]
    }

    async fn kept(&self) -> u64 {
        self.rig.store.deliveries_of(self.job).await.unwrap()
    }

    fn head(&self, headers: &str) -> String {
        format!("POST {} HTTP/1.1\r\nHost: hooks.example.com\r\n{headers}\r\n", self.path)
    }
}

fn open_within(limits: PublicLimits, rig: &Rig, secrets: &Arc<RwLock<CallbackSecrets>>) -> Open {
    let public = PublicServer {
        store: rig.store.clone(),
        secrets: secrets.clone(),
        signature: None,
        clock: Clock::machine(),
    };
    Open::door(|listener| serve_within(limits, listener, public).unwrap())
}

fn path_of(secrets: &CallbackSecrets, job: &str) -> String {
    format!("/callbacks/{job}/{}", secrets.token(job).expose())
}

#[tokio::test]
async fn any_body_counts_as_a_knock_and_is_committed_before_the_204() {
    let stage = Stage::set().await;
    let bodies = ["", "{}", r#"{"task_id":"t","status":"completed"}"#, "not JSON", "\u{0}\u{1}"];
    for (body, kept) in bodies.iter().zip(1..) {
        let answer = stage.door.ask(&format!("POST {}", stage.path), body).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{body:?}");
        assert_eq!(stage.kept().await, kept, "{body:?}");
    }
    let deliveries = stage.rig.store.unfolded(10).await.unwrap();
    let received: Vec<_> = deliveries.iter().map(|delivery| delivery.body.as_slice()).collect();
    assert_eq!(received, bodies.map(str::as_bytes));
    for kind in ["text/plain", "application/x-www-form-urlencoded", "nonsense"] {
        let head = format!("POST {}?x=1\nContent-Type: {kind}", stage.path);
        assert_eq!(stage.door.ask(&head, "a=b").await.status, 204, "{kind}");
    }
}

#[tokio::test]
async fn a_chunked_body_of_just_the_allowed_length_is_kept() {
    let stage = Stage::set().await;
    let request = format!(
        "{}40000\r\n{}\r\n0\r\n\r\n",
        stage.head("Transfer-Encoding: chunked\r\nConnection: close\r\n"),
        "x".repeat(0x40000)
    );
    assert_eq!(stage.door.exchange(request).await.status, 204);
    assert_eq!(stage.rig.store.unfolded(1).await.unwrap()[0].body.len(), 256 * 1024);
}

#[tokio::test]
async fn everything_that_is_not_a_callback_gets_the_same_404() {
    let stage = Stage::set().await;
    let secrets = stage.secrets.read().unwrap().clone();
    let (job, token) = (stage.job.to_string(), secrets.token(&stage.job.to_string()));
    let token = token.expose();
    let nobody = "019d5cb9-2b40-7bbb-8ccc-1234567890ab";
    let last_but_one = if token.ends_with('A') { 'B' } else { 'A' };
    let cases = [
        format!("POST /callbacks/{job}/wrong"),
        format!("POST /callbacks/{job}/{}{last_but_one}", &token[..token.len() - 1]),
        format!("POST /callbacks/{job}/{token}="),
        format!("POST /callbacks/{job}/{token}/"),
        format!("POST /callbacks/{job}/%{:02X}{}", token.as_bytes()[0], &token[1..]),
        format!("POST /callbacks/{job}/"),
        format!("POST /callbacks/{}/{token}", job.to_uppercase()),
        format!("POST {}", path_of(&secrets, nobody)),
        format!("POST {}", path_of(&secrets, "no-job-id")),
        format!("POST //callbacks/{job}/{token}"),
        format!("GET {}", stage.path),
        format!("PUT {}", stage.path),
        format!("OPTIONS {}", stage.path),
        "GET /".into(),
        "POST /healthz".into(),
        "GET /api/v1/jobs".into(),
        "GET /metrics".into(),
    ];
    let without_date = |answer: &Answer| {
        let lines = answer.head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("date:"));
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
        lines.sort();
        (lines, answer.body.clone())
    };
    let expected = without_date(&stage.door.ask("POST /nothing", "{}").await);
    for case in cases {
        let answer = stage.door.ask(&case, "{}").await;
        assert_eq!(answer.status, 404, "{case}");
        assert_eq!(without_date(&answer), expected, "{case}");
    }
    assert_eq!(stage.kept().await, 0);
}

#[tokio::test]
async fn a_token_under_the_previous_secret_is_admitted_until_that_is_dropped() {
    let stage = Stage::set().await;
    let old = CallbackSecrets::new(Secret::new("previous"), Vec::new());
    let old_path = path_of(&old, &stage.job.to_string());
    assert_eq!(stage.door.ask(&format!("POST {old_path}"), "1").await.status, 204);
    *stage.secrets.write().unwrap() = CallbackSecrets::new(Secret::new("current"), Vec::new());
    assert_eq!(stage.door.ask(&format!("POST {old_path}"), "2").await.status, 404);
    assert_eq!(stage.kept().await, 1);
}

#[tokio::test]
async fn the_health_of_the_door_can_be_asked() {
    let stage = Stage::set().await;
    let answer = stage.door.ask("GET /healthz", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    assert_eq!(stage.door.ask("HEAD /healthz", "").await.status, 200);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_413() {
    let stage = Stage::set().await;
    let over = 256 * 1024 + 1;
    // Declared: refused without a byte of it having come.
    let declared = stage.door.exchange(stage.head(&format!("Content-Length: {over}\r\n"))).await;
    assert_eq!(declared.status, 413, "{declared:?}");
    assert!(declared.took < CLOSED_BY, "{declared:?}");
    let sent = stage.head(&format!("Content-Length: {over}\r\n")) + &"x".repeat(over);
    assert_eq!(stage.door.exchange(sent).await.status, 413);
    let chunk = format!("{:x}\r\n{}\r\n", over, "x".repeat(over));
    let chunked = stage.head("Transfer-Encoding: chunked\r\n") + &chunk;
    assert_eq!(stage.door.exchange(chunked).await.status, 413);
    assert_eq!(stage.kept().await, 0);
}

/// A chunk that soon makes too large a body, on a slow machine too.
const FLOOD: &str = "40\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n";

/// What a hostile client goes on sending once its first bytes are out.
#[derive(Clone, Copy, Debug)]
enum Then {
    Silence,
    Dribble(&'static str),
    Flood(&'static str),
}

/// Plays a client, and says how long it took until the door hung up, and what it had answered.
async fn play(mut socket: TcpStream, first: String, then: Then) -> (Duration, String) {
    let began = Instant::now();
    let mut heard = Vec::new();
    let _ = socket.write_all(first.as_bytes()).await;
    let (mut reader, mut writer) = socket.split();
    let go_on = async {
        loop {
            let (pause, bytes) = match then {
                Then::Silence => return std::future::pending().await,
                Then::Dribble(bytes) => (Duration::from_millis(50), bytes.to_owned()),
                Then::Flood(bytes) => (Duration::ZERO, bytes.repeat(200)),
            };
            tokio::time::sleep(pause).await;
            if writer.write_all(bytes.as_bytes()).await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    let listen = async { while let Ok(1..) = reader.read_buf(&mut heard).await {} };
    tokio::time::timeout(SOON, async {
        tokio::select! {
            () = listen => {},
            () = go_on => {},
        }
    })
    .await
    .expect("the door never hung up");
    (began.elapsed(), String::from_utf8_lossy(&heard).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_hostile_clients_are_cut_off_while_others_are_served() {
    let stage = Stage::set().await;
    // Whoever is refused must go without the doorman's help, so this one's waits for ever.
    let patient = stage.open_within(PublicLimits {
        patience: Patience { quiet: Duration::from_secs(3600), ..quick().patience },
        ..quick()
    });
    let healthy = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    let wrong = "POST /callbacks/x/y HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = stage.head("Transfer-Encoding: chunked\r\n");
    let cases = [
        ("silence", String::new(), Then::Silence, "408"),
        ("half a head", "POST /call".into(), Then::Silence, "408"),
        ("a dribbled head", "GET / HTTP/1.1\r\n".into(), Then::Dribble("a: b\r\n"), "408"),
        ("a stalled body", stage.head("Content-Length: 9\r\n"), Then::Silence, "408"),
        ("a dribbled body", stage.head("Content-Length: 999\r\n"), Then::Dribble("x"), "408"),
        ("a stalled chunked body", chunked.clone(), Then::Silence, "408"),
        ("a dribbled chunked body", chunked.clone(), Then::Dribble("1\r\nx\r\n"), "408"),
        ("a chunked flood", chunked, Then::Flood(FLOOD), "413"),
        ("a wrong token and a chunked dribble", wrong.into(), Then::Dribble("1\r\nx\r\n"), "404"),
        ("a wrong token and a chunked flood", wrong.into(), Then::Flood("4\r\nxxxx\r\n"), "404"),
        ("a wrong token and no end", wrong.into(), Then::Silence, "404"),
        (
            "health asked with an endless body",
            "GET /healthz HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            Then::Dribble("1\r\nx\r\n"),
            "200",
        ),
        ("nothing after an answer", healthy.into(), Then::Silence, "200"),
        ("half a head after an answer", format!("{healthy}GET /hea"), Then::Silence, "200"),
        (
            "a dribbled head after an answer",
            format!("{healthy}GET / HTTP/1.1\r\n"),
            Then::Dribble("a: b\r\n"),
            "200",
        ),
        ("no Host", "GET /healthz HTTP/1.1\r\n\r\n".into(), Then::Silence, "400"),
        (
            "a length and chunks",
            stage.head("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
            Then::Silence,
            "400",
        ),
        (
            "two lengths",
            stage.head("Content-Length: 3\r\nContent-Length: 4\r\n") + "abc",
            Then::Silence,
            "400",
        ),
        ("no HTTP", "\u{16}\u{3}\u{1}hello\r\n\r\n".into(), Then::Silence, "400"),
    ];
    let mut playing = tokio::task::JoinSet::new();
    let mut served = 0;
    let mut times = Vec::new();
    let calm = stage.serve(50, &mut served).await;
    for (name, first, then, expected) in cases {
        let socket = if expected == "200" { stage.door.connect().await } else { patient.connect().await };
        playing.spawn(async move { (name, expected, play(socket, first, then).await) });
    }
    while !playing.is_empty() {
        times.push(stage.serve(1, &mut served).await);
        while let Some(played) = playing.try_join_next() {
            let (name, expected, (took, heard)) = played.unwrap();
            assert_eq!(heard.get(9..12), Some(expected), "{name}: {heard}");
            assert!(took < CLOSED_BY, "{name}: {took:?}, {heard}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(times.len() > 20, "{}", times.len());
    times.sort();
    let usual = times[times.len() / 2];
    // On a busy machine everything takes longer, without any hostile client too.
    assert!(usual < Duration::from_millis(100).max(calm * 3), "{usual:?}, and {calm:?} when it was calm");
    assert_eq!(stage.kept().await, served);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_dribbles_after_a_long_visit_is_cut_off_though_nobody_else_is_there() {
    let stage = Stage::set().await;
    let mut socket = stage.door.connect().await;
    socket.write_all(stage.head("Content-Length: 3\r\n").as_bytes()).await.unwrap();
    // Longer than from one round of the doorman to the next: with nobody to cut he rests by now.
    tokio::time::sleep(quick().patience.quiet / 3).await;
    let first = "oneGET / HTTP/1.1\r\n".into();
    let (took, heard) = play(socket, first, Then::Dribble("a: b\r\n")).await;
    assert_eq!(heard.get(9..12), Some("204"), "{heard}");
    // Without him a head that long would be refused in the end, too.
    assert!(took < quick().patience.quiet * 2, "{took:?}, {heard}");
}

#[tokio::test]
async fn two_callbacks_in_one_go_are_both_kept() {
    let stage = Stage::set().await;
    let one = stage.head("Content-Length: 3\r\n") + "one";
    let two = stage.head("Content-Length: 3\r\nConnection: close\r\n") + "two";
    let answer = stage.door.exchange(one + &two).await;
    let all = format!("{}\r\n\r\n{}", answer.head, answer.body);
    assert_eq!(all.matches("HTTP/1.1 204 No Content").count(), 2, "{all}");
    let deliveries = stage.rig.store.unfolded(10).await.unwrap();
    let bodies: Vec<_> = deliveries.iter().map(|delivery| delivery.body.as_slice()).collect();
    assert_eq!(bodies, [b"one", b"two"]);
}

#[tokio::test]
async fn a_door_full_of_silent_guests_still_lets_a_callback_in() {
    let patience =
        Patience { head: SOON, keep_alive: SOON, quiet: SOON * 2, connections: 8, ..quick().patience };
    let stage = Stage::set_within(PublicLimits { patience, ..quick() }).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(stage.door.connect().await);
    }
    let began = Instant::now();
    assert_eq!(stage.door.ask(&format!("POST {}", stage.path), "{}").await.status, 204);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // The one that came first has been hung up on.
    assert_eq!(Answer::read(&mut silent[0]).await.status, 0);
}

#[tokio::test]
async fn what_is_forged_or_unsigned_never_gets_as_far_as_the_database() {
    let stage = Stage::set().await;
    let settings = CallbackSignature {
        scheme: SignatureScheme::HmacSha256Hex,
        header: "x-signature".into(),
        secrets: vec![Secret::new("what the provider signs with")],
    };
    let public = PublicServer {
        store: stage.rig.store.clone(),
        secrets: stage.secrets.clone(),
        signature: Some(settings),
        clock: Clock::machine(),
    };
    let signing = Open::door(|listener| serve_within(quick(), listener, public).unwrap());
    // Whoever reads fails, and whoever writes waits for five seconds in vain.
    let other = rusqlite::Connection::open(stage.rig.folder.path().join("dropreel.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    stage.rig.store.refuse_reads();
    let job = stage.job.to_string();
    let began = Instant::now();
    for case in [
        format!("/callbacks/{job}/wrong"),
        path_of(&CallbackSecrets::new(Secret::new("a stranger's"), Vec::new()), &job),
    ] {
        assert_eq!(stage.door.ask(&format!("POST {case}"), "{}").await.status, 404, "{case}");
    }
    assert_eq!(signing.ask(&format!("POST {}", stage.path), "{}").await.status, 401);
    assert!(began.elapsed() < Duration::from_secs(4), "somebody waited for the database");
    assert_eq!(stage.door.ask(&format!("POST {}", stage.path), "{}").await.status, 503, "it is locked");
}

#[tokio::test]
async fn a_callback_that_cannot_be_kept_is_sent_away_to_come_again() {
    let stage = Stage::set().await;
    let path = stage.rig.folder.path().join("dropreel.db");
    // Another program holds the database locked for longer than the store waits.
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = stage.door.ask(&format!("POST {}", stage.path), "{}").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(stage.door.ask(&format!("POST {}", stage.path), "{}").await.status, 204);
    assert_eq!(stage.kept().await, 1);
}
