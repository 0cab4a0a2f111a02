//! Records that go by the spool: those of calls that move no meter. What stands in
//! the spool is what [`fold`] needs to write the same rows that a transaction
//! would have written.

use super::Closing;
use super::Effect;
use super::Kind;
use super::OpenEntry;
use super::Part;
use super::Row;
use super::Subject;
use super::Unsettles;
use super::found;
use super::table;
use super::unsettles;
use crate::outcome::Outcome;
use crate::policy::Allowed;
use crate::session::SessionId;
use crate::store::Committed;
use crate::store::Record;
use crate::store::Spool;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::CallId;
use crate::tool::Digest;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashSet;

/// How records are written here. A store with records of a form that is not known
/// has a version of its own, which older programs refuse.
const FORM: u8 = 1;

const OPEN: u8 = 1;
const CLOSE: u8 = 2;
const REFUSED: u8 = 3;

/// Opens the record of an allowed call, as [`open`](super::open) does, and keeps
/// its arguments where there are some to keep. None where the spool does not take
/// it.
pub fn open_spooled(
    spool: &Spool,
    (subject, effect, detail): (&Subject, Effect, &Value),
    arguments: Option<&str>,
    allowed: &Allowed,
    now: Timestamp,
) -> Option<Committed<OpenEntry>> {
    debug_assert_eq!(subject.call, allowed.call());
    let mut record = begin(OPEN, subject.call, now);
    record.push(&[u8::from(effect == Effect::Possible)]);
    push_subject(&mut record, (subject, detail), arguments);
    let call = subject.call;
    spool.append("open", record, || OpenEntry { call })
}

/// Records a call that was not allowed, as [`refuse`](super::refuse) does, and
/// keeps its arguments where there are some to keep. None where the spool does not
/// take it.
pub fn refuse_spooled(
    spool: &Spool,
    (subject, outcome, detail): (&Subject, Outcome, &Value),
    arguments: Option<&str>,
    now: Timestamp,
) -> Option<()> {
    let mut record = begin(REFUSED, subject.call, now);
    push_text(&mut record, outcome.as_str());
    push_subject(&mut record, (subject, detail), arguments);
    let appended = spool.append("refuse", record, || ());
    appended.map(Committed::into_inner)
}

/// Closes the record of a call, as [`close`](super::close) does. None where the spool does not
/// take it, or where somebody else must be told of how the call ended: that must
/// be known before the next call is decided.
pub fn close_spooled(
    spool: &Spool,
    closing: &Closing,
    effect: Effect,
    now: Timestamp,
) -> Option<()> {
    if effect == Effect::Possible && unsettles(closing) != Unsettles::Nobody {
        return None;
    }
    let mut record = begin(CLOSE, closing.call, now);
    push_text(&mut record, closing.outcome.as_str());
    push_bytes(
        &mut record,
        closing.result.as_ref().map(|d| &d.as_bytes()[..]),
    );
    push_text(&mut record, &text_of(&closing.detail));
    push_bytes(&mut record, closing.kept.as_deref().map(str::as_bytes));
    let appended = spool.append("close", record, || ());
    appended.map(Committed::into_inner)
}

fn begin(what: u8, call: CallId, now: Timestamp) -> Record {
    let mut record = Record::with_capacity(512);
    record.push(&[FORM, what]);
    record.push(call.as_bytes());
    record.push(&now.as_millisecond().to_le_bytes());
    record
}

fn push_subject(record: &mut Record, (subject, detail): (&Subject, &Value), kept: Option<&str>) {
    record.push(subject.session.as_bytes());
    record.push(subject.arguments.as_bytes());
    record.push(subject.policies.as_bytes());
    push_text(record, &subject.principal.to_string());
    push_text(record, &subject.tool);
    push_text(record, &found::told(subject, detail));
    push_bytes(record, kept.map(str::as_bytes));
}

/// What `to_string` makes of it, in half the time.
fn text_of(detail: &Value) -> String {
    serde_json::to_string(detail).unwrap_or_else(|_never| detail.to_string())
}

fn push_text(record: &mut Record, text: &str) {
    push_bytes(record, Some(text.as_bytes()));
}

/// Whether there is something, then how long it is, then it.
fn push_bytes(record: &mut Record, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else {
        record.push(&[0]);
        return;
    };
    record.push(&[1]);
    record.push(&(bytes.len() as u64).to_le_bytes());
    record.push(bytes);
}

/// One record of the spool, read back.
struct Entry<'a> {
    row: Row,
    effect: Effect,
    /// What is kept beside it: arguments, or of a close the result.
    kept: Option<&'a str>,
}

/// Writes records of the spool into the tables, in their order.
///
/// # Errors
///
/// When they cannot be read or written.
pub fn fold(tx: &Tx<'_>, writer: WriterId, records: &[&[u8]]) -> Result<(), StoreError> {
    let unreadable = || StoreError::Damaged {
        what: format!("a record in the spool of writer {writer}"),
    };
    let read = records.iter().map(|record| Fields(record).entry());
    let entries: Vec<Entry<'_>> = read.collect::<Option<_>>().ok_or_else(unreadable)?;
    let of_kind = |kind| {
        let entries = entries.iter().filter(move |entry| entry.row.kind == kind);
        entries.map(|entry| entry.row.call)
    };
    // A call that begins and ends here is never in flight in the tables.
    let ending: HashSet<CallId> = of_kind(Kind::Close).collect();
    let mut begun: HashSet<CallId> = HashSet::new();
    let mut chain = table::Chain::of(tx, writer)?;
    for entry in &entries {
        let call = entry.row.call;
        let part = match entry.row.kind {
            Kind::Open if ending.contains(&call) => {
                begun.insert(call);
                Part::Arguments
            }
            Kind::Open => {
                table::in_flight_insert(tx, writer, &entry.row, entry.effect)?;
                Part::Arguments
            }
            Kind::Refused | Kind::Decision => Part::Arguments,
            // One that recovery closed before stays as recovery left it.
            Kind::Close if !begun.remove(&call) && table::in_flight_take(tx, call)?.is_none() => {
                continue;
            }
            Kind::Close => Part::Result,
        };
        chain.append(&entry.row)?;
        if let Some(kept) = entry.kept {
            table::payload_insert(tx, call, part, kept)?;
        }
    }
    Ok(())
}

/// What is left of a record that is being read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The whole record; none where it is not one.
    fn entry(mut self) -> Option<Entry<'a>> {
        let [form, what] = self.array()?;
        if form != FORM {
            return None;
        }
        let call = CallId::from_bytes(self.array()?);
        let at = Timestamp::from_millisecond(i64::from_le_bytes(self.array()?)).ok()?;
        let mut entry = Entry {
            row: Row {
                kind: Kind::Close,
                call,
                at,
                session: None,
                principal: None,
                tool: None,
                digest: None,
                policies: None,
                outcome: None,
                detail: String::new(),
            },
            effect: Effect::None,
            kept: None,
        };
        match what {
            OPEN => {
                entry.row.kind = Kind::Open;
                entry.effect = match self.array()? {
                    [0] => Effect::None,
                    [1] => Effect::Possible,
                    _ => return None,
                };
                self.subject(&mut entry)?;
            }
            REFUSED => {
                entry.row.kind = Kind::Refused;
                entry.row.outcome = Some(self.text()??.parse().ok()?);
                self.subject(&mut entry)?;
            }
            CLOSE => {
                entry.row.outcome = Some(self.text()??.parse().ok()?);
                let result = self.bytes()?;
                let result = result.map(TryInto::try_into).transpose().ok()?;
                entry.row.digest = result.map(Digest::from_bytes);
                entry.row.detail = self.text()??.to_owned();
                entry.kept = self.text()?;
            }
            _ => return None,
        }
        self.0.is_empty().then_some(entry)
    }

    fn subject(&mut self, entry: &mut Entry<'a>) -> Option<()> {
        entry.row.session = Some(SessionId::from_bytes(self.array()?));
        entry.row.digest = Some(Digest::from_bytes(self.array()?));
        entry.row.policies = Some(Digest::from_bytes(self.array()?));
        entry.row.principal = Some(self.text()??.to_owned());
        entry.row.tool = Some(self.text()??.to_owned());
        entry.row.detail = self.text()??.to_owned();
        entry.kept = self.text()?;
        Some(())
    }

    fn array<const LONG: usize>(&mut self) -> Option<[u8; LONG]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// None where it cannot be read; none inside where it is absent.
    fn bytes(&mut self) -> Option<Option<&'a [u8]>> {
        match self.array()? {
            [0] => Some(None),
            [1] => {
                let long = usize::try_from(u64::from_le_bytes(self.array()?)).ok()?;
                let (bytes, rest) = self.0.split_at_checked(long)?;
                self.0 = rest;
                Some(Some(bytes))
            }
            _ => None,
        }
    }

    fn text(&mut self) -> Option<Option<&'a str>> {
        let bytes = self.bytes()?;
        bytes.map(std::str::from_utf8).transpose().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal;
    use crate::journal::SCHEMA;
    use crate::journal::SCHEMA_12;
    use crate::journal::Trust;
    use crate::principal::PrincipalId;
    use crate::store::Migration;
    use crate::store::Store;
    use crate::store::Writer;
    use serde_json::json;

    const MIGRATIONS: [Migration; 1] = [Migration {
        number: 1,
        sql: &[SCHEMA, SCHEMA_12],
    }];

    fn subject() -> Subject {
        Subject {
            call: CallId::from_bytes([1; 16]),
            session: SessionId::from_bytes([2; 16]),
            principal: PrincipalId::parse("alice").unwrap(),
            tool: "claims/close_claim".to_owned(),
            arguments: Digest::of(b"{}"),
            policies: Digest::of(b"policies"),
            found: None,
        }
    }

    fn now() -> Timestamp {
        "2026-11-26T12:00:00.123Z".parse().unwrap()
    }

    /// The head of the one chain after `work`, and what stays in flight.
    fn head(work: impl FnOnce(&Store, &Writer)) -> (i64, Digest, usize) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db"), &MIGRATIONS).unwrap();
        let writer = Writer::enlist(&store, now()).unwrap();
        work(&store, &writer);
        let found = store
            .read(|tx| journal::verify(tx, &[writer.id()], &Trust::default()))
            .unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        let (seq, hash) = found.heads[&writer.id()];
        (seq, hash, found.in_flight)
    }

    fn closing() -> Closing {
        Closing {
            call: subject().call,
            outcome: Outcome::Completed,
            result: Some(Digest::of(b"[]")),
            kept: Some("[]".into()),
            detail: json!({"a": 1}),
            goes_on: false,
        }
    }

    /// What is in the spool for an allowed call.
    fn opened() -> Record {
        let mut record = begin(OPEN, subject().call, now());
        record.push(&[1]);
        push_subject(&mut record, (&subject(), &json!({"b": 2})), Some("{}"));
        record
    }

    #[test]
    fn a_refusal_by_the_spool_is_the_record_that_a_transaction_writes() {
        let detail = json!({"code": "amount_over_limit"});
        let by_spool = head(|store, writer| {
            let spool = writer.spool(store, fold).unwrap().unwrap();
            let refused = (&subject(), Outcome::Denied, &detail);
            refuse_spooled(&spool, refused, Some("{}"), now()).unwrap();
            store.catch_up().unwrap();
        });
        let by_transaction = head(|store, writer| {
            let (id, detail) = (writer.id(), detail.clone());
            let written = store.write_blocking("refuse", move |tx| {
                journal::refuse(tx, id, (&subject(), Outcome::Denied, &detail), now())?;
                journal::keep(tx, subject().call, Part::Arguments, "{}")
            });
            written.unwrap();
        });
        assert_eq!(by_spool, by_transaction);
    }

    #[test]
    fn a_call_is_the_same_whether_it_is_folded_at_once_or_open_in_between() {
        let steps = |pause: bool| {
            head(|store, writer| {
                let spool = writer.spool(store, fold).unwrap().unwrap();
                spool.append("open", opened(), || ()).unwrap();
                if pause {
                    store.catch_up().unwrap();
                }
                close_spooled(&spool, &closing(), Effect::Possible, now()).unwrap();
                store.catch_up().unwrap();
            })
        };
        assert_eq!(steps(true), steps(false));
        let by_both = head(|store, writer| {
            let spool = writer.spool(store, fold).unwrap().unwrap();
            spool.append("open", opened(), || ()).unwrap();
            let id = writer.id();
            let closed =
                store.write_blocking("close", move |tx| journal::close(tx, id, &closing(), now()));
            assert!(closed.unwrap());
            // The first word stands.
            close_spooled(&spool, &closing(), Effect::Possible, now()).unwrap();
            store.catch_up().unwrap();
        });
        assert_eq!(by_both, steps(false));
    }

    #[test]
    fn an_ending_that_others_are_told_of_needs_a_transaction() {
        head(|store, writer| {
            let spool = writer.spool(store, fold).unwrap().unwrap();
            spool.append("open", opened(), || ()).unwrap();
            for outcome in [Outcome::Unknown, Outcome::TimedOut, Outcome::Cancelled] {
                let closing = Closing {
                    outcome,
                    ..closing()
                };
                assert!(close_spooled(&spool, &closing, Effect::Possible, now()).is_none());
            }
            store.catch_up().unwrap();
        });
    }

    #[test]
    fn a_record_that_is_cut_or_of_an_unknown_form_is_none() {
        let record = opened();
        let whole = record.body();
        let entry = Fields(whole).entry().unwrap();
        assert_eq!(entry.kept, Some("{}"));
        assert_eq!(entry.row.tool.as_deref(), Some("claims/close_claim"));
        for cut in 0..whole.len() {
            assert!(Fields(&whole[..cut]).entry().is_none(), "{cut}");
        }
        let mut newer = whole.to_vec();
        newer[0] = FORM + 1;
        assert!(Fields(&newer).entry().is_none());
    }
}
