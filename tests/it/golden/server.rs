//! A server that is played by the test, over a pipe or HTTP.

use super::Over;
use super::Pairing;
use super::table::Table;
use super::table::named;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

/// The way back to who asked.
#[derive(Clone)]
enum Back {
    /// The other end of the pipe.
    Pipe(Arc<TcpStream>),
    /// The thread that answers one request, and the stream beside it by which it says
    /// what nobody asked for.
    Http(mpsc::Sender<String>, Streams, String),
    /// The stream by which everything is said.
    Pair(Streams, String),
}

/// The streams that clients opened, each by the name of its client.
type Streams = Arc<Mutex<BTreeMap<String, TcpStream>>>;

/// A message that a case is about.
struct Heard {
    line: String,
    back: Back,
}

/// The server.
pub(super) struct Server {
    port: u16,
    over: Over,
    heard: mpsc::Receiver<Heard>,
    /// Requests that were not answered yet, each by its id.
    open: Vec<(String, Back)>,
    last: Option<Back>,
    /// Heard before its turn.
    aside: Option<Heard>,
    answers: Answers,
}

/// What is said to requests that no case is about, by method: all but the id. And all
/// that was heard.
type Answers = Arc<(BTreeMap<String, String>, Mutex<Vec<String>>)>;

const OPENING: [&str; 6] = [
    "server/discover",
    "initialize",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
];

impl Server {
    pub(super) fn start(table: &Table, pairing: Pairing) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let over = pairing.server.1;
        let methods = OPENING.iter().chain(&["logging/setLevel"]);
        let answers = methods.filter_map(|method| {
            let empty = (*method == "logging/setLevel").then(|| "\"result\":{}".to_owned());
            Some((
                (*method).to_owned(),
                table.answer(method, pairing).or(empty)?,
            ))
        });
        let answers: Answers = Arc::new((answers.collect(), Mutex::default()));
        let all = Arc::clone(&answers);
        let (sender, heard) = mpsc::channel();
        let streams = Streams::default();
        // Ends when nobody listens to what it hears; until then it waits for the
        // next connection.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (sender, answers) = (sender.clone(), Arc::clone(&answers));
                let streams = Arc::clone(&streams);
                std::thread::spawn(move || match over {
                    Over::Stdio => pipe(stream.unwrap(), &sender, &answers),
                    Over::Http => http(stream.unwrap(), &sender, (&answers, &streams)),
                    Over::Pair => pair(stream.unwrap(), &sender, (&answers, &streams)),
                });
            }
        });
        Self {
            port,
            over,
            heard,
            open: Vec::new(),
            last: None,
            aside: None,
            answers: all,
        }
    }

    /// All that it heard.
    pub(super) fn all(&self) -> Vec<String> {
        self.answers.1.lock().unwrap().clone()
    }

    /// How it stands in the configuration.
    pub(super) fn section(&self) -> String {
        let port = self.port;
        match self.over {
            Over::Stdio => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/wired.sh");
                format!(
                    "[servers.own]\ncommand = \"bash\"\nargs = [{script:?}]\nenv = {{ PORT = \"{port}\" }}\n"
                )
            }
            Over::Http => format!("[servers.own]\nurl = \"http://127.0.0.1:{port}/mcp\"\n"),
            Over::Pair => {
                format!("[servers.own]\nurl = \"http://127.0.0.1:{port}/sse\"\ntype = \"sse\"\n")
            }
        }
    }

    /// The next message that a case is about.
    pub(super) fn hear(&mut self, patience: Duration) -> Option<String> {
        let heard = self.aside.take();
        let heard = heard.or_else(|| self.heard.recv_timeout(patience).ok());
        let Heard { line, back } = heard?;
        if let (Some(_), Some(id)) = named(&line) {
            self.open.push((id, back.clone()));
            self.last = Some(back);
        }
        Some(line)
    }

    /// A message that was heard and is still to be taken.
    pub(super) fn overheard(&mut self) -> Option<String> {
        self.aside = self.aside.take().or_else(|| self.heard.try_recv().ok());
        self.aside.as_ref().map(|heard| heard.line.clone())
    }

    /// Says one line: an answer to who asked, anything else to who asked last.
    pub(super) fn say(&mut self, line: &str) {
        let (method, id) = named(line);
        let nothing_open = self.open.is_empty();
        let asked = self
            .open
            .iter()
            .rposition(|(open, _)| Some(open) == id.as_ref());
        let back = match (method, asked) {
            (None, Some(place)) => self.open.remove(place).1,
            _ => {
                let open = self.open.last().map(|(_, back)| back.clone());
                open.or(self.last.clone()).expect("nobody asked anything")
            }
        };
        match back {
            Back::Pipe(stream) => {
                let written = (&*stream).write_all(format!("{line}\n").as_bytes());
                written.unwrap();
            }
            Back::Http(_, streams, client) if nothing_open => event(&streams, &client, line),
            Back::Http(answers, ..) => answers.send(line.to_owned()).unwrap(),
            Back::Pair(streams, client) => event(&streams, &client, line),
        }
    }
}

/// What is said to a message that no case is about. None where one is.
fn opening(line: &str, answers: &Answers) -> Option<Option<String>> {
    answers.1.lock().unwrap().push(line.to_owned());
    match named(line) {
        (Some(method), None) if method == "notifications/initialized" => Some(None),
        (Some(method), Some(id)) => {
            let answer = answers.0.get(&method)?;
            Some(Some(format!(r#"{{"jsonrpc":"2.0","id":{id},{answer}}}"#)))
        }
        _ => None,
    }
}

fn pipe(stream: TcpStream, heard: &mpsc::Sender<Heard>, answers: &Answers) {
    let stream = Arc::new(stream);
    let reader = BufReader::new(Arc::clone(&stream).try_clone().unwrap());
    for line in reader.lines().map_while(Result::ok) {
        match opening(&line, answers) {
            Some(Some(answer)) => {
                let _gone = (&*stream).write_all(format!("{answer}\n").as_bytes());
            }
            Some(None) => {}
            None => {
                let back = Back::Pipe(Arc::clone(&stream));
                if heard.send(Heard { line, back }).is_err() {
                    return;
                }
            }
        }
    }
}

/// Says one line by the stream that a client opened.
fn event(streams: &Streams, client: &str, line: &str) {
    let streams = streams.lock().unwrap();
    let mut stream = streams.get(client).expect("the client opened no stream");
    stream
        .write_all(format!("event: message\ndata: {line}\n\n").as_bytes())
        .unwrap();
}

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

/// The pair of 2024-11-05.
fn pair(stream: TcpStream, heard: &mpsc::Sender<Heard>, (answers, streams): (&Answers, &Streams)) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = request(&mut reader) {
        let to = reader.get_mut();
        if asked.verb == "GET" {
            let mut all = streams.lock().unwrap();
            let client = all.len().to_string();
            let first = format!("{STREAM}event: endpoint\ndata: /messages?{client}\n\n");
            to.write_all(first.as_bytes()).unwrap();
            all.insert(client, to.try_clone().unwrap());
            continue;
        }
        let client = asked.path.split('?').nth(1).unwrap().to_owned();
        to.write_all(ACCEPTED.as_bytes()).unwrap();
        match opening(&asked.body, answers) {
            Some(Some(answer)) => event(streams, &client, &answer),
            Some(None) => {}
            None => {
                let (line, back) = (asked.body, Back::Pair(Arc::clone(streams), client));
                if heard.send(Heard { line, back }).is_err() {
                    return;
                }
            }
        }
    }
}

fn http(stream: TcpStream, heard: &mpsc::Sender<Heard>, (answers, streams): (&Answers, &Streams)) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = request(&mut reader) {
        let (body, client) = (asked.body, asked.session.unwrap_or_default());
        let to = reader.get_mut();
        let written = match asked.verb.as_str() {
            "GET" => {
                let own = to.try_clone().unwrap();
                streams.lock().unwrap().insert(client, own);
                to.write_all(STREAM.as_bytes())
            }
            "POST" => match opening(&body, answers) {
                Some(Some(answer)) => whole(to, &answer),
                Some(None) => to.write_all(ACCEPTED.as_bytes()),
                None => {
                    let (answers, said) = mpsc::channel();
                    let answered = matches!(named(&body), (Some(_), Some(_)));
                    let back = Back::Http(answers, Arc::clone(streams), client);
                    let line = body;
                    if heard.send(Heard { line, back }).is_err() {
                        return;
                    }
                    match answered {
                        true => answer(to, &said),
                        false => to.write_all(ACCEPTED.as_bytes()),
                    }
                }
            },
            _ => to.write_all(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n"),
        };
        if written.is_err() {
            return;
        }
    }
}

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";

/// A request as it came.
struct Asked {
    verb: String,
    path: String,
    session: Option<String>,
    body: String,
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut first: Option<String> = None;
    let mut session = None;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if let Some(value) = line.strip_prefix("mcp-session-id:") {
            session = Some(value.trim().to_owned());
        }
        first.get_or_insert(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    let first = first.unwrap();
    let mut words = first.split(' ');
    Some(Asked {
        verb: words.next().unwrap().to_ascii_uppercase(),
        path: words.next().unwrap().to_owned(),
        session,
        body: body.trim_end_matches('\n').to_owned(),
    })
}

/// Writes what is said to one request: the answer alone as it is, everything else
/// before it as a stream.
fn answer(to: &mut TcpStream, said: &mpsc::Receiver<String>) -> std::io::Result<()> {
    let mut streams = false;
    while let Ok(line) = said.recv() {
        let ends = named(&line).0.is_none();
        if ends && !streams {
            return whole(to, &line);
        }
        if !streams {
            to.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
            )?;
            streams = true;
        }
        let event = format!("data: {line}\n\n");
        to.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        if ends {
            return to.write_all(b"0\r\n\r\n");
        }
    }
    Err(std::io::ErrorKind::BrokenPipe.into())
}

/// Each answer gives a transport session, of which only that to an opening counts.
fn whole(to: &mut TcpStream, answer: &str) -> std::io::Result<()> {
    static SESSIONS: AtomicUsize = AtomicUsize::new(0);
    let session = SESSIONS.fetch_add(1, Ordering::Relaxed);
    let length = answer.len();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: s{session}");
    to.write_all(format!("{head}\r\ncontent-length: {length}\r\n\r\n{answer}").as_bytes())
}
