//! The baselines for durable answers: the same web server with no work, or as little as possible.

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use actix_web::{App, HttpResponse, HttpServer, web};
use rusqlite::Connection;
use tokio::sync::oneshot;

/// What the server does with a body before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing: the fastest possible answer.
    Nothing,
    /// A transaction of its own, flushed: the obvious implementation.
    OwnTransaction,
    /// One transaction for all waiting bodies: the fastest durable answer.
    SharedTransaction,
}

type PendingBody = (web::Bytes, oneshot::Sender<()>);

#[derive(Clone)]
enum Backend {
    Nothing,
    Own(Arc<Mutex<Connection>>),
    Shared(mpsc::Sender<PendingBody>),
}

const INSERT: &str = "INSERT INTO bodies (body) VALUES (?1)";

fn database(folder: &Path) -> Connection {
    let connection = Connection::open(folder.join("plain.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE bodies (nr INTEGER PRIMARY KEY, body BLOB NOT NULL)",
        )
        .unwrap();
    connection
}

fn commit_together(connection: &Connection, work: &mpsc::Receiver<PendingBody>) {
    while let Ok(first) = work.recv() {
        let mut batch = vec![first];
        while batch.len() < 256 {
            let Ok(pending) = work.try_recv() else { break };
            batch.push(pending);
        }
        connection.prepare_cached("BEGIN IMMEDIATE").unwrap().execute([]).unwrap();
        for (body, _) in &batch {
            connection.prepare_cached(INSERT).unwrap().execute([body.as_ref()]).unwrap();
        }
        connection.prepare_cached("COMMIT").unwrap().execute([]).unwrap();
        for (_, answer) in batch {
            let _ = answer.send(());
        }
    }
}

async fn answer(body: web::Bytes, backend: web::Data<Backend>) -> HttpResponse {
    match backend.get_ref() {
        Backend::Nothing => {}
        Backend::Own(connection) => {
            let connection = connection.lock().unwrap();
            connection.prepare_cached(INSERT).unwrap().execute([body.as_ref()]).unwrap();
        }
        Backend::Shared(writer) => {
            let (answer, wait) = oneshot::channel();
            writer.send((body, answer)).unwrap();
            wait.await.unwrap();
        }
    }
    HttpResponse::NoContent().finish()
}

/// Starts a server that runs until the program ends. Returns its address.
pub fn start(work: Work, folder: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let backend = match work {
        Work::Nothing => Backend::Nothing,
        Work::OwnTransaction => Backend::Own(Arc::new(Mutex::new(database(folder)))),
        Work::SharedTransaction => {
            let (writer, work) = mpsc::channel();
            let connection = database(folder);
            std::thread::spawn(move || commit_together(&connection, &work));
            Backend::Shared(writer)
        }
    };
    std::thread::spawn(move || {
        let server = HttpServer::new(move || {
            App::new().app_data(web::Data::new(backend.clone())).default_service(web::post().to(answer))
        });
        let server = server.workers(1).disable_signals().listen(listener).unwrap().run();
        actix_web::rt::System::new().block_on(server).unwrap();
    });
    address
}
