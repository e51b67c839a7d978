//! What durable answers are measured against: the same web server, with nothing or next to nothing behind it.

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use actix_web::{App, HttpResponse, HttpServer, web};
use rusqlite::Connection;
use tokio::sync::oneshot;

/// What is done with a body before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Nothing: how fast an answer can be.
    Nothing,
    /// A transaction of its own, flushed: what is usually written first.
    OwnTransaction,
    /// What waits together is committed together: how fast a durable answer can be.
    SharedTransaction,
}

type Piece = (web::Bytes, oneshot::Sender<()>);

#[derive(Clone)]
enum Behind {
    Nothing,
    Own(Arc<Mutex<Connection>>),
    Shared(mpsc::Sender<Piece>),
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

fn commit_together(connection: &Connection, work: &mpsc::Receiver<Piece>) {
    while let Ok(first) = work.recv() {
        let mut batch = vec![first];
        while batch.len() < 256 {
            let Ok(piece) = work.try_recv() else { break };
            batch.push(piece);
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

async fn answer(body: web::Bytes, behind: web::Data<Behind>) -> HttpResponse {
    match behind.get_ref() {
        Behind::Nothing => {}
        Behind::Own(connection) => {
            let connection = connection.lock().unwrap();
            connection.prepare_cached(INSERT).unwrap().execute([body.as_ref()]).unwrap();
        }
        Behind::Shared(writer) => {
            let (answer, wait) = oneshot::channel();
            writer.send((body, answer)).unwrap();
            wait.await.unwrap();
        }
    }
    HttpResponse::NoContent().finish()
}

/// A server that goes on until the program ends. Where it is.
pub fn start(deed: Deed, folder: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let behind = match deed {
        Deed::Nothing => Behind::Nothing,
        Deed::OwnTransaction => Behind::Own(Arc::new(Mutex::new(database(folder)))),
        Deed::SharedTransaction => {
            let (writer, work) = mpsc::channel();
            let connection = database(folder);
            std::thread::spawn(move || commit_together(&connection, &work));
            Behind::Shared(writer)
        }
    };
    std::thread::spawn(move || {
        let server = HttpServer::new(move || {
            App::new().app_data(web::Data::new(behind.clone())).default_service(web::post().to(answer))
        });
        let server = server.workers(1).disable_signals().listen(listener).unwrap().run();
        actix_web::rt::System::new().block_on(server).unwrap();
    });
    address
}
