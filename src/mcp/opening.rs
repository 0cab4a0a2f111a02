//! What a client's connection is made of.

use crate::principal::PrincipalId;
use crate::session::Named;
use crate::session::TransportId;
use crate::tool::Declared;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What a connection is made of. Everything but the broker and the principal may
/// stay at its default.
#[derive(Debug)]
pub struct Opening {
    /// Who calls.
    pub principal: PrincipalId,
    /// The session that requests belong to when they name none.
    pub session: Option<Named>,
    /// The transport session of a legacy client, which points to the durable one.
    pub transport: Option<TransportId>,
    /// The revision that `initialize` came to, where it was answered before, by
    /// this process or another.
    pub revision: Option<String>,
    /// What the client can be asked, where `initialize` was answered before.
    pub declared: Arc<Declared>,
    /// Cancelled when no further message will be read.
    pub closing: CancellationToken,
    /// Cancelled when nobody reads the answers any more and the protocol takes
    /// that for a cancellation (MCP 2026-07-28, transports/streamable-http).
    pub gone: CancellationToken,
}

impl Opening {
    /// A connection of this principal.
    pub fn of(principal: PrincipalId) -> Self {
        Self {
            principal,
            session: None,
            transport: None,
            revision: None,
            declared: Arc::default(),
            closing: CancellationToken::new(),
            gone: CancellationToken::new(),
        }
    }
}
