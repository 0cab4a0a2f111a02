//! One request and its answer, read from what was recorded.

use super::recorder::Connection;
use serde_json::Value;

/// One request and what came back.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) scenario: String,
    pub(super) order: u64,
    /// `POST`, `GET` or `DELETE`.
    pub(super) verb: String,
    /// What was sent; null where nothing was.
    pub(super) asked: Value,
    pub(super) status: u16,
    /// Every message of the answer, whether it came alone or in a stream.
    pub(super) messages: Vec<Value>,
    /// An answer that is no JSON.
    pub(super) text: String,
}

/// Every exchange of one connection, the last one as far as it went.
pub(super) fn read(connection: &Connection) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    let (mut asked, mut answered) = (0, 0);
    while let Some(request) = Message::at(&connection.asked, asked) {
        let marks = connection.marks.iter();
        let mark = marks.take_while(|mark| mark.at <= asked).last().unwrap();
        asked = request.end;
        let Some(answer) = Message::at(&connection.answered, answered) else {
            break;
        };
        answered = answer.end;
        let (messages, text) = answer.messages();
        exchanges.push(Exchange {
            scenario: mark.scenario.clone(),
            order: mark.order,
            verb: request.first_word().to_owned(),
            asked: serde_json::from_slice(&request.body).unwrap_or_default(),
            status: answer.status(),
            messages,
            text,
        });
    }
    exchanges
}

/// One HTTP/1.1 message.
struct Message {
    head: String,
    body: Vec<u8>,
    end: usize,
}

impl Message {
    fn at(bytes: &[u8], begin: usize) -> Option<Self> {
        let rest = bytes.get(begin..)?;
        let blank = rest.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&rest[..blank]).into_owned();
        let after = &rest[blank + 4..];
        let mut message = Self {
            head,
            body: Vec::new(),
            end: 0,
        };
        let used = match message.header("content-length") {
            Some(length) => {
                let length = length.parse::<usize>().unwrap().min(after.len());
                message.body = after[..length].to_vec();
                length
            }
            None if message.header("transfer-encoding").is_some() => {
                let (body, used) = without_chunks(after);
                message.body = body;
                used
            }
            None => 0,
        };
        message.end = begin + blank + 4 + used;
        Some(message)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    fn first_word(&self) -> &str {
        self.head.split(' ').next().unwrap()
    }

    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn messages(&self) -> (Vec<Value>, String) {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        let streamed = self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        if streamed {
            return (events(&text), String::new());
        }
        match serde_json::from_str(&text) {
            Ok(message) => (vec![message], String::new()),
            Err(_) => (Vec::new(), text),
        }
    }
}

/// What stands in the chunks, and how long they are.
fn without_chunks(bytes: &[u8]) -> (Vec<u8>, usize) {
    let mut body = Vec::new();
    let mut at = 0;
    while let Some(line) = bytes[at..].windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[at..at + line]).unwrap();
        let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
        let begin = at + line + 2;
        let end = (begin + size).min(bytes.len());
        body.extend_from_slice(&bytes[begin..end]);
        at = (end + 2).min(bytes.len());
        if size == 0 {
            break;
        }
    }
    (body, at)
}

/// The messages of a stream. Events without data only say where to go on.
fn events(text: &str) -> Vec<Value> {
    let text = text.replace("\r\n", "\n");
    let data = text.split("\n\n").map(|event| {
        let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
        lines.map(str::trim_start).collect::<Vec<_>>().join("\n")
    });
    let data = data.filter(|data| !data.is_empty());
    data.map(|data| serde_json::from_str(&data).unwrap_or(Value::String(data)))
        .collect()
}

#[test]
fn messages_alone_and_in_streams_are_read() {
    let request = "POST /mcp HTTP/1.1\r\nContent-Length: 8\r\n\r\n{\"id\":1}";
    let one =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{\"a\":1}";
    let many = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
        11\r\nid: 0\ndata: \n\ndat\r\n13\r\na: {\"b\":\ndata: 2}\n\n\r\n0\r\n\r\n";
    let last = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
    let mark = super::recorder::Mark {
        at: 0,
        order: 7,
        scenario: "ping".to_owned(),
    };
    let exchanges = read(&Connection {
        asked: request.repeat(3).into_bytes(),
        answered: [one, many, last].concat().into_bytes(),
        marks: vec![mark],
    });
    let messages: Vec<_> = exchanges.iter().map(|one| one.messages.clone()).collect();
    let expected = [
        vec![serde_json::json!({"a": 1})],
        vec![serde_json::json!({"b": 2})],
        vec![],
    ];
    assert_eq!(messages, expected);
    assert!(
        exchanges
            .iter()
            .all(|one| one.scenario == "ping" && one.asked["id"] == 1)
    );
    assert_eq!(exchanges[2].status, 202);
}
