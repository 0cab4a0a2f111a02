//! A server of 2025-11-25 over HTTP that keeps something of its own, for tests that
//! kill it, have it refuse, or make it forget.

use crate::world::PATIENCE;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

/// The server. Ended when it is dropped.
pub(crate) struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
pub(crate) struct State {
    name: String,
    is_dead: bool,
    /// Answers each call with this status, once it has counted it.
    pub(crate) refuses: Option<u16>,
    /// Closes the connection when it is asked this, once.
    pub(crate) breaks: Option<&'static str>,
    /// Its streams, so that they end with it.
    streams: Vec<TcpStream>,
    /// What it was asked besides pings, in order: method and transport session.
    pub(crate) asked: Vec<(String, Option<String>)>,
    /// What each transport session remembers.
    pub(crate) sessions: BTreeMap<String, Vec<String>>,
    opened: usize,
}

impl Fake {
    pub(crate) fn start(name: &str) -> Self {
        let state = State {
            name: name.to_owned(),
            ..State::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut fake = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
            accepting: None,
        };
        fake.accept(listener);
        fake
    }

    fn accept(&mut self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        self.accepting = Some(std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut locked = state.lock().unwrap();
                if locked.is_dead {
                    return;
                }
                locked.streams.push(stream.try_clone().unwrap());
                drop(locked);
                let state = Arc::clone(&state);
                std::thread::spawn(move || serve(&stream, &state));
            }
        }));
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// How often it was asked this.
    pub(crate) fn count(&self, method: &str) -> usize {
        let state = self.state();
        let asked = state.asked.iter().filter(|(known, _)| known == method);
        asked.count()
    }

    /// Has it forget every transport session, while it goes on.
    pub(crate) fn forget(&self) {
        self.state().sessions.clear();
    }

    /// Waits until it was asked this in one transport session.
    pub(crate) fn wait_until_asked(&self, method: &str, session: &str) {
        let begun = Instant::now();
        let wanted = (method.to_owned(), Some(session.to_owned()));
        while !self.state().asked.contains(&wanted) {
            assert!(begun.elapsed() < PATIENCE, "never asked {wanted:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it with everything that it remembers.
    pub(crate) fn kill(&mut self) {
        self.leave();
        self.state().sessions.clear();
    }

    /// Has nobody reach it, while it remembers everything.
    pub(crate) fn leave(&mut self) {
        let Some(accepting) = self.accepting.take() else {
            return;
        };
        {
            let mut state = self.state();
            state.is_dead = true;
            for stream in state.streams.drain(..) {
                let _gone_already = stream.shutdown(Shutdown::Both);
            }
        }
        // It looks up once more.
        let _refused = TcpStream::connect(self.address);
        accepting.join().unwrap();
    }

    /// Starts it again at the same address.
    pub(crate) fn revive(&mut self) {
        self.state().is_dead = false;
        let listener = TcpListener::bind(self.address).unwrap();
        self.accept(listener);
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Request {
    verb: String,
    session: Option<String>,
    body: Value,
}

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut from = BufReader::new(stream);
    while let Some(request) = read(&mut from) {
        let mut locked = state.lock().unwrap();
        let method = request.body["method"].as_str();
        if method.is_some() && locked.breaks == method {
            locked.breaks = None;
            let _gone_already = stream.shutdown(Shutdown::Both);
            return;
        }
        let answer = answered(&request, &mut locked);
        drop(locked);
        let mut to = stream;
        if to.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(from: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    from.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let verb = line.split(' ').next()?.to_owned();
    let (mut length, mut session) = (0, None);
    loop {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "mcp-session-id" => session = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some(Request {
        verb,
        session,
        body,
    })
}

fn whole(status: u16, session: Option<&str>, body: &str) -> String {
    let session = session.map_or_else(String::new, |id| format!("mcp-session-id: {id}\r\n"));
    format!(
        "HTTP/1.1 {status} .\r\ncontent-type: application/json\r\n{session}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn answered(request: &Request, state: &mut State) -> String {
    let method = request.body["method"].as_str().unwrap_or(&request.verb);
    let asked = (method.to_owned(), request.session.clone());
    state.asked.push(asked);
    let result = |session: Option<&str>, result: Value| {
        let id = &request.body["id"];
        let body = json!({"jsonrpc": "2.0", "id": id, "result": result});
        whole(200, session, &body.to_string())
    };
    if method == "initialize" {
        state.opened += 1;
        let id = format!("{}-{}", state.name, state.opened);
        state.sessions.insert(id.clone(), Vec::new());
        let greeting = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}, "logging": {}, "resources": {"subscribe": true}},
            "serverInfo": {"name": state.name, "version": "1"},
        });
        return result(Some(&id), greeting);
    }
    if method == "server/discover" {
        return whole(400, None, "");
    }
    let own = request.session.as_ref();
    let Some(remembered) = own.and_then(|own| state.sessions.get_mut(own)) else {
        return whole(404, None, "");
    };
    match method {
        "GET" => whole(405, None, ""),
        "tools/list" => {
            let schema = json!({"type": "object", "properties": {"what": {"type": "string"}}});
            let tool = |name: &str| json!({"name": name, "inputSchema": schema});
            result(None, json!({"tools": [tool("remember")]}))
        }
        "resources/list" => result(
            None,
            json!({"resources": [{"uri": "note://one", "name": "one"}]}),
        ),
        "resources/templates/list" => result(None, json!({"resourceTemplates": []})),
        "tools/call" => {
            if let Some(status) = state.refuses {
                return whole(status, None, "");
            }
            // Who it is, and what this transport session was told to remember.
            let what = request.body["params"]["arguments"]["what"].as_str();
            remembered.extend(what.map(str::to_owned));
            let text = format!("{} {}", state.name, remembered.join(","));
            let content = json!([{"type": "text", "text": text.trim()}]);
            result(None, json!({ "content": content }))
        }
        _ if request.body["id"].is_null() => whole(202, None, ""),
        _ => result(None, json!({})),
    }
}
