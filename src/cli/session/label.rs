//! `countersign session label`.

use super::Form;
use super::Which;
use super::print_changed;
use super::title;
use crate::config::Config;
use crate::principal::PrincipalId;
use crate::session::Label;
use crate::sessions;
use crate::store::Store;
use jiff::Timestamp;
use std::collections::BTreeSet;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Labelling {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    labels: Labels,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Labels {
    /// A label that it has from now on
    #[arg(long, value_name = "LABEL")]
    add: Vec<Label>,
    /// A label that it has no longer
    #[arg(long, value_name = "LABEL")]
    remove: Vec<Label>,
}

impl Labelling {
    pub(super) fn owner(&self) -> Option<&PrincipalId> {
        self.which.owner.as_ref()
    }

    pub(super) fn run(self, config: &Config, store: &Store, form: Form) -> anyhow::Result<()> {
        let session = self.which.find(store)?;
        let id = session.id;
        let stick = config.broker.labels_stick;
        let add: BTreeSet<Label> = self.labels.add.into_iter().collect();
        let remove: BTreeSet<Label> = self.labels.remove.into_iter().collect();
        anyhow::ensure!(
            add.is_disjoint(&remove),
            "a label cannot be added and removed at once"
        );
        let before = session.labels.clone();
        let labels = store.write_blocking("session", move |tx| {
            let now = Timestamp::now();
            sessions::label(tx, id, &add, stick, now)?;
            sessions::unlabel(tx, id, &remove, now)?;
            let session = sessions::by_id(tx, id)?;
            Ok(session.map_or_else(BTreeSet::new, |session| session.labels))
        })?;
        if form == Form::Json {
            return print_changed(store, id, labels != before);
        }
        let title = title(&session);
        super::super::print(&match labels.is_empty() {
            true => format!("{title} has no labels\n"),
            false => format!("{title} is labelled {}\n", listed(&labels)),
        })
    }
}

/// Labels as people read them.
pub(super) fn listed(labels: &BTreeSet<String>) -> String {
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    labels.join(", ")
}
