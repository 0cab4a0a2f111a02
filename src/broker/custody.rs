//! How the journal is signed, and what is old taken away, while the broker runs.

mod held;

pub use held::HeldError;

use super::Broker;
use super::StartError;
use super::upkeep::blocking;
use crate::cause::Chain;
use crate::journal;
use crate::journal::KeyError;
use crate::journal::Signed;
use crate::journal::Signer;
use crate::store::Durability;
use crate::store::StoreError;
use crate::store::Tx;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;

/// How many transactions take away what is old at each look.
const TRIMS_AT_ONCE: u32 = 50;

/// How the journal is signed, and how long it is kept.
#[derive(Clone, Debug)]
pub struct Custody {
    /// The file of the key.
    pub key: PathBuf,
    /// How often where the chains end is signed, and at the end; not at all where
    /// there is none.
    pub every: Option<SignedDuration>,
    /// How long payloads are kept; for good where there is none.
    pub keep_payloads: Option<SignedDuration>,
    /// How long records are kept; for good where there is none.
    pub keep: Option<SignedDuration>,
    /// The file to which each checkpoint is appended, so that somebody else can have
    /// it.
    pub checkpoints: Option<PathBuf>,
}

impl Custody {
    /// What signs the journal, once all that is to take checkpoints does.
    pub(super) async fn signer(&self) -> Result<Arc<Signer>, StartError> {
        let custody = self.clone();
        let signer = tokio::task::spawn_blocking(move || {
            custody.must_be_held().map_err(StartError::Checkpoints)?;
            Signer::at(&custody.key).map_err(StartError::Key)
        });
        let signer = signer.await.map_err(|_ended| StartError::Stopping)?;
        signer.map(Arc::new)
    }

    /// Refuses what will never take a checkpoint, in the place of the file that is to.
    /// Nothing is changed.
    ///
    /// # Errors
    ///
    /// When it is no file, or cannot be opened.
    pub fn must_be_held(&self) -> Result<(), HeldError> {
        match &self.checkpoints {
            Some(path) => held::must_take(path),
            None => Ok(()),
        }
    }

    /// Refuses what is no key, in the place of the key. None at all is made at a start.
    ///
    /// # Errors
    ///
    /// When it is no key, others can read it, or it cannot be read.
    pub fn must_be_key(&self) -> Result<(), KeyError> {
        Signer::existing(&self.key).map(|_key| ())
    }
}

impl Broker {
    /// The key that seals what clients keep for us.
    pub fn sealing(&self) -> &[u8; 32] {
        &self.sealing
    }

    /// Signs where the chains end, where that is due. Brokers that share a store
    /// share its checkpoints too.
    pub(super) async fn checkpoint(&self) {
        let Some(every) = self.settings.custody.every else {
            return;
        };
        let now = Timestamp::now();
        let store = Arc::clone(&self.store);
        let is_due = blocking(move || store.read(|tx| journal::is_due(tx, every, now)));
        match is_due.await {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => {
                tracing::error!(error = %Chain(&error), "the last checkpoint cannot be read");
                return;
            }
        }
        let signer = Arc::clone(&self.signer);
        let made = self
            .store
            .write("checkpoint", Durability::Power, move |tx| {
                // Another broker may have been faster.
                match journal::is_due(tx, every, now)? {
                    true => journal::checkpoint(tx, &signer, now),
                    false => Ok(None),
                }
            });
        match made.await {
            Ok(made) => self.give_away(made.into_inner()).await,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "the journal could not be signed");
            }
        }
    }

    /// Takes away what is too old to be kept, a little in each transaction, so that
    /// calls come in between.
    pub(super) async fn trim(&self) {
        let now = Timestamp::now();
        let ago = |kept: Option<SignedDuration>| kept.and_then(|kept| now.checked_sub(kept).ok());
        let custody = &self.settings.custody;
        let trimmed = self.trim_payloads(ago(custody.keep_payloads)).await;
        let trimmed = match trimmed {
            Ok(()) => self.trim_records(ago(custody.keep), now).await,
            Err(error) => Err(error),
        };
        if let Err(error) = trimmed {
            tracing::error!(error = %Chain(&error), "old records could not be taken away");
        }
    }

    async fn trim_payloads(&self, before: Option<Timestamp>) -> Result<(), StoreError> {
        let Some(before) = before else {
            return Ok(());
        };
        for _ in 0..TRIMS_AT_ONCE {
            let work = move |tx: &Tx<'_>| journal::trim_payloads(tx, before);
            let some = self.store.write("trim-payloads", Durability::Process, work);
            let some = some.await?;
            if !some.into_inner() {
                break;
            }
        }
        Ok(())
    }

    async fn trim_records(
        &self,
        before: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(before) = before else {
            return Ok(());
        };
        for _ in 0..TRIMS_AT_ONCE {
            let signer = Arc::clone(&self.signer);
            let work = move |tx: &Tx<'_>| journal::trim_records(tx, before, &signer, now);
            let made = self.store.write("trim-records", Durability::Power, work);
            let made = made.await?;
            let Some(made) = made.into_inner() else {
                break;
            };
            self.give_away(Some(made)).await;
        }
        Ok(())
    }

    /// Hands a checkpoint that is on disk to whoever is to hold it.
    pub(super) async fn give_away(&self, made: Option<Signed>) {
        let Some((made, path)) = made.zip(self.settings.custody.checkpoints.clone()) else {
            return;
        };
        let appended = tokio::task::spawn_blocking(move || held::append(&path, &made.line()));
        if let Ok(Err(error)) = appended.await {
            tracing::error!(
                error = %Chain(&error),
                "a checkpoint could not be appended to `journal.checkpoints`; the store has it"
            );
        }
    }
}
