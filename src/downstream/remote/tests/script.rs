//! A server over HTTP that is a script.

use serde_json::Value;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) verb: String,
    pub(super) path: String,
    headers: Vec<(String, String)>,
    pub(super) body: String,
    /// The JSON-RPC method; empty where the body has none.
    pub(super) method: String,
    /// The JSON-RPC id, as text.
    pub(super) id: String,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What comes back.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// A whole answer: status, headers, body.
    Whole(u16, Vec<(&'static str, String)>, String),
    /// A stream whose connection is lost after this.
    Cut(String),
    /// The connection ends without an answer.
    Close,
    /// No answer; the connection stays until the client ends it.
    Hang,
    /// A stream that says where messages go, and stays.
    Stream(&'static str),
    /// Taken in, and this said on the stream.
    Told(String),
}

impl Reply {
    pub(super) fn json(status: u16, body: &str) -> Self {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Self::Whole(status, headers, body.to_owned())
    }

    pub(super) fn result(asked: &Asked, result: &str) -> Self {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, asked.id);
        Self::json(200, &body)
    }

    pub(super) fn told(asked: &Asked, what: &str, value: &str) -> Self {
        let id = &asked.id;
        Self::Told(format!(r#"{{"jsonrpc":"2.0","id":{id},"{what}":{value}}}"#))
    }

    pub(super) fn events(messages: &[&str]) -> Self {
        let events = messages
            .iter()
            .map(|message| format!("data: {message}\n\n"));
        let body = format!("id: 0\ndata:\n\n{}", events.collect::<String>());
        Self::json(200, &body).with("Content-Type", "text/event-stream")
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Whole(_, headers, _) = &mut self {
            headers.retain(|(known, _)| *known != name);
            headers.push((name, value.to_owned()));
        }
        self
    }
}

type Answers = Arc<dyn Fn(&Asked, &[Asked]) -> Reply + Send + Sync>;

/// The server. It ends when it is dropped.
pub(super) struct Script {
    port: u16,
    asked: watch::Receiver<Vec<Asked>>,
    hung_up: watch::Receiver<usize>,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
struct Desk {
    answers: Answers,
    asked: Arc<watch::Sender<Vec<Asked>>>,
    hung_up: Arc<watch::Sender<usize>>,
    stream: Arc<Mutex<Option<mpsc::UnboundedSender<String>>>>,
}

impl Script {
    /// Answers each request by `answers`, which is told of those before it.
    pub(super) async fn start(
        answers: impl Fn(&Asked, &[Asked]) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, asked) = watch::channel(Vec::new());
        let (parting, hung_up) = watch::channel(0);
        let desk = Desk {
            answers: Arc::new(answers),
            asked: Arc::new(sender),
            hung_up: Arc::new(parting),
            stream: Arc::default(),
        };
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, desk.clone()));
            }
        });
        Self {
            port,
            asked,
            hung_up,
            _serving: serving,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The requests of this method so far.
    pub(super) fn asked(&self, method: &str) -> Vec<Asked> {
        let asked = self.asked.borrow();
        asked
            .iter()
            .filter(|a| a.method == method)
            .cloned()
            .collect()
    }

    pub(super) async fn until(&self, fits: impl Fn(&[Asked]) -> bool) {
        let mut asked = self.asked.clone();
        let seen = asked.wait_for(|asked| fits(asked));
        drop(
            timeout(Duration::from_secs(30), seen)
                .await
                .unwrap()
                .unwrap(),
        );
    }

    /// Until the client ended a connection that had no answer.
    pub(super) async fn until_hung_up(&self) {
        let mut hung_up = self.hung_up.clone();
        let seen = hung_up.wait_for(|count| *count > 0);
        drop(
            timeout(Duration::from_secs(30), seen)
                .await
                .unwrap()
                .unwrap(),
        );
    }
}

async fn serve(mut stream: TcpStream, desk: Desk) {
    while let Some(asked) = read(&mut stream).await {
        let before = desk.asked.borrow().clone();
        let reply = (desk.answers)(&asked, &before);
        desk.asked.send_modify(|all| all.push(asked));
        match reply {
            Reply::Whole(status, headers, body) => {
                write(&mut stream, status, &headers, &body).await;
            }
            Reply::Cut(events) => {
                let head = "HTTP/1.1 200 x\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                let text = format!("{head}{:x}\r\n{events}\r\n", events.len());
                let _written = stream.write_all(text.as_bytes()).await;
                return;
            }
            Reply::Close => return,
            Reply::Hang => {
                let _ended = stream.read(&mut [0; 1]).await;
                desk.hung_up.send_modify(|count| *count += 1);
                return;
            }
            Reply::Told(message) => {
                let out = desk.stream.lock().unwrap().clone();
                out.unwrap().send(message).unwrap();
                write(&mut stream, 202, &[], "Accepted").await;
            }
            Reply::Stream(endpoint) => {
                let (out, mut said) = mpsc::unbounded_channel();
                *desk.stream.lock().unwrap() = Some(out);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
                let first = format!("{head}event: endpoint\ndata: {endpoint}\n\n");
                stream.write_all(first.as_bytes()).await.unwrap();
                while let Some(message) = said.recv().await {
                    let event = format!("event: message\ndata: {message}\n\n");
                    if stream.write_all(event.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

async fn write(stream: &mut TcpStream, status: u16, headers: &[(&str, String)], body: &str) {
    let mut text = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    // The client may be gone, which some tests are about.
    let _written = stream.write_all(text.as_bytes()).await;
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let (verb, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = bytes[head + 4..].to_vec();
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(body).unwrap();
    let message: Value = serde_json::from_str(&body).unwrap_or_default();
    Some(Asked {
        verb,
        path,
        headers,
        method: message["method"].as_str().unwrap_or_default().to_owned(),
        id: message["id"].to_string(),
        body,
    })
}
