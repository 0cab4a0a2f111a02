//! Countersign stands between MCP clients and MCP tool servers. It asks Cedar
//! policy before each tool call, binds the call to a durable session, and keeps
//! a record of it that was opened before anything was sent.
//!
//! The rooms below stand in their order: each uses those before it, never
//! those after. `docs/architecture.md` describes them.

pub mod cause;
pub mod counted;
pub mod nearest;
pub mod outcome;
pub mod principal;
pub mod session;
pub mod span;
pub mod tool;
pub mod visible;

pub mod crash;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod json;
pub mod policy;
pub mod store;

pub mod escalations;
pub mod events;
pub mod journal;
pub mod keys;
pub mod memory;
pub mod meters;
pub mod outbox;
pub mod pins;
pub mod retries;
pub mod sessions;
pub mod tasks;

pub mod notices;
pub mod permit;

pub mod downstream;

pub mod broker;

pub mod mcp;

pub mod http;
pub mod stdio;

pub mod config;

pub mod clients;

pub mod telemetry;

pub mod app;

pub mod demo;

pub mod cli;
