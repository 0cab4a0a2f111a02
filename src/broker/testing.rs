//! A broker for the tests of the edges: real store, real policies, and one
//! server, `play`, that is a script on a pipe.

mod script;

pub(crate) use script::Script;

use super::Answer;
use super::Broker;
use super::CallLine;
use super::Keep;
use super::Origin;
use super::Receipt;
use super::Rules;
use super::ServerRules;
use super::Settings;
use super::ToolCall;
use super::upkeep::Enlisted;
use super::upkeep::Servers;
use crate::downstream;
use crate::downstream::Downstream;
use crate::escalations;
use crate::events;
use crate::journal;
use crate::journal::CallView;
use crate::keys;
use crate::memory;
use crate::meters;
use crate::outbox;
use crate::outcome::Outcome;
use crate::pins;
use crate::policy::PolicyFile;
use crate::principal::Limits;
use crate::principal::Principal;
use crate::principal::PrincipalId;
use crate::principal::Principals;
use crate::retries;
use crate::retries::IdempotencyKey;
use crate::session::Found;
use crate::session::Rule;
use crate::session::SessionId;
use crate::sessions;
use crate::sessions::Session;
use crate::store::Durability;
use crate::store::Migration;
use crate::store::Store;
use crate::store::testing::number;
use crate::store::testing::tamper;
use crate::tasks;
use crate::tool::Asking;
use crate::tool::ServerName;
use crate::tool::ToolRules;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// How long a test waits for what another thread does before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

const MIGRATIONS: [Migration; 1] = [Migration {
    number: 1,
    sql: &[
        journal::SCHEMA,
        journal::SCHEMA_12,
        journal::SCHEMA_14,
        journal::SCHEMA_20,
        journal::SCHEMA_26,
        journal::SCHEMA_29,
        meters::SCHEMA,
        meters::SCHEMA_5,
        meters::SCHEMA_9,
        keys::SCHEMA,
        keys::SCHEMA_5,
        tasks::SCHEMA,
        tasks::SCHEMA_7,
        tasks::SCHEMA_11,
        memory::SCHEMA,
        retries::SCHEMA,
        sessions::SCHEMA,
        sessions::SCHEMA_4,
        sessions::SCHEMA_5,
        sessions::SCHEMA_7,
        sessions::SCHEMA_11,
        sessions::SCHEMA_13,
        sessions::SCHEMA_17,
        sessions::SCHEMA_22,
        sessions::SCHEMA_27,
        events::SCHEMA,
        events::SCHEMA_15,
        outbox::SCHEMA,
        escalations::SCHEMA,
        escalations::waiting::SCHEMA_18,
        escalations::SCHEMA_19,
        escalations::SCHEMA_24,
        escalations::SCHEMA_28,
        pins::SCHEMA,
        pins::SCHEMA_8,
        pins::SCHEMA_10,
    ],
}];

const POLICIES: &str = r#"
@id("all") permit (principal, action in Broker::Action::"tools/call", resource);

@id("pay.limit") @message("That is too much.") @reason("amount_over_limit")
forbid (principal, action == Broker::Action::"play/pay", resource)
when { context.input.amount > principal.limit };

@id("repay.total") @message("That is too much in all.")
forbid (principal, action == Broker::Action::"play/repay", resource)
when { context.meter has amount && context.meter.amount.sessionAfter > 20000 };

@id("sessions.open")
permit (principal, action == Broker::Action::"session/open", resource)
when { context.handle like "claim-*" };
"#;

const OWN_POLICIES: &str = r#"
@id("own") permit (principal, action in Broker::Action::"server:countersign", resource);
"#;

/// A broker, its store and its server.
pub(crate) struct World {
    pub(crate) broker: Arc<Broker>,
    pub(crate) server: Script,
    store: Arc<Store>,
    folder: Arc<TempDir>,
}

/// The one who calls. One call may pay 100.00.
pub(crate) fn alice() -> PrincipalId {
    PrincipalId::parse("alice").unwrap()
}

impl World {
    /// One whose server's tools are known.
    pub(crate) async fn new() -> Self {
        Self::begun(settings(), rules()).await
    }

    /// The same, which offers its own tools and resources to whoever asks.
    pub(crate) async fn with_own_tools() -> Self {
        let mut settings = settings();
        settings.own.offered = true;
        let mut rules = rules();
        for file in &mut rules.files {
            file.text.push_str(OWN_POLICIES);
        }
        Self::begun(settings, rules).await
    }

    /// The same, where a session that nobody used for so long ends.
    pub(crate) async fn expiring(kept: SignedDuration) -> Self {
        let mut settings = settings();
        settings.expire = Some(kept);
        Self::begun(settings, rules()).await
    }

    /// Another broker on the same store, with a server of its own.
    pub(crate) async fn beside(&self) -> Self {
        Self::begun_in(Arc::clone(&self.folder), settings(), rules()).await
    }

    async fn begun(settings: Settings, rules: Rules) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::begun_in(folder.into(), settings, rules).await
    }

    async fn begun_in(folder: Arc<TempDir>, mut settings: Settings, rules: Rules) -> Self {
        let store = Store::open(&folder.path().join("store.db"), &MIGRATIONS).unwrap();
        let store = Arc::new(store);
        settings.custody.key = folder.path().join("key");
        let enlisted = Enlisted::at(&store, vec![play()], &settings.custody)
            .await
            .unwrap();
        let (sender, news) = mpsc::unbounded_channel();
        let (server, pipe) = Script::start();
        let (from, to) = tokio::io::split(pipe);
        let downstream = Downstream::on(server_settings(), sender, from, to);
        let servers = Servers {
            downstreams: BTreeMap::from([(play(), downstream.into())]),
            news,
            keeping: downstream::Kept::new(HashMap::new()).1,
        };
        let begun = Broker::begin(Arc::clone(&store), enlisted, settings, servers, rules);
        let broker = begun.await.unwrap();
        broker.first_sight().await;
        Self {
            broker,
            server,
            store,
            folder,
        }
    }

    /// A call of a tool by alice, by this line and perhaps under a key, and the receipt
    /// for its answer.
    pub(crate) fn calls_by(
        &self,
        line: CallLine,
        session: SessionId,
        (tool, arguments, key): (&str, &str, Option<&str>),
    ) -> (impl Future<Output = Answer> + use<>, Receipt) {
        let (receipt, awaited) = Receipt::new();
        let call = ToolCall {
            principal: alice(),
            session,
            found: Found::by(Rule::Connection).into(),
            asking: Asking::Tool,
            name: format!("play__{tool}").into(),
            arguments: Some(arguments.into()),
            rest: Vec::new(),
            continued: None,
            task: None,
            declared: Arc::default(),
            log: None,
            key: key.map(|key| IdempotencyKey::read(key).unwrap()),
            awaited: Some(awaited),
            meta: None,
            origin: Origin::default(),
        };
        let broker = Arc::clone(&self.broker);
        (async move { broker.call_tool(call, line).await }, receipt)
    }

    /// Builds everything anew from the same rules: what may have changed did not.
    pub(crate) async fn reload(&self) {
        self.broker.reload(rules()).await.unwrap();
    }

    /// The store.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Somebody else changes the store.
    pub(crate) fn tamper(&self, sql: &str) {
        tamper(&self.store, sql);
    }

    /// The one number that a query comes to.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        number(&self.store, sql)
    }

    /// Ends the server, and returns when the broker has noticed.
    pub(crate) async fn lose_server(&self) {
        self.server.hangs_up();
        let alone = self.broker.downstreams[&play()].alone();
        alone.unwrap().server().gone().await;
    }

    /// Returns when nobody follows the list of tools any more.
    pub(crate) async fn unfollowed(&self) {
        self.broker.changes.closed().await;
    }

    /// The calls that are recorded, in the order of their records.
    pub(crate) fn calls(&self) -> Vec<CallView> {
        let filter = journal::Filter::default();
        // Where a test keeps the store from it, the tables show what they have.
        let _not_folded = self.store.catch_up();
        self.store.read(|tx| journal::calls(tx, &filter)).unwrap()
    }

    /// The same in words: the tool, and how the call ended.
    pub(crate) fn trail(&self) -> Vec<String> {
        let told = |call: CallView| {
            let outcome = call.outcome.map_or("open", Outcome::as_str);
            format!("{} {outcome}", call.tool)
        };
        self.calls().into_iter().map(told).collect()
    }

    /// Waits until so many calls have ended, and returns the trail.
    pub(crate) async fn ended(&self, count: usize) -> Vec<String> {
        let since = Instant::now();
        loop {
            let trail = self.trail();
            let open = |call: &&String| call.ends_with(" open");
            if trail.len() - trail.iter().filter(open).count() >= count {
                return trail;
            }
            assert!(since.elapsed() < PATIENCE, "{trail:?}");
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn sessions(&self) -> Vec<Session> {
        let owner = alice();
        let listed = self.store.read(|tx| sessions::list(tx, Some(&owner)));
        listed.unwrap()
    }

    /// What a session has paid, in cents.
    pub(crate) fn paid(&self, session: SessionId) -> i64 {
        let totals = self.store.read(|tx| meters::of_session(tx, session));
        totals.unwrap().into_iter().map(|total| total.total).sum()
    }

    /// Stops the broker, and returns what the server heard that no test asked
    /// for.
    pub(crate) async fn end(self) -> Vec<String> {
        self.broker.stop(PATIENCE).await;
        self.server.end().await
    }
}

fn play() -> ServerName {
    "play".parse().unwrap()
}

fn settings() -> Settings {
    let pay = ToolRules {
        money: vec!["amount".to_owned()],
        meters: vec!["amount".to_owned()],
        ..ToolRules::default()
    };
    let repay = ToolRules {
        idempotent: true,
        refund_on_failure: true,
        ..pay.clone()
    };
    let slow = ToolRules {
        labels: ["untrusted-web".parse().unwrap()].into(),
        ..ToolRules::default()
    };
    let rules = ServerRules {
        trust: "internal".to_owned(),
        tools: BTreeMap::from([
            ("pay".to_owned(), pay),
            ("repay".to_owned(), repay),
            ("slow".to_owned(), slow),
        ]),
        ..ServerRules::default()
    };
    Settings {
        durability: Durability::Process,
        zone: TimeZone::UTC,
        idle: SignedDuration::from_hours(8),
        expire: None,
        labels_stick: SignedDuration::from_hours(1),
        warnings_settle: SignedDuration::ZERO,
        denials: super::Denials::default(),
        keep: Keep::Nothing,
        money_scale: 2,
        naming: super::Naming::Prefixed { longest: 46 },
        first_sight: PATIENCE,
        servers: BTreeMap::from([(play(), rules)]),
        meters: Vec::new(),
        own: super::OwnTools::default(),
        webhooks: super::Webhooks::default(),
        event_labels: events::Labels::default(),
        custody: super::Custody {
            key: PathBuf::new(),
            every: None,
            keep_payloads: None,
            keep: None,
            checkpoints: None,
        },
    }
}

fn server_settings() -> downstream::Settings {
    downstream::Settings {
        name: play(),
        place: downstream::Place::Child(downstream::Program {
            command: String::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            keeper: PathBuf::new(),
        }),
        timeout: PATIENCE,
        start_timeout: PATIENCE,
        max_message: downstream::Settings::MAX_MESSAGE,
        declared: None,
        spread: crate::downstream::Spread::default(),
        instances: crate::downstream::Instances::default(),
        keeper: None,
    }
}

fn rules() -> Rules {
    let alice = Principal {
        id: alice(),
        role: "Junior".to_owned(),
        teams: Default::default(),
        limits: Limits {
            call: 10_000,
            session: 20_000,
            day: 40_000,
        },
        named_limits: BTreeMap::new(),
        attributes: BTreeMap::new(),
        agent: None,
    };
    Rules {
        files: vec![PolicyFile {
            name: "play.cedar".to_owned(),
            text: POLICIES.to_owned(),
        }],
        principals: Principals {
            roles: BTreeMap::from([("Junior".to_owned(), Default::default())]),
            by_id: BTreeMap::from([(alice.id.clone(), alice)]),
        },
    }
}
