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
use std::sync::mpsc;
use std::time::Duration;

/// The way back to who asked.
#[derive(Clone)]
enum Back {
    /// The other end of the pipe.
    Pipe(Arc<TcpStream>),
    /// The thread that answers one request.
    Http(mpsc::Sender<String>),
}

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
}

/// What is said to requests that no case is about, by method: all but the id.
type Answers = Arc<BTreeMap<String, String>>;

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
        let answers: Answers = Arc::new(answers.collect());
        let (sender, heard) = mpsc::channel();
        // Ends when nobody listens to what it hears; until then it waits for the
        // next connection.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (sender, answers) = (sender.clone(), Arc::clone(&answers));
                std::thread::spawn(move || match over {
                    Over::Stdio => pipe(stream.unwrap(), &sender, &answers),
                    Over::Http => http(stream.unwrap(), &sender, &answers),
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
        }
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
            Back::Http(answers) => answers.send(line.to_owned()).unwrap(),
        }
    }
}

/// What is said to a message that no case is about. None where one is.
fn opening(line: &str, answers: &Answers) -> Option<Option<String>> {
    match named(line) {
        (Some(method), None) if method == "notifications/initialized" => Some(None),
        (Some(method), Some(id)) => {
            let answer = answers.get(&method)?;
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

fn http(stream: TcpStream, heard: &mpsc::Sender<Heard>, answers: &Answers) {
    let mut reader = BufReader::new(stream);
    while let Some((verb, body)) = request(&mut reader) {
        let to = reader.get_mut();
        let written = match verb.as_str() {
            "POST" => match opening(&body, answers) {
                Some(Some(answer)) => whole(to, &answer),
                Some(None) => to.write_all(ACCEPTED.as_bytes()),
                None => {
                    let (answers, said) = mpsc::channel();
                    let answered = matches!(named(&body), (Some(_), Some(_)));
                    let (line, back) = (body, Back::Http(answers));
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

/// The verb and the body of the next request.
fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let mut verb = None;
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
        verb.get_or_insert_with(|| line.split(' ').next().unwrap().to_ascii_uppercase());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    Some((verb.unwrap(), body.trim_end_matches('\n').to_owned()))
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

fn whole(to: &mut TcpStream, answer: &str) -> std::io::Result<()> {
    let length = answer.len();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
    to.write_all(format!("{head}\r\ncontent-length: {length}\r\n\r\n{answer}").as_bytes())
}
