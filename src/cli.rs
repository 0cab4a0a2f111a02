//! The command line.

mod config_path;
mod connect;
mod difference;
mod doctor;
mod escalation;
mod import;
mod init;
mod journal;
mod key;
mod meter;
mod pin;
mod policy;
mod published;
mod session;
mod store;

use crate::app;
use crate::cause::Chain;
use crate::clients::Around;
use crate::config::Config;
use crate::config::EXAMPLE;
use crate::config::GLOBAL_POLICY;
use crate::config::PRINCIPALS_EXAMPLE;
use crate::counted::Counted;
use crate::demo;
use crate::downstream;
use crate::principal::PrincipalId;
use crate::telemetry;
use crate::visible;
use anyhow::Context;
use clap::CommandFactory;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long the end of the program waits for threads that only read stdin.
const LINGER: Duration = Duration::from_millis(100);

/// Stands between MCP clients and tool servers: every tool call is decided by
/// Cedar policy, bound to a durable session, and recorded before it is sent.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, propagate_version = true)]
struct Cli {
    /// The configuration [default: ./countersign.toml, else
    /// ~/.config/countersign/countersign.toml]
    #[arg(
        long,
        short,
        global = true,
        env = "COUNTERSIGN_CONFIG",
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
    /// How log lines look; they go to stderr
    #[arg(
        long,
        global = true,
        env = "COUNTERSIGN_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,
    /// What is logged: `info`, `debug`, `countersign::broker=debug`
    #[arg(long, global = true, env = "COUNTERSIGN_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Print one JSON document, where a command prints facts
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// How facts are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a configuration to begin with, and say what comes next
    Init {
        /// Where [default: ~/.config/countersign]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Copy the servers of an MCP client into the configuration
    Import(import::Import),
    /// Write an MCP client's file so that it starts Countersign
    Connect(connect::Connect),
    /// Play the claims story end to end, in a folder of its own
    Demo {
        /// Where to play it [default: a new temporary folder]
        folder: Option<PathBuf>,
    },
    /// Serve one MCP client over stdin and stdout
    Stdio {
        /// Who calls [default: `stdio.principal` of the configuration]
        #[arg(long, value_name = "NAME", value_parser = PrincipalId::parse)]
        principal: Option<PrincipalId>,
        /// The session, by handle or id; a handle that is new opens one
        #[arg(long, value_name = "HANDLE")]
        session: Option<String>,
    },
    /// Serve MCP clients over HTTP
    Serve {
        /// Where to listen [default: `http.listen` of the configuration, else
        /// 127.0.0.1:7420]
        #[arg(long, value_name = "ADDRESS", value_parser = address)]
        listen: Option<SocketAddr>,
    },
    /// Make, list and revoke the keys of clients over HTTP
    #[command(subcommand)]
    Key(key::Command),
    /// Check configuration, servers and policies, and show who may see what
    Check,
    /// Say what is wrong with servers, policies, store and clients, and what to do
    Doctor,
    /// Look at policies
    #[command(subcommand)]
    Policy(policy::Command),
    /// Look at sessions, and stop them
    #[command(subcommand)]
    Session(session::Command),
    /// Look at calls that wait for a decision, and decide on them
    #[command(subcommand)]
    Escalation(escalation::Command),
    /// Look at what meters have counted
    #[command(subcommand)]
    Meter(meter::Command),
    /// Look at the record of calls, and verify it
    #[command(subcommand)]
    Journal(journal::Command),
    /// Check the store, copy it while brokers run, and bring a copy back
    #[command(subcommand)]
    Store(store::Command),
    /// Look at pinned tools, and accept changed ones
    #[command(subcommand)]
    Pin(pin::Command),
    /// Print what a shell needs to complete our commands
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the example configuration
    Example {
        /// Print the example of `principals.toml` instead
        #[arg(long, conflicts_with = "policies")]
        principals: bool,
        /// Print policies that are good to have in every set instead
        #[arg(long)]
        policies: bool,
    },
    /// The claims server of the story: an MCP server over stdio
    #[command(hide = true)]
    ClaimsServer {
        /// Where each executed effect is written, one JSON object a line
        #[arg(long)]
        ledger: PathBuf,
        /// While this file exists, a payment is executed but not answered
        #[arg(long)]
        hold: Option<PathBuf>,
    },
    /// Keep a child process for a broker, and end it when the broker ends
    #[command(name = "__keep", hide = true)]
    Keep {
        /// The program
        program: String,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Runs the program with these arguments and returns its exit status.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _unprinted = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if let Command::Keep { program, args } = &cli.command {
        return downstream::keep(program, args);
    }
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            let shown = Chain(error.as_ref()).to_string();
            let shown = seen(&shown, |c| visible::hidden(c) && c != '\n');
            let _unprinted = writeln!(std::io::stderr(), "countersign: {shown}");
            ExitCode::FAILURE
        }
    }
}

impl Cli {
    fn run(self) -> anyhow::Result<ExitCode> {
        if let (true, Some(what)) = (self.json, self.command.has_no_json()) {
            anyhow::bail!("`--json` is for commands that print facts, and {what}: leave it out");
        }
        let format = match self.log_format {
            LogFormat::Text => telemetry::Format::Text,
            LogFormat::Json => telemetry::Format::Json,
        };
        let filter = self.log.as_deref().or_else(|| logged(&self.command));
        telemetry::start(format, filter)?;
        let load = || {
            let path = config_path::find(self.config.as_deref())?;
            anyhow::Ok(Config::load(&path, &own_program())?)
        };
        let form = match self.json {
            true => Form::Json,
            false => Form::Text,
        };
        match self.command {
            Command::Init { dir } => init::run(dir)?,
            Command::Import(import) => {
                let path = config_path::find(self.config.as_deref())?;
                import.run(&std::path::absolute(path)?, &own_program(), form)?;
            }
            Command::Connect(connect) => connect.run(load, form)?,
            Command::Completions { shell } => {
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "countersign", &mut text);
                print(&String::from_utf8_lossy(&text))?;
            }
            Command::Demo { folder } => on_runtime(demo::play(folder, &own_program()))?,
            Command::Stdio { principal, session } => {
                on_runtime(app::stdio(load()?, principal, session))?;
            }
            Command::Serve { listen } => on_runtime(app::serve(load()?, listen))?,
            Command::Key(command) => command.run(&load()?, form)?,
            Command::Check => return check(&load()?, form),
            Command::Doctor => return doctor::run(load(), form),
            Command::Policy(command) => command.run(&load()?, form)?,
            Command::Session(command) => command.run(&load()?, form)?,
            Command::Escalation(command) => command.run(&load()?, form)?,
            Command::Meter(command) => command.run(&load()?, form)?,
            Command::Journal(command) => return command.run(load, form),
            Command::Store(command) => return command.run(&load()?, form),
            Command::Pin(command) => command.run(&load()?, form)?,
            Command::Example { policies: true, .. } => print(GLOBAL_POLICY)?,
            Command::Example {
                principals: true, ..
            } => print(PRINCIPALS_EXAMPLE)?,
            Command::Example { .. } => print(EXAMPLE)?,
            Command::ClaimsServer { ledger, hold } => {
                on_runtime(demo::ClaimsServer::new(ledger, hold).serve())?;
            }
            Command::Keep { .. } => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Command {
    /// Why a command has no document to print; none where it has one.
    fn has_no_json(&self) -> Option<&'static str> {
        match self {
            Self::Init { .. } => Some("`init` tells people what comes next"),
            Self::Policy(policy::Command::New(_)) => Some("`policy new` writes policies"),
            Self::Demo { .. } => Some("`demo` tells a story"),
            Self::Stdio { .. } => Some("`stdio` speaks the protocol on stdout"),
            Self::Serve { .. } => Some("`serve` prints none"),
            Self::Completions { .. } => Some("`completions` prints what a shell reads"),
            Self::Example { .. } => Some("`example` prints files as they are"),
            Self::Journal(command) => command.has_no_json(),
            Self::ClaimsServer { .. } | Self::Keep { .. } => {
                Some("`claims-server` and its like speak to programs")
            }
            Self::Import(_)
            | Self::Connect(_)
            | Self::Key(_)
            | Self::Check
            | Self::Doctor
            | Self::Policy(policy::Command::Schema)
            | Self::Session(_)
            | Self::Escalation(_)
            | Self::Meter(_)
            | Self::Store(_)
            | Self::Pin(_) => None,
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    let no_address = "it is no address with a port: write one like `127.0.0.1:7420`";
    text.parse().map_err(|_none| no_address)
}

/// What is logged of servers where a command says itself, once, why one does not start.
fn logged(command: &Command) -> Option<&'static str> {
    let says_it = matches!(
        command,
        Command::Check | Command::Doctor | Command::Policy(_)
    );
    says_it.then_some("info,rmcp=warn,countersign::downstream::supervisor=error")
}

fn check(config: &Config, form: Form) -> anyhow::Result<ExitCode> {
    let mut checked = on_runtime(app::check(config))?;
    if form == Form::Json {
        let problems = checked.problems.clone().into();
        checked.facts.insert("problems".to_owned(), problems);
        let warnings = checked.warnings.clone().into();
        checked.facts.insert("warnings".to_owned(), warnings);
        let notes = checked.notes.clone().into();
        checked.facts.insert("notes".to_owned(), notes);
        print_json(&checked.facts.into())?;
        return Ok(match checked.problems.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        });
    }
    print(&checked.report)?;
    // Last and together, as the end is what stands on the screen.
    for note in &checked.notes {
        print(&format!("note: {note}\n"))?;
    }
    for warning in &checked.warnings {
        print(&format!("warning: {warning}\n"))?;
    }
    if checked.problems.is_empty() {
        print(&match checked.warnings.len() {
            0 => "no problems\n".to_owned(),
            warnings => format!("no problems, and {} above\n", Counted(warnings, "warning")),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    for problem in &checked.problems {
        print(&format!("PROBLEM {problem}\n"))?;
    }
    Ok(ExitCode::FAILURE)
}

/// Runs a future to its end. Threads that still wait for stdin are left behind.
fn on_runtime<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let done = runtime.block_on(future);
    runtime.shutdown_timeout(LINGER);
    done
}

/// Where clients look for their files.
fn around() -> anyhow::Result<Around> {
    let home = std::env::home_dir().context("there is no home folder: set `HOME`")?;
    let named = |variable: &str| std::env::var_os(variable).filter(|folder| !folder.is_empty());
    let state = named("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.unwrap_or_else(|| home.join(".local/state"));
    Ok(Around {
        claude: named("CLAUDE_CONFIG_DIR").map_or_else(|| home.clone(), PathBuf::from),
        state: state.join("countersign/clients"),
        here: std::env::current_dir()?,
        home,
    })
}

/// This program, for starting itself: as Linux knows it, so that it works even
/// after the file was replaced by an update.
fn own_program() -> PathBuf {
    let known = Path::new("/proc/self/exe");
    if known.exists() {
        return known.to_owned();
    }
    std::env::current_exe().unwrap_or_else(|_unknown| "countersign".into())
}

/// Prints to stdout. A reader that went away (`| head`) is no failure. Much of
/// it was written by clients and servers, so nothing but line breaks moves the
/// cursor, and nothing is there that cannot be seen.
fn print(text: &str) -> anyhow::Result<()> {
    let text = seen(text, |c| visible::hidden(c) && c != '\n');
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Says on stderr what keeps an answer from meaning what it seems to.
fn note(what: Option<String>) {
    if let Some(what) = what {
        let _unprinted = writeln!(std::io::stderr(), "countersign: {}", one_line(&what));
    }
}

/// Prints one JSON document. What cannot be seen is escaped in it, as JSON does.
fn print_json(document: &serde_json::Value) -> anyhow::Result<()> {
    print(&format!("{}\n", escaped(&document.to_string())))
}

/// JSON in which everything can be seen.
fn escaped(document: &str) -> String {
    let mut text = String::with_capacity(document.len());
    for c in document.chars() {
        if visible::hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// A text of somebody else as one line.
fn one_line(text: &str) -> String {
    seen(text, visible::hidden)
}

fn seen(text: &str, hidden: impl Fn(char) -> bool) -> String {
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) {
            visible.extend(c.escape_default());
        } else {
            visible.push(c);
        }
    }
    visible
}
