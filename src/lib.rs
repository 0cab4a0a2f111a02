//! Countersign stands between MCP clients and MCP tool servers. It asks Cedar
//! policy before each tool call, binds the call to a durable session, and keeps
//! a record of it that was opened before anything was sent.
//!
//! The rooms below stand in their order: each uses those before it, never
//! those after. `docs/architecture.md` describes them.

pub mod outcome;
pub mod principal;
pub mod session;
pub mod tool;

pub mod json;
pub mod policy;

pub mod downstream;
pub mod permit;
