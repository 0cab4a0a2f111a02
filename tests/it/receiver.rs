//! A receiver of webhooks: takes one post at a time, and answers it as a test wants.

use crate::world::PATIENCE;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use hmac::KeyInit as _;
use hmac::Mac as _;
use serde_json::Value;
use sha2::Sha256;
use std::collections::HashMap;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What was posted: headers and body, and where the answer goes.
pub(crate) struct Post {
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
    stream: TcpStream,
}

impl Post {
    pub(crate) fn take(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ") {
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
        }
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        Self {
            headers,
            body: String::from_utf8(body).unwrap(),
            stream,
        }
    }

    pub(crate) fn answer(mut self, status: u16) {
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        self.stream.write_all(answer.as_bytes()).unwrap();
    }

    /// Holds the signature against what came.
    pub(crate) fn is_signed(&self) -> bool {
        let (id, at) = (
            &self.headers["webhook-id"],
            &self.headers["webhook-timestamp"],
        );
        let mut code = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        code.update(format!("{id}.{at}.{}", self.body).as_bytes());
        let expected = STANDARD.encode(code.finalize().into_bytes());
        self.headers["webhook-signature"] == format!("v1,{expected}")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}
