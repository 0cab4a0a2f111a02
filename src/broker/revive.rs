//! Telling an instance of a server to resume its session, after it was started again:
//! by a call of the broker's own, made for the owner of the session, decided and
//! recorded like one that they made.

use super::Answer;
use super::Broker;
use super::CallLine;
use super::Origin;
use super::Refusal;
use super::Resume;
use super::ToolCall;
use super::close::Held;
use super::confirming::Confirming;
use super::confirming::Unasked;
use super::labels;
use crate::cause::Chain;
use crate::crash;
use crate::downstream::Before;
use crate::downstream::Downstream;
use crate::downstream::Instance;
use crate::session::Found;
use crate::session::Rule;
use crate::sessions;
use crate::sessions::By;
use crate::sessions::Holder;
use crate::sessions::Session;
use crate::sessions::What;
use crate::store::Durability;
use crate::store::StoreError;
use crate::tool::Asking;
use crate::tool::ServerName;
use crate::tool::ToolId;
use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

impl Broker {
    /// Has the instance that takes a call resume its session first, where it was
    /// started again and the operator says how. Whatever comes of it, the call goes on.
    pub(super) async fn revive(
        self: &Arc<Self>,
        (name, server): (&ServerName, &Downstream),
        call: &ToolCall,
    ) {
        if server.instance() != Instance::PerSession {
            return;
        }
        let rules = self.settings.servers.get(name);
        let Some(resume) = rules.and_then(|rules| rules.resume.as_ref()) else {
            return;
        };
        // In a box, because few servers have it, and the others need no room for it.
        let revived = Box::pin(self.revive_by(resume, (name, server), call));
        if let Err(error) = revived.await {
            tracing::error!(server.name = %name, session.id = %call.session, error = %Chain(&error), "nobody can say whether an instance was started again");
        }
    }

    async fn revive_by(
        self: &Arc<Self>,
        resume: &Resume,
        (name, server): (&ServerName, &Downstream),
        call: &ToolCall,
    ) -> Result<(), StoreError> {
        let who = (&call.principal, &*call.declared);
        let stay = self.stay(name, call)?;
        let Some(opened) = server.opened_for((call.session, stay), who).await else {
            return Ok(());
        };
        let is_new = match opened.before() {
            Before::Same => return Ok(()),
            Before::Another => false,
            Before::Unknown => self.is_first_of(name, call).await?,
        };
        if !is_new {
            if !opened.begins().await {
                tracing::error!(server.name = %name, session.id = %call.session, "that an instance is told to resume could not be noted, so it was not told");
                return Ok(());
            }
            crash::point("revive.begun");
            let came = self.told_to_resume(resume, (name, server), call).await?;
            let detail = format!("{name}: started again; {}: {came}", resume.tool);
            let (session, server) = (call.session, name.clone());
            let noted = self.store.write("revived", Durability::Process, move |tx| {
                let by = By::Server(&server);
                let now = Timestamp::now();
                sessions::note(tx, session, What::Revived, Some(&detail), by, now)
            });
            noted.await?;
            crash::point("revive.told");
        }
        opened.settle();
        Ok(())
    }

    /// Whether the session never had an instance of this server before.
    async fn is_first_of(&self, name: &ServerName, call: &ToolCall) -> Result<bool, StoreError> {
        let (server, holder) = (name.clone(), Holder::Session(call.session));
        let began = self
            .store
            .write("instance", Durability::Process, move |tx| {
                sessions::began(tx, &server, &holder, Timestamp::now())
            });
        Ok(began.await?.into_inner())
    }

    /// Makes the call, and returns in a word what came of it.
    async fn told_to_resume(
        self: &Arc<Self>,
        resume: &Resume,
        (name, server): (&ServerName, &Downstream),
        call: &ToolCall,
    ) -> Result<&'static str, StoreError> {
        let session = self.store.read(|tx| sessions::by_id(tx, call.session))?;
        let Some(session) = session else {
            return Ok("there is no such session");
        };
        let tool = ToolId {
            server: name.clone(),
            name: (&*resume.tool).into(),
        };
        let call = resuming(resume, &session, call);
        let came = match self.resume_call(&tool, server, call).await {
            Ok(Answer::Result { .. }) => "done",
            Ok(Answer::Refused(refusal)) | Err(refusal) => {
                tracing::warn!(server.name = %name, session.id = %session.id, ?refusal, "an instance that was started again could not be told to resume");
                "refused"
            }
            Ok(_) => {
                tracing::warn!(server.name = %name, session.id = %session.id, "an instance that was started again did not resume");
                "failed"
            }
        };
        Ok(came)
    }

    async fn resume_call(
        self: &Arc<Self>,
        tool: &ToolId,
        server: &Downstream,
        call: ToolCall,
    ) -> Result<Answer, Refusal> {
        let now = Timestamp::now();
        let Some(route) = self.catalogue.load().route_of(tool) else {
            return Err(self
                .unknown_tool(&call, tool.to_string(), "unknown_tool", now)
                .await);
        };
        let labels = labels::of(&route, None);
        let mut candidate = self.read_arguments(&call, &route, now).await?;
        // It is ours: nobody is asked for it, and no approval of the owner's is used.
        candidate.to_decide_on = None;
        candidate.confirming = Confirming::Not(Unasked::Nobody);
        let (charged, permit, _) = self.admit(candidate, (Instant::now(), now)).await?;
        let silent = CallLine {
            progress: None,
            asks: None,
            logs: None,
            cancelled: CancellationToken::new(),
            gone: CancellationToken::new(),
        };
        let to = (&*route, server, None);
        let (closing, answer) = self.send(permit, to, call, silent).await;
        let held = Held { charged, labels };
        Ok(self.close(&route, (closing, None), held, answer).await)
    }
}

/// The call that tells an instance which session it is to resume.
fn resuming(resume: &Resume, session: &Session, before: &ToolCall) -> ToolCall {
    let handle = session.handles.first();
    let named = handle.map_or_else(|| session.id.to_string(), Clone::clone);
    let arguments = Map::from_iter([(resume.argument.to_string(), Value::from(named))]);
    ToolCall {
        principal: session.owner.clone(),
        session: session.id,
        found: Found::by(Rule::Broker).into(),
        asking: Asking::Tool,
        name: resume.tool.clone(),
        arguments: Some(Value::Object(arguments).to_string().into()),
        rest: Vec::new(),
        continued: None,
        task: None,
        // As the instance was opened, and nobody is asked anything.
        declared: Arc::clone(&before.declared),
        log: None,
        key: None,
        awaited: None,
        meta: None,
        origin: Origin {
            revives: true,
            ..Origin::default()
        },
    }
}
