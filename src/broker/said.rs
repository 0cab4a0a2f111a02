//! What the operator says of servers, put together for each of their tools.

use crate::session::Label;
use crate::tool::OnApproval;
use crate::tool::ToolId;
use crate::tool::ToolRules;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// What the configuration says of one server, as far as policy cares.
#[derive(Clone, Debug, Default)]
pub struct ServerRules {
    /// How far the operator trusts it, in his own words.
    pub trust: String,
    /// What joins the session with whatever comes from it.
    pub labels: BTreeSet<Label>,
    /// Whether what is said to it leaves his hands.
    pub sink: bool,
    /// What is done with its calls once somebody approved them.
    pub on_approval: OnApproval,
    /// How an instance of one session is told to resume it.
    pub resume: Option<Resume>,
    /// What he says of its tools, by their own names.
    pub tools: BTreeMap<String, ToolRules>,
}

/// How an instance of a server that was started again is told to resume a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// By a call of this tool, under the server's own name for it.
    pub tool: Box<str>,
    /// The argument that names the session.
    pub argument: Box<str>,
}

impl ServerRules {
    /// What is said of one of its tools, or of what else can be asked of it.
    pub(super) fn of(&self, tool: &ToolId) -> ToolRules {
        let said = self.tools.get(&*tool.name).cloned();
        let mut rules = said.unwrap_or_else(|| ToolRules::unmentioned(tool.asking()));
        rules.labels.extend(self.labels.iter().cloned());
        rules.sink |= self.sink;
        rules.on_approval.get_or_insert(self.on_approval);
        rules
    }
}
