//! A proxy that passes bytes on as they come and keeps them: what the suite said
//! and what reached it, byte for byte, and during which scenario.

use super::exchange;
use super::exchange::Exchange;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// A recording proxy. Its threads end with their connections, the one that
/// accepts with this.
pub(super) struct Recorder {
    address: String,
    tape: Arc<Tape>,
}

struct Tape {
    target: String,
    /// What the suite has printed so far. It announces each scenario there, and
    /// writes to files at once, so that the last announcement at the moment when
    /// a request comes is that of its scenario.
    printed: PathBuf,
    chunks: AtomicU64,
    ended: AtomicBool,
    connections: Mutex<Vec<Arc<Mutex<Connection>>>>,
}

/// Both directions of one connection.
#[derive(Default)]
pub(super) struct Connection {
    pub(super) asked: Vec<u8>,
    pub(super) answered: Vec<u8>,
    pub(super) marks: Vec<Mark>,
}

/// Where a piece of what was asked begins, and when it came.
pub(super) struct Mark {
    pub(super) at: usize,
    pub(super) order: u64,
    pub(super) scenario: String,
}

impl Recorder {
    /// Listens on a port of its own for what is meant for `target`.
    pub(super) fn before(target: &str, printed: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let tape = Arc::new(Tape {
            target: target.to_owned(),
            printed: printed.to_owned(),
            chunks: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let accepting = Arc::clone(&tape);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.ended.load(Ordering::Relaxed) {
                    break;
                }
                accepting.pass_on(stream);
            }
        });
        Self { address, tape }
    }

    /// Where the suite is to go.
    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Everything so far, in the order in which it was asked.
    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        let connections = self.tape.connections.lock().unwrap();
        let mut exchanges: Vec<Exchange> = connections
            .iter()
            .flat_map(|connection| exchange::read(&connection.lock().unwrap()))
            .collect();
        exchanges.sort_by_key(|exchange| exchange.order);
        exchanges
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.tape.ended.store(true, Ordering::Relaxed);
        let _woken = TcpStream::connect(&self.address);
    }
}

impl Tape {
    fn pass_on(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.target) else {
            return;
        };
        let connection = Arc::new(Mutex::new(Connection::default()));
        self.connections
            .lock()
            .unwrap()
            .push(Arc::clone(&connection));
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let (tape, asking) = (Arc::clone(self), Arc::clone(&connection));
        std::thread::spawn(move || {
            copy(from, to, |bytes| {
                let mark = tape.mark();
                let mut asking = asking.lock().unwrap();
                let at = asking.asked.len();
                asking.marks.push(Mark { at, ..mark });
                asking.asked.extend_from_slice(bytes);
            });
        });
        std::thread::spawn(move || {
            copy(server, client, |bytes| {
                connection.lock().unwrap().answered.extend_from_slice(bytes);
            });
        });
    }

    fn mark(&self) -> Mark {
        let printed = std::fs::read_to_string(&self.printed).unwrap_or_default();
        let announced = printed.rsplit_once("Running client scenario '");
        let scenario = announced.and_then(|(_, rest)| rest.split('\'').next());
        Mark {
            at: 0,
            order: self.chunks.fetch_add(1, Ordering::Relaxed),
            scenario: scenario.unwrap_or_default().to_owned(),
        }
    }
}

/// Passes bytes on until one end is closed, and closes the other.
fn copy(mut from: TcpStream, mut to: TcpStream, mut keep: impl FnMut(&[u8])) {
    let mut bytes = [0; 16 * 1024];
    loop {
        let count = match from.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        keep(&bytes[..count]);
        if to.write_all(&bytes[..count]).is_err() {
            let _closed_already = from.shutdown(Shutdown::Both);
            break;
        }
    }
    let _closed_already = to.shutdown(Shutdown::Write);
}
