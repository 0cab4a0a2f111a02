//! The words of a tool: which server has it, how it is named towards clients,
//! what its server says of it and what the operator says of it.

mod call;
mod inquiry;
mod keeping;
mod kind;
mod level;
mod lists;
mod meter;
mod mirrored;

pub use call::CallId;
pub use call::CallIdError;
pub use inquiry::Declared;
pub use inquiry::Extension;
pub use inquiry::Inquiry;
pub use keeping::Keeping;
pub use keeping::Kept;
pub use keeping::Pointer;
pub use keeping::PointerError;
pub use kind::Kind;
pub use kind::Offered;
pub use level::Level;
pub use level::LevelError;
pub use lists::Lists;
pub use meter::Counted;
pub use meter::Meter;
pub use meter::Per;
pub use meter::Window;
pub use mirrored::MirrorError;
pub use mirrored::Mirrored;

use crate::session::Label;
use sha2::Digest as _;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// The operator's name for a downstream server: 1 to 40 of `[A-Za-z0-9_-]`,
/// no `__`, and no `_` at either end, so that `server__tool` splits one way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(Arc<str>);

/// Why a text names no server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` cannot name a server: write 1 to 40 of the characters A-Z a-z 0-9 _ -, without `__` and without `_` at either end"
)]
pub struct ServerNameError {
    text: String,
}

impl ServerName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the broker's own tools stand under it, so that no server can have it.
    pub fn is_own(&self) -> bool {
        self.as_str() == "countersign"
    }
}

impl FromStr for ServerName {
    type Err = ServerNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let usable = (1..=40).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
            && !text.contains("__")
            && !text.starts_with('_')
            && !text.ends_with('_');
        if usable {
            Ok(Self(text.into()))
        } else {
            Err(ServerNameError {
                text: text.chars().take(80).collect(),
            })
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one tool of one server. Its [`Display`](fmt::Display) form
/// `server/tool` is the id of the Cedar action and of the Cedar resource; a
/// server's name has no `/`, so the form is unambiguous.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ToolId {
    /// The server that has the tool.
    pub server: ServerName,
    /// The name that the server gave it.
    pub name: Arc<str>,
}

impl fmt::Display for ToolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server, self.name)
    }
}

/// What a request asks of a server, as far as it is decided. Everything that
/// reaches a server in somebody's name is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asking {
    /// `tools/call`.
    Tool,
    /// `prompts/get`.
    Prompt,
    /// `resources/read`.
    Read,
    /// `resources/subscribe`, and the end of it.
    Subscribe,
    /// `completion/complete`.
    Complete,
    /// Something about a task that an earlier call began.
    Task(TaskAsk),
}

/// What is asked about a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TaskAsk {
    /// `tasks/get`.
    Get,
    /// `tasks/result`, of 2025-11-25.
    Result,
    /// `tasks/update`, of 2026-07-28.
    Update,
    /// `tasks/cancel`.
    Cancel,
}

impl TaskAsk {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Get, Self::Result, Self::Update, Self::Cancel];
}

/// What stands before the name of a prompt in its [`ToolId`].
const PROMPT: &str = "prompts/";

impl Asking {
    /// The Cedar action group of all that asks the same, and the name of the
    /// method.
    pub fn method(self) -> &'static str {
        match self {
            Self::Tool => "tools/call",
            Self::Prompt => "prompts/get",
            Self::Read => "resources/read",
            Self::Subscribe => "resources/subscribe",
            Self::Complete => "completion/complete",
            Self::Task(TaskAsk::Get) => "tasks/get",
            Self::Task(TaskAsk::Result) => "tasks/result",
            Self::Task(TaskAsk::Update) => "tasks/update",
            Self::Task(TaskAsk::Cancel) => "tasks/cancel",
        }
    }
}

impl ToolId {
    /// What is asked under this name. Prompts are named `prompts/NAME` beside
    /// the tools of their server, and the other methods by themselves.
    pub fn asking(&self) -> Asking {
        match &*self.name {
            name if name.starts_with(PROMPT) => Asking::Prompt,
            "resources/read" => Asking::Read,
            "resources/subscribe" => Asking::Subscribe,
            "completion/complete" => Asking::Complete,
            name => TaskAsk::ALL
                .into_iter()
                .map(Asking::Task)
                .find(|task| task.method() == name)
                .unwrap_or(Asking::Tool),
        }
    }

    /// The name of a prompt of a server.
    pub fn prompt(server: &ServerName, name: &str) -> Self {
        Self {
            server: server.clone(),
            name: format!("{PROMPT}{name}").into(),
        }
    }

    /// The name by which the server knows it.
    pub fn native(&self) -> &str {
        match self.asking() {
            Asking::Prompt => self.name.strip_prefix(PROMPT).unwrap_or(&self.name),
            Asking::Tool
            | Asking::Read
            | Asking::Subscribe
            | Asking::Complete
            | Asking::Task(_) => &self.name,
        }
    }
}

/// A SHA-256 digest, printed as hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of parts, each with its length before it, so that no two
    /// lists of parts have the same digest.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// The digest of these bytes read back.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest that is printed so; none where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let value = |digit: u8| {
            (digit as char)
                .to_digit(16)
                .filter(|_| !digit.is_ascii_uppercase())
        };
        let byte = |[high, low]: &[u8; 2]| u8::try_from(value(*high)? * 16 + value(*low)?).ok();
        let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
        let bytes = bytes.try_into().ok().filter(|_| rest.is_empty())?;
        Some(Self(bytes))
    }

    /// The bytes that are stored.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a server says of one of its tools.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolDefinition {
    /// Which tool.
    pub id: ToolId,
    /// The entry of `tools/list`, byte for byte as the server sent it.
    pub json: Arc<str>,
    /// Its `inputSchema`.
    pub input_schema: serde_json::Value,
    /// Its `annotations`: claims of the server, not facts.
    pub hints: Hints,
    /// What a pin compares: the digest of name, title, description, schemas
    /// and annotations, whatever their order and spacing.
    pub digest: Digest,
}

/// A server's own claims about a tool (MCP `ToolAnnotations`), with the
/// defaults of the specification where it claims nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// `readOnlyHint`, default false.
    pub read_only: bool,
    /// `destructiveHint`, default true.
    pub destructive: bool,
    /// `openWorldHint`, default true.
    pub open_world: bool,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            read_only: false,
            destructive: true,
            open_world: true,
        }
    }
}

/// Whether a tool changes anything, by the operator's word. Never taken from
/// the server's `readOnlyHint`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// In the Cedar action group `read`.
    Read,
    /// In the Cedar action group `write`: what nobody classified.
    #[default]
    Write,
}

/// What is done once somebody approved a call whose client waits by a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnApproval {
    /// The client is told, and makes the call again.
    #[default]
    Retry,
    /// The call is made for it, once.
    Resume,
}

impl OnApproval {
    /// The word that is stored and configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Resume => "resume",
        }
    }

    /// What this word says.
    pub fn read(word: &str) -> Option<Self> {
        let all = [Self::Retry, Self::Resume];
        all.into_iter().find(|one| one.as_str() == word)
    }
}

/// What the operator says of a tool. An argument is named by its property
/// (`amount`), or by the property of the records in an array
/// (`line_items[].amount`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRules {
    /// Whether it changes anything.
    pub access: Access,
    /// How much harm it can do, in the operator's words (`low`, `high`).
    pub risk: String,
    /// Arguments that are amounts of money: policy sees minor units (cents).
    pub money: Vec<String>,
    /// Whole-number or money arguments whose totals per session and per day
    /// are kept and shown to policy as `context.meter.<argument>`.
    pub meters: Vec<String>,
    /// `line_items[].amount`: policy sees the sum as `input["line_items#sum(amount)"]`.
    pub sums: Vec<String>,
    /// Path arguments: policy sees `input["path#resolved"]`, with `.` and `..`
    /// taken out of it.
    pub paths: Vec<String>,
    /// URL arguments: policy sees `input["url#host"]`, in lower case.
    pub urls: Vec<String>,
    /// URI arguments: policy sees `input["uri#scheme"]`, `input["uri#host"]` and
    /// `input["uri#path"]`.
    pub uris: Vec<String>,
    /// Path arguments (also arrays) with the folder that all of them should be
    /// under: policy sees the truth of it as `input["paths#under"]`.
    pub under: BTreeMap<String, String>,
    /// What joins the session with whatever comes back: its server's labels and
    /// its own.
    pub labels: BTreeSet<Label>,
    /// Whether what is said to it leaves the operator's hands: policy sees it as
    /// `resource.sink`.
    pub sink: bool,
    /// Whether an answer that the tool itself calls an error gives the amount
    /// back to the meters.
    pub refund_on_failure: bool,
    /// Whether a call that is made twice does what it does once, so that one of which
    /// nobody knows how it ended may be sent again.
    pub idempotent: bool,
    /// What is done with a call once somebody approved it, where that is said.
    pub on_approval: Option<OnApproval>,
    /// How long a call may take, where it differs from the server's.
    pub timeout: Option<Duration>,
    /// What is kept of its calls.
    pub keeping: Keeping,
}

/// The word for servers and tools of which the operator said nothing.
pub const UNCLASSIFIED: &str = "unclassified";

impl ToolRules {
    /// What holds of what the operator does not mention: a tool writes, and
    /// everything else only reads.
    pub fn unmentioned(asking: Asking) -> Self {
        let uris = match asking {
            Asking::Tool | Asking::Prompt | Asking::Complete | Asking::Task(_) => Vec::new(),
            Asking::Read | Asking::Subscribe => vec!["uri".to_owned()],
        };
        let access = match asking {
            Asking::Tool | Asking::Task(TaskAsk::Update | TaskAsk::Cancel) => Access::Write,
            Asking::Prompt
            | Asking::Read
            | Asking::Subscribe
            | Asking::Complete
            | Asking::Task(TaskAsk::Get | TaskAsk::Result) => Access::Read,
        };
        Self {
            access,
            uris,
            ..Self::default()
        }
    }
}

impl ToolRules {
    /// Whether a call may be sent again of which nobody knows how it ended.
    pub fn is_repeatable(&self) -> bool {
        self.idempotent || self.access == Access::Read
    }
}

impl Default for ToolRules {
    /// What holds of a tool that the operator does not mention.
    fn default() -> Self {
        Self {
            access: Access::default(),
            risk: UNCLASSIFIED.to_owned(),
            money: Vec::new(),
            meters: Vec::new(),
            sums: Vec::new(),
            paths: Vec::new(),
            urls: Vec::new(),
            uris: Vec::new(),
            under: BTreeMap::new(),
            labels: BTreeSet::new(),
            sink: false,
            refund_on_failure: false,
            idempotent: false,
            on_approval: None,
            timeout: None,
            keeping: Keeping::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_name_leaves_the_exposed_name_one_reading() {
        for good in ["claims", "a", "my-server_2", "0x"] {
            assert_eq!(good.parse::<ServerName>().unwrap().as_str(), good);
        }
        for bad in ["", "a__b", "_a", "a_", "a/b", "a.b", "é", &"x".repeat(41)] {
            assert!(bad.parse::<ServerName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_that_join_alike_have_different_digests() {
        let one = Digest::of_parts([b"ab".as_slice(), b"c"]);
        let two = Digest::of_parts([b"a".as_slice(), b"bc"]);
        assert_ne!(one, two);
    }
}
