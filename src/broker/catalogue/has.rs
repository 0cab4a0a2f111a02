//! What clients may be told that there is.

/// What clients may be told that there is.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a capability that is there or not"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Has {
    /// Prompts.
    pub prompts: bool,
    /// Resources that can be read.
    pub resources: bool,
    /// Resources that can be followed.
    pub subscriptions: bool,
    /// Completion of arguments.
    pub completions: bool,
    /// Servers that log.
    pub logging: bool,
    /// Calls on which a person may come to decide.
    pub decides: bool,
    /// Tasks that are made without being asked for (the extension of 2026-07-28).
    pub tasks: bool,
    /// Servers that make tasks where they are asked to (2025-11-25).
    pub asked_tasks: bool,
    /// Servers with pages for the host to show (the apps extension).
    pub apps: bool,
}
