//! Logs: to stderr, as text or as JSON. Messages carry no arguments, results or
//! tokens. stdout is never touched: under `countersign stdio` it is the wire.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged where nobody says otherwise. rmcp logs whole messages at its
/// finer levels.
const DEFAULT_FILTER: &str = "info,rmcp=warn";

/// Starts logging. `filter` has the syntax of `tracing`'s directives
/// (`debug`, `countersign::broker=debug`).
///
/// # Errors
///
/// When the filter cannot be read.
pub fn start(
    format: Format,
    filter: Option<&str>,
) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::try_new(filter.unwrap_or(DEFAULT_FILTER))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell of a stderr that nobody reads on stderr, and end the thread.
        .log_internal_errors(false);
    let started = match format {
        Format::Text => lines.with_ansi(false).finish().try_init(),
        Format::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    // A second start in one process keeps the first; tests do that.
    let _first_stays = started;
    Ok(())
}
