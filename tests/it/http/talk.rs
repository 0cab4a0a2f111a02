//! One connection, spoken to in plain HTTP/1.1, so that a test can say what no
//! client would.

use crate::world::PATIENCE;
use serde_json::Value;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;

/// A connection.
pub(crate) struct Talk {
    stream: BufReader<TcpStream>,
    host: String,
    always: Vec<(String, String)>,
}

/// An answer, read to its end where it has one.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The one message, or the last one of a stream: what takes long comes by one.
    pub(crate) fn json(&self) -> Value {
        if self.header("content-type") == Some("text/event-stream") {
            return self.events().pop().unwrap();
        }
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The messages of a stream.
    pub(crate) fn events(&self) -> Vec<Value> {
        assert_eq!(
            self.header("content-type"),
            Some("text/event-stream"),
            "{self:?}"
        );
        let data = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter(|data| !data.is_empty());
        data.map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

impl Talk {
    pub(crate) fn new(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream: BufReader::new(stream),
            host: address.to_owned(),
            always: Vec::new(),
        }
    }

    /// The connection itself, to be ended by somebody else.
    pub(crate) fn connection(&self) -> TcpStream {
        self.stream.get_ref().try_clone().unwrap()
    }

    /// With this header on every request.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.always.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What this header says on every request.
    pub(crate) fn always(&self, name: &str) -> String {
        let found = self.always.iter().find(|(known, _)| known == name);
        found.unwrap().1.clone()
    }

    /// As if it had been reached under this name.
    pub(crate) fn under(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> Answer {
        self.post_with(path, &[], body)
    }

    pub(crate) fn post_with(&mut self, path: &str, more: &[(&str, &str)], body: &str) -> Answer {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(more);
        self.send("POST", path, &headers, body)
    }

    pub(crate) fn send(
        &mut self,
        verb: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.write(verb, path, headers, body);
        self.read()
    }

    /// Sends a request and does not wait for its answer.
    pub(crate) fn write(&mut self, verb: &str, path: &str, headers: &[(&str, &str)], body: &str) {
        let mut text = format!("{verb} {path} HTTP/1.1\r\nhost: {}\r\n", self.host);
        let always = self.always.iter().map(|(name, value)| (&**name, &**value));
        for (name, value) in always.chain(headers.iter().copied()) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        self.raw(text.as_bytes());
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        // The other side may have closed already; reading shows what it said.
        let _written = self.stream.get_mut().write_all(bytes);
    }

    pub(crate) fn read(&mut self) -> Answer {
        self.next().expect("the broker closed the connection")
    }

    /// The next answer, or none where the connection ended.
    pub(crate) fn next(&mut self) -> Option<Answer> {
        let (status, headers) = self.head()?;
        let mut answer = Answer {
            status,
            headers,
            body: String::new(),
        };
        if let Some(length) = answer.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut body).unwrap();
            answer.body = String::from_utf8(body).unwrap();
        } else if answer.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk() {
                answer.body.push_str(&chunk);
            }
        }
        Some(answer)
    }

    /// Passes on each message of an answer as it comes, and returns the transport
    /// session that it opens.
    pub(crate) fn messages(&mut self, to: &mpsc::Sender<String>) -> Option<String> {
        let (_, headers) = self.head()?;
        let header = |name: &str| {
            let found = headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        if let Some(length) = header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut body).ok()?;
            if !body.is_empty() {
                // Nobody listens any more where the test has failed.
                let _unheard = to.send(String::from_utf8(body).unwrap());
            }
            return header("mcp-session-id");
        }
        let mut text = String::new();
        while let Some(chunk) = self.chunk() {
            text.push_str(&chunk);
            while let Some((line, rest)) = text.split_once('\n') {
                let message = line.strip_prefix("data: ").filter(|data| !data.is_empty());
                if let Some(message) = message {
                    let _unheard = to.send(message.to_owned());
                }
                text = rest.to_owned();
            }
        }
        header("mcp-session-id")
    }

    /// The head of an answer, or none where the connection ended.
    pub(crate) fn head(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(": ") else {
                return Some((status, headers));
            };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    /// The next piece of a stream, or none at its end.
    pub(crate) fn chunk(&mut self) -> Option<String> {
        let length = usize::from_str_radix(&self.line()?, 16).unwrap();
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes).ok()?;
        bytes.truncate(length);
        (length > 0).then(|| String::from_utf8(bytes).unwrap())
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }
}
