//! The floor of a download: it receives the bytes, hashes them, and writes them past the kernel's cache, one block at a time,
//! as dropreel does; nothing else but the flush of each file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use url::Url;

use crate::harness;

const BLOCK: usize = 1 << 20;
const ALIGNMENT: usize = 4096;

/// Downloads the links with this many threads. Returns the processor time in milliseconds.
pub fn download(folder: &Path, links: &[String], threads: usize) -> f64 {
    let before = harness::own_cpu_ms();
    let (next, turn) = (AtomicUsize::new(0), Mutex::new(()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| download_next(folder, links, &next, &turn));
        }
    });
    harness::own_cpu_ms() - before
}

fn download_next(folder: &Path, links: &[String], next: &AtomicUsize, turn: &Mutex<()>) {
    let url = Url::parse(&links[0]).unwrap();
    let address = (url.host_str().unwrap(), url.port().unwrap());
    let mut host = BufReader::new(TcpStream::connect(address).unwrap());
    let mut memory = vec![0; BLOCK + ALIGNMENT];
    let aligned = memory.as_ptr().align_offset(ALIGNMENT);
    let block = &mut memory[aligned..aligned + BLOCK];
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(link) = links.get(number) else { return };
        let path = Url::parse(link).unwrap().path().to_owned();
        write!(host.get_ref(), "GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").unwrap();
        let mut left = content_length(&mut host);
        assert!(left.is_multiple_of(ALIGNMENT), "a direct write of the rest is not possible");
        let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap();
        let mut options = File::options();
        options.write(true).create_new(true).custom_flags(direct);
        let mut file = options.open(folder.join(format!("{number}.mp4"))).unwrap();
        let mut hash = Sha256::new();
        while left > 0 {
            let bytes = &mut block[..left.min(BLOCK)];
            host.read_exact(bytes).unwrap();
            hash.update(&*bytes);
            let turn = turn.lock().unwrap();
            file.write_all(bytes).unwrap();
            drop(turn);
            left -= bytes.len();
        }
        std::hint::black_box(hash.finalize());
        file.sync_all().unwrap();
    }
}

/// Reads the head of a response.
fn content_length(host: &mut impl BufRead) -> usize {
    let (mut line, mut length) = (String::new(), None);
    while host.read_line(&mut line).unwrap() > 2 {
        let lower = line.to_ascii_lowercase();
        length = lower.strip_prefix("content-length:").map(|text| text.trim().parse().unwrap()).or(length);
        line.clear();
    }
    length.unwrap()
}
