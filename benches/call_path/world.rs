//! A folder with the shipped configuration, and a broker on it in this process.

use crate::folder::PROGRAM;
use crate::folder::shipped;
use countersign::app;
use countersign::broker::Broker;
use countersign::broker::Carrier;
use countersign::broker::Catalogue;
use countersign::broker::ToolCall;
use countersign::config::Config;
use countersign::policy::Facts;
use countersign::policy::Gate;
use countersign::policy::Reading;
use countersign::policy::Totals;
use countersign::principal::PrincipalId;
use countersign::session::Found;
use countersign::session::Rule;
use countersign::session::SessionFacts;
use countersign::session::SessionId;
use countersign::store::Store;
use countersign::tool::ToolId;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) const GET_TOOL: &str = "get_claim";
pub(crate) const PAY_TOOL: &str = "approve_payment";

pub(crate) fn tool(name: &str) -> ToolId {
    ToolId {
        server: "claims".parse().unwrap(),
        name: name.into(),
    }
}

pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) broker: Arc<Broker>,
    pub(crate) alice: PrincipalId,
    pub(crate) session: SessionId,
    config: Config,
    store: Arc<Store>,
    // Last, so that the folder is there for as long as anything writes to it.
    folder: TempDir,
}

impl World {
    /// A broker with records of this durability, its claims server ready. Alice
    /// has totals that no run reaches.
    pub(crate) fn start(durability: &str) -> Self {
        let folder = shipped(durability);
        // As `countersign stdio` runs.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let config =
            Config::load(&folder.path().join("countersign.toml"), Path::new(PROGRAM)).unwrap();
        let store = Arc::new(app::open_store(&config.store).unwrap());
        let alice = PrincipalId::parse("alice").unwrap();
        let (broker, session) = runtime.block_on(async {
            let broker = Broker::start(
                Arc::clone(&store),
                config.broker.clone(),
                config.servers.to_start().unwrap().to_vec(),
                config.rules.load().unwrap(),
            )
            .await
            .unwrap();
            let mut changes = broker.changes();
            while broker.catalogue().bundle().gate(&tool(PAY_TOOL)).is_none() {
                changes.changed().await.unwrap();
            }
            let named = Carrier::Named("claim-99".to_owned());
            let session = broker.session(&alice, &named).await.unwrap();
            (broker, session)
        });
        Self {
            runtime,
            broker,
            alice,
            session,
            config,
            store,
            folder,
        }
    }

    pub(crate) fn stop(self) {
        self.runtime
            .block_on(self.broker.stop(Duration::from_secs(10)));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn gate(&self, name: &str) -> Arc<Gate> {
        Arc::clone(self.broker.catalogue().bundle().gate(&tool(name)).unwrap())
    }

    /// The shipped policies and these.
    pub(crate) fn catalogue_with(&self, more: &str) -> Catalogue {
        let file = self.path("policies/more.cedar");
        std::fs::write(&file, more).unwrap();
        let catalogue = app::catalogue(&self.config, &self.store).unwrap();
        std::fs::remove_file(file).unwrap();
        catalogue
    }

    /// What is true of the session in the middle of a day.
    pub(crate) fn facts(&self, reading: &Reading) -> Facts {
        let totals = Totals {
            session_after: 1_250,
            day_after: 1_250,
        };
        Facts {
            session: SessionFacts {
                id: self.session,
                owner: self.alice.clone(),
                labels: Default::default(),
                frozen: false,
                paused: false,
            },
            totals: vec![totals; reading.amounts().len()],
            meters: Vec::new(),
            denied_lately: 0,
            approval: None,
            confirmed: false,
        }
    }

    pub(crate) fn call(&self, name: &str, arguments: &str) -> ToolCall {
        ToolCall {
            principal: self.alice.clone(),
            session: self.session,
            found: Found::by(Rule::Option).into(),
            asking: countersign::tool::Asking::Tool,
            name: name.into(),
            rest: Vec::new(),
            continued: None,
            task: None,
            declared: std::sync::Arc::default(),
            log: None,
            arguments: Some(arguments.into()),
            key: None,
            awaited: None,
            meta: None,
            origin: countersign::broker::Origin::default(),
        }
    }
}
