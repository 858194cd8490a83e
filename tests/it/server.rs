//! A web server on the loopback device that answers as a test tells it to, rightly or wrongly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What was asked.
pub struct Request {
    /// The path, with a slash before it.
    pub path: String,
    /// Header lines, in lower case.
    pub headers: Vec<String>,
    /// How many requests for this path came before.
    pub before: usize,
}

impl Request {
    /// Returns the first byte that a `Range` asks for.
    pub fn range(&self) -> Option<usize> {
        let line = self.headers.iter().find_map(|line| line.strip_prefix("range: bytes="))?;
        line.trim_end_matches('-').parse().ok()
    }

    /// Tells whether a header begins so.
    pub fn has(&self, start: &str) -> bool {
        self.headers.iter().any(|line| line.starts_with(start))
    }
}

/// A part of an answer.
pub enum Step {
    /// Bytes, as they are.
    Send(Vec<u8>),
    /// A pause.
    Wait(Duration),
    /// The same bytes until the other side hangs up.
    Forever(Vec<u8>),
}

/// An answer: its steps; then the connection is closed.
pub type Answer = Vec<Step>;

/// Returns a proper answer.
pub fn answer(status: &str, headers: &[&str], body: &[u8]) -> Answer {
    let mut lines = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for header in headers {
        lines += &format!("{header}\r\n");
    }
    if !headers.iter().any(|header| header.starts_with("Content-Length")) {
        lines += &format!("Content-Length: {}\r\n", body.len());
    }
    vec![Step::Send([lines.as_bytes(), b"\r\n", body].concat())]
}

/// Returns 200 with a body.
pub fn ok(body: &[u8]) -> Answer {
    answer("200 OK", &["Content-Type: application/octet-stream"], body)
}

/// Returns 404.
pub fn absent() -> Answer {
    answer("404 Not Found", &[], b"")
}

/// A running server; it stops when dropped.
pub struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server that answers with `script`.
    pub fn start(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (script, log, end) = (Arc::new(script), asked.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(stream), script, log) = (stream, script.clone(), log.clone()) else { continue };
                // The other side may hang up whenever it likes.
                std::thread::spawn(move || drop(serve(stream, &*script, &log)));
            }
        });
        Self { port, asked, stop, thread: Some(thread) }
    }

    /// Starts a server of a directory.
    pub fn of(dir: &Path) -> Self {
        let dir = dir.to_owned();
        Self::start(move |request| file(&dir, request))
    }

    /// Returns the address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Returns the paths asked for since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("the log"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept; whether it comes through does not matter.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server thread");
        }
    }
}

/// Answers with a file of a directory.
pub fn file(dir: &Path, request: &Request) -> Answer {
    let path: PathBuf = dir.join(request.path.trim_start_matches('/'));
    match std::fs::read(path) {
        Ok(bytes) => ok(&bytes),
        Err(_) => absent(),
    }
}

fn serve(stream: TcpStream, script: &dyn Fn(&Request) -> Answer, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.by_ref().take(1 << 16).read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let before = {
        let mut log = log.lock().expect("the log");
        log.push(path.clone());
        log.iter().filter(|one| **one == path).count() - 1
    };
    let headers = lines.iter().skip(1).map(|line| line.to_ascii_lowercase()).collect();
    let mut stream = stream;
    for step in script(&Request { path, headers, before }) {
        match step {
            Step::Send(bytes) => stream.write_all(&bytes)?,
            Step::Wait(time) => std::thread::sleep(time),
            Step::Forever(bytes) => loop {
                stream.write_all(&bytes)?;
            },
        }
    }
    stream.flush()
}
