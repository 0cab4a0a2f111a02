//! What the operator decides of a broker.

use super::Custody;
use super::Denials;
use super::Keep;
use super::Naming;
use super::OwnTools;
use super::ServerRules;
use super::Shape;
use super::Webhooks;
use crate::events::Labels as EventLabels;
use crate::store::Durability;
use crate::tool::Meter;
use crate::tool::ServerName;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What the broker needs to be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a record survives where no limit depends on it.
    pub durability: Durability,
    /// Whose calendar days the day totals follow.
    pub zone: TimeZone,
    /// After how long a principal's default session is replaced.
    pub idle: SignedDuration,
    /// After how long an unused session ends; never where there is none.
    pub expire: Option<SignedDuration>,
    /// How long a label sticks to whoever met it: sessions that they open within
    /// that time begin with it.
    pub labels_stick: SignedDuration,
    /// How long after somebody could read that nobody knows how a call ended the same
    /// call counts as made before that: whoever made it is told too.
    pub warnings_settle: SignedDuration,
    /// What is made of the denials of a session.
    pub denials: Denials,
    /// Which payloads are kept beside the records.
    pub keep: Keep,
    /// How the journal is signed.
    pub custody: Custody,
    /// How many digits of money are minor units (2 for cents).
    pub money_scale: u8,
    /// How tools and prompts are named towards clients.
    pub naming: Naming,
    /// How long a list or an unknown name waits for servers that were never
    /// seen before.
    pub first_sight: Duration,
    /// What the configuration says of each server.
    pub servers: BTreeMap<ServerName, ServerRules>,
    /// The meters that the operator declared.
    pub meters: Vec<Arc<Meter>>,
    /// What is offered of the broker's own tools.
    pub own: OwnTools,
    /// Who is told of events from outside, and of escalations.
    pub webhooks: Webhooks,
    /// Which labels such events bring.
    pub event_labels: EventLabels,
}

impl Settings {
    /// What the catalogue depends on.
    pub fn shape(&self) -> Shape<'_> {
        Shape {
            money_scale: self.money_scale,
            naming: self.naming,
            meters: &self.meters,
            own: &self.own,
        }
    }

    /// After how long a principal's default session is replaced: before it ends because
    /// nobody used it.
    pub fn idle_default(&self) -> SignedDuration {
        self.expire.map_or(self.idle, |kept| kept.min(self.idle))
    }
}
