//! Checkpoints: signed statements of where each chain ends.
//!
//! A checkpoint is a text of lines, which is signed as it stands. Its first line
//! says what it is and in which version, so that nothing else that the key may sign
//! passes for one. It names the chains that went on since the checkpoint before, and
//! that one by its digest: so the last one vouches for all.

mod table;

pub use table::SCHEMA_12;
pub(super) use table::begin_of;
pub(super) use table::begins;
pub(super) use table::first_head;
pub(super) use table::last_number;
pub(super) use table::some;
pub(super) use table::store_id;
pub(super) use table::walk;

use super::signer::PublicKey;
use super::signer::Signature;
use super::signer::Signer;
use crate::crash;
use crate::store::StoreError;
use crate::store::Tx;
use crate::store::WriterId;
use crate::tool::Digest;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::fmt;
use std::fmt::Write;
use uuid::Uuid;

/// The first line of each. The number is that of the form.
const FORM: &str = "countersign checkpoint 1";

/// Names one journal, whatever becomes of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoreId(Uuid);

impl StoreId {
    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Where one chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) writer: WriterId,
    pub(super) seq: i64,
    pub(super) hash: Digest,
}

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) store: StoreId,
    /// From 1, without gaps.
    pub(super) number: i64,
    pub(super) at: Timestamp,
    pub(super) key: PublicKey,
    /// The digest of the text of the one before.
    pub(super) previous: Option<Digest>,
    /// The chains that went on since then.
    pub(super) heads: Vec<Head>,
    /// The last records before which all were removed since then.
    pub(super) begins: Vec<Head>,
}

impl Checkpoint {
    /// The text that is signed.
    fn text(&self) -> String {
        let mut text = format!(
            "{FORM}\nstore {}\nnumber {}\nat {}\nkey {}\nprevious ",
            self.store, self.number, self.at, self.key
        );
        // Writing to a string does not fail.
        let _written = match &self.previous {
            Some(digest) => writeln!(text, "{digest}"),
            None => writeln!(text, "-"),
        };
        for (word, heads) in [("writer", &self.heads), ("begins", &self.begins)] {
            for Head { writer, seq, hash } in heads {
                let _written = writeln!(text, "{word} {writer} {seq} {hash}");
            }
        }
        text
    }

    /// What a text says; none where it is not exactly what we would write.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut named = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let form = named("countersign");
        let mut read = Self {
            store: StoreId::parse(named("store")?)?,
            number: named("number")?.parse().ok()?,
            at: named("at")?.parse().ok()?,
            key: named("key")?.parse().ok()?,
            previous: match named("previous")? {
                "-" => None,
                digest => Some(Digest::parse(digest)?),
            },
            heads: Vec::new(),
            begins: Vec::new(),
        };
        for line in lines {
            let (word, line) = line.split_once(' ')?;
            match word {
                "writer" => read.heads.push(head(line)?),
                "begins" => read.begins.push(head(line)?),
                _ => return None,
            }
        }
        (form.is_some() && read.text() == text).then_some(read)
    }
}

fn head(line: &str) -> Option<Head> {
    let mut words = line.split(' ');
    Some(Head {
        writer: WriterId::from_number(words.next()?.parse().ok()?),
        seq: words.next()?.parse().ok()?,
        hash: Digest::parse(words.next()?)?,
    })
}

/// A checkpoint as it is given away: its text and the signature of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub(super) text: String,
    pub(super) signature: Signature,
}

impl Signed {
    /// What the next checkpoint calls it.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }
}

/// Whether a checkpoint is due: something was recorded since the last one, and that
/// was so long ago. A clock that was set back makes one due, and none late.
///
/// # Errors
///
/// When the store cannot be read.
pub fn is_due(tx: &Tx<'_>, every: SignedDuration, now: Timestamp) -> Result<bool, StoreError> {
    let waits = match table::last(tx)? {
        Some((_number, at, _signed)) => at <= now && now.duration_since(at) < every,
        None => false,
    };
    if waits {
        return Ok(false);
    }
    Ok(!table::moved(tx)?.is_empty() || !table::begun(tx)?.is_empty())
}

/// Signs where each chain ends now; none where nothing was recorded since the last
/// time.
///
/// It must be committed with [`Durability::Power`](crate::store::Durability): one
/// flush makes it and all that it vouches for durable, so whoever hears of it after
/// the commit hears of what a power cut cannot take back.
///
/// # Errors
///
/// When the store cannot be read or written.
pub fn checkpoint(
    tx: &Tx<'_>,
    signer: &Signer,
    now: Timestamp,
) -> Result<Option<Signed>, StoreError> {
    let (heads, begins) = (table::moved(tx)?, table::begun(tx)?);
    if heads.is_empty() && begins.is_empty() {
        return Ok(None);
    }
    let last = table::last(tx)?;
    let checkpoint = Checkpoint {
        store: table::store_id(tx)?,
        number: last.as_ref().map_or(1, |(number, ..)| number + 1),
        // As exact as it is stored.
        at: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
        key: signer.public(),
        previous: last.map(|(_number, _at, signed)| signed.digest()),
        heads,
        begins,
    };
    let text = checkpoint.text();
    let signature = signer.sign(&text);
    let signed = Signed { text, signature };
    table::insert(tx, &checkpoint, &signed)?;
    crash::point("checkpoint.written");
    Ok(Some(signed))
}

#[cfg(test)]
mod tests {
    use super::super::signer::signer_for_tests;
    use super::*;

    fn one() -> Checkpoint {
        let head = |writer, seq: i64| Head {
            writer: WriterId::from_number(writer),
            seq,
            hash: Digest::of(&seq.to_le_bytes()),
        };
        Checkpoint {
            store: StoreId::from_bytes([3; 16]),
            number: 2,
            at: "2026-11-26T12:00:00.123Z".parse().unwrap(),
            key: signer_for_tests().public(),
            previous: Some(Digest::of(b"the one before")),
            heads: vec![head(1, 12), head(2, 5)],
            begins: vec![head(1, 3)],
        }
    }

    #[test]
    fn the_published_form_of_a_checkpoint_stays_as_it_is() {
        let signer = signer_for_tests();
        let text = one().text();
        let signature = signer.sign(&text);
        // The signature is what OpenSSL makes of the text with this key.
        insta::assert_snapshot!(format!("{text}{signature}"), @r"
        countersign checkpoint 1
        store 03030303-0303-0303-0303-030303030303
        number 2
        at 2026-11-26T12:00:00.123Z
        key 6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=
        previous fccfc0ba21c4ef19755deaf97b0f212b471d60f12a0c99ae23f5a316e2bf8150
        writer 1 12 220dde27afee4d537cac96d85d6546f825153b90e828931b74e103807541bc42
        writer 2 5 f13ee6ed54ea2aae9fc49a9faeb5da6e8ddef0e12ed5d30d35a624ae813e0485
        begins 1 3 35be322d094f9d154a8aba4733b8497f180353bd7ae7b0a15f90b586b549f28b
        wbrYjz4E4F8tyMaP2zt700URAIPxp0DMuSmC6xGkQfdu7/McwtO5uK03At3z6yRzrxeB1Tp7wfq/1YllOcLFBw==
        ");
    }

    #[test]
    fn a_text_is_a_checkpoint_only_as_we_write_it() {
        let text = one().text();
        assert_eq!(Checkpoint::parse(&text), Some(one()));
        let first = Checkpoint {
            previous: None,
            heads: Vec::new(),
            begins: Vec::new(),
            ..one()
        };
        assert_eq!(Checkpoint::parse(&first.text()), Some(first));
        for (old, new) in [
            ("checkpoint 1", "checkpoint 2"),
            ("number 2", "number 02"),
            ("number 2\n", ""),
            ("store ", "store  "),
            (".123Z", ".1230Z"),
            ("writer 1 12", "writer 1 012"),
            ("writer 2", "\nwriter 2"),
        ] {
            assert!(text.contains(old), "{old}");
            assert_eq!(Checkpoint::parse(&text.replace(old, new)), None, "{new}");
        }
        assert_eq!(Checkpoint::parse(text.trim_end()), None);
    }
}
