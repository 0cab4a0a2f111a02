//! What the benchmark is asked for on its command line. It takes an hour and tens of
//! gigabytes, so it begins for nobody who asked for something else.

/// What it prints for whoever asks.
pub(crate) const USAGE: &str = "\
What a large store costs, beside a small one.

  cargo bench --bench large_store [-- --sessions N]

  --sessions N   how many sessions the large store has, from 1000 on, with ten
                 records each [default: 1000000]
  --help, -h     this
";

/// The fewest sessions that it can be asked for: as many as the small store has.
const FEWEST: usize = 1_000;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Measure, with so many sessions in the large store.
    Sessions(usize),
    /// Print how it is asked.
    Usage,
}

/// Reads the arguments, the program's own name left out; or says what is wrong.
pub(crate) fn asked(args: impl IntoIterator<Item = String>) -> Result<Asked, String> {
    let mut sessions = 1_000_000;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let value = match (arg.as_str(), arg.split_once('=')) {
            ("--help" | "-h", _) => return Ok(Asked::Usage),
            // Cargo adds it.
            ("--bench", _) => continue,
            ("--sessions", _) => args.next(),
            (_, Some(("--sessions", value))) => Some(value.to_owned()),
            _ => return Err(format!("there is no `{arg}` here")),
        };
        let value = value.ok_or("`--sessions` is followed by a number")?;
        let number = value.parse().ok().filter(|number| *number >= FEWEST);
        sessions =
            number.ok_or_else(|| format!("`{value}` is no number of sessions from {FEWEST} on"))?;
    }
    Ok(Asked::Sessions(sessions))
}
