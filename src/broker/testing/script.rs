//! A tool server of 2025-06-18 that plays by the name of the tool.

use crate::json;
use crate::json::Object;
use serde_json::Value;
use serde_json::json as value;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::io::DuplexStream;
use tokio::io::WriteHalf;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The server as a test holds it: what reaches it, and what it does next.
///
/// `echo` answers with its arguments, `steps` reports progress three times
/// first, `slow`, `pay` and `repay` answer when they are told to, `wait` never does.
pub(crate) struct Script {
    heard: mpsc::UnboundedReceiver<String>,
    orders: mpsc::UnboundedSender<Order>,
    playing: JoinHandle<()>,
}

enum Order {
    Answer,
    Spoil,
    Fail,
    List(Vec<&'static str>),
    HangUp,
}

impl Script {
    /// Starts it with all its tools, and returns the client's end of its pipe.
    pub(super) fn start() -> (Self, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (hears, heard) = mpsc::unbounded_channel();
        let (orders, ordered) = mpsc::unbounded_channel();
        let (from, to) = tokio::io::split(ours);
        let play = Play {
            to,
            hears,
            tools: vec!["echo", "steps", "wait", "slow", "pay", "repay"],
            held: Vec::new(),
        };
        let script = Self {
            heard,
            orders,
            playing: tokio::spawn(play.run(BufReader::new(from).lines(), ordered)),
        };
        (script, theirs)
    }

    /// The next call or cancellation that reaches it: `echo {"a":1}`,
    /// `cancelled`.
    pub(crate) async fn hears(&mut self) -> String {
        self.heard.recv().await.unwrap()
    }

    /// Answers the calls of `slow`, `pay` and `repay` that it has read.
    pub(crate) fn answers(&self) {
        self.orders.send(Order::Answer).unwrap();
    }

    /// Answers them with what is no answer, so that nobody knows how they ended.
    pub(crate) fn spoils(&self) {
        self.orders.send(Order::Spoil).unwrap();
    }

    /// Answers them with failures.
    pub(crate) fn fails(&self) {
        self.orders.send(Order::Fail).unwrap();
    }

    /// Has these tools from now on, and says so.
    pub(crate) fn lists(&self, tools: &[&'static str]) {
        self.orders.send(Order::List(tools.to_vec())).unwrap();
    }

    /// Ends in the middle of everything.
    pub(crate) fn hangs_up(&self) {
        self.orders.send(Order::HangUp).unwrap();
    }

    /// Waits until its pipe is closed, and returns what it heard that nobody
    /// asked for.
    pub(super) async fn end(mut self) -> Vec<String> {
        self.playing.await.unwrap();
        let mut heard = Vec::new();
        while let Ok(more) = self.heard.try_recv() {
            heard.push(more);
        }
        heard
    }
}

type Lines = tokio::io::Lines<BufReader<tokio::io::ReadHalf<DuplexStream>>>;

struct Play {
    to: WriteHalf<DuplexStream>,
    hears: mpsc::UnboundedSender<String>,
    tools: Vec<&'static str>,
    /// Answers that wait to be told.
    held: Vec<Value>,
}

impl Play {
    async fn run(mut self, mut lines: Lines, mut ordered: mpsc::UnboundedReceiver<Order>) {
        loop {
            tokio::select! {
                biased;
                line = lines.next_line() => match line.unwrap() {
                    Some(line) => self.take(&line).await,
                    None => return,
                },
                Some(order) = ordered.recv() => match order {
                    Order::Answer => {
                        for answer in std::mem::take(&mut self.held) {
                            self.say(&answer).await;
                        }
                    }
                    Order::Spoil => {
                        for mut answer in std::mem::take(&mut self.held) {
                            answer["error"] = value!({"code": 1, "message": "both"});
                            self.say(&answer).await;
                        }
                    }
                    Order::Fail => {
                        for mut answer in std::mem::take(&mut self.held) {
                            answer["result"]["isError"] = value!(true);
                            self.say(&answer).await;
                        }
                    }
                    Order::List(tools) => {
                        self.tools = tools;
                        self.tell("notifications/tools/list_changed", value!({})).await;
                    }
                    Order::HangUp => return,
                },
            }
        }
    }

    async fn take(&mut self, line: &str) {
        let message = Object::parse(line).unwrap();
        let method = json::text(message.get("method").unwrap()).unwrap();
        let params = message.get("params").unwrap_or("{}");
        let params = Object::parse(params).unwrap();
        let id: Value = serde_json::from_str(message.get("id").unwrap_or("null")).unwrap();
        match &*method {
            "initialize" => {
                let result = value!({
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {"listChanged": true}},
                    "serverInfo": {"name": "play", "version": "1"},
                });
                self.say(&answer(&id, result)).await;
            }
            "tools/list" => {
                let tools: Vec<Value> = self.tools.iter().map(|&name| tool(name)).collect();
                self.say(&answer(&id, value!({"tools": tools}))).await;
            }
            "tools/call" => self.call(&id, &params).await,
            "notifications/cancelled" => self.note("cancelled".to_owned()),
            "notifications/initialized" => {}
            _ => {
                let error = value!({"code": -32601, "message": "what?"});
                self.say(&value!({"jsonrpc": "2.0", "id": id, "error": error}))
                    .await;
            }
        }
    }

    async fn call(&mut self, id: &Value, params: &Object<'_>) {
        let name = json::text(params.get("name").unwrap()).unwrap();
        let arguments = params.get("arguments").unwrap_or("none");
        self.note(format!("{name} {arguments}"));
        let text = value!({"content": [{"type": "text", "text": arguments}]});
        let answer = answer(id, text);
        match &*name {
            "wait" => {}
            "slow" | "pay" | "repay" => self.held.push(answer),
            "steps" => {
                let meta = params.get("_meta").map(|meta| Object::parse(meta).unwrap());
                let token = meta.and_then(|meta| meta.get("progressToken"));
                if let Some(token) = token {
                    let token: Value = serde_json::from_str(token).unwrap();
                    for step in 1..=3 {
                        let progress = value!({"progressToken": token, "progress": step});
                        self.tell("notifications/progress", progress).await;
                    }
                }
                self.say(&answer).await;
            }
            _ => self.say(&answer).await,
        }
    }

    fn note(&self, what: String) {
        // An error says that the test asks no more.
        let _ = self.hears.send(what);
    }

    async fn tell(&mut self, method: &str, params: Value) {
        self.say(&value!({"jsonrpc": "2.0", "method": method, "params": params}))
            .await;
    }

    async fn say(&mut self, message: &Value) {
        // An error says that the broker is gone, as it is at the end of a test.
        let _ = self.to.write_all(format!("{message}\n").as_bytes()).await;
    }
}

fn answer(id: &Value, result: Value) -> Value {
    value!({"jsonrpc": "2.0", "id": id, "result": result})
}

fn tool(name: &str) -> Value {
    let schema = match name {
        "pay" | "repay" => value!({
            "type": "object",
            "properties": {"amount": {"type": "number"}},
            "required": ["amount"],
        }),
        _ => value!({"type": "object"}),
    };
    value!({"name": name, "inputSchema": schema})
}
