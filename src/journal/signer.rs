//! The key that signs checkpoints (Ed25519, RFC 8032), in a file of its own: whoever
//! has it can sign what never was, so it is worth more than the store.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use ring::signature::ED25519;
use ring::signature::Ed25519KeyPair;
use ring::signature::KeyPair;
use ring::signature::UnparsedPublicKey;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use uuid::Uuid;

/// What stands before the 32 bytes of a private key in PKCS #8 (RFC 8410 §7).
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// What stands before the 32 bytes of a public one (RFC 8410 §4).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Signs checkpoints.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.public).finish()
    }
}

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("cannot use the key of the journal `{}`", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds no key of the right kind.
    #[error(
        "`{}` is no Ed25519 key: it must be PKCS #8 as PEM, as `openssl genpkey -algorithm ed25519` writes it, or not be there at all; then one is made",
        path.display()
    )]
    Form {
        /// Which file.
        path: PathBuf,
    },
    /// Others may have read it.
    #[error(
        "others can read the key of the journal `{}`: take it away and let a new one be made, or `chmod 600` it where nobody did",
        path.display()
    )]
    Readable {
        /// Which file.
        path: PathBuf,
    },
}

impl Signer {
    /// The key in this file, which is made (mode 0600) where there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be read or made, or others can read it.
    pub fn at(path: &Path) -> Result<Self, KeyError> {
        if let Some(signer) = Self::existing(path)? {
            return Ok(signer);
        }
        make(path).map_err(|source| KeyError::File {
            path: path.to_owned(),
            source,
        })?;
        let lost = || KeyError::File {
            path: path.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        };
        Self::existing(path)?.ok_or_else(lost)
    }

    /// The key in this file; none where there is no such file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or others can read it.
    pub fn existing(path: &Path) -> Result<Option<Self>, KeyError> {
        let failed = |source| KeyError::File {
            path: path.to_owned(),
            source,
        };
        let text = match std::fs::read_to_string(path) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(failed)?,
        };
        let mode = std::fs::metadata(path)
            .map_err(failed)?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(KeyError::Readable {
                path: path.to_owned(),
            });
        }
        let signer = Self::parse(&text).ok_or_else(|| KeyError::Form {
            path: path.to_owned(),
        })?;
        Ok(Some(signer))
    }

    fn parse(text: &str) -> Option<Self> {
        let (_before, body) = text.split_once("-----BEGIN PRIVATE KEY-----")?;
        let (body, _after) = body.split_once("-----END PRIVATE KEY-----")?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).ok()?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok()?;
        let public = PublicKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pair, public })
    }

    /// What others check its signatures with.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(super) fn sign(&self, text: &str) -> Signature {
        let signed = self.pair.sign(text.as_bytes());
        let mut bytes = [0; 64];
        for (place, byte) in bytes.iter_mut().zip(signed.as_ref()) {
            *place = *byte;
        }
        Signature(bytes)
    }
}

/// Makes a key under another name first, and links it: of several processes that do
/// this at once one wins, and all read a whole key.
fn make(path: &Path) -> io::Result<()> {
    let mut der = PKCS8.to_vec();
    let mut seed = [0; 32];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_no_chance| io::Error::other("the system gives no random bytes"))?;
    der.extend_from_slice(&seed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", Uuid::new_v4().simple()));
    let fresh = PathBuf::from(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    let pem = STANDARD.encode(der);
    let written = writeln!(
        file,
        "-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----"
    );
    let linked = written
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::hard_link(&fresh, path));
    std::fs::remove_file(&fresh)?;
    match linked {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(source),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What signatures of a key are checked with: 32 bytes, written in Base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The same for other programs: SubjectPublicKeyInfo as PEM (RFC 8410 §4).
    pub fn pem(&self) -> String {
        let mut der = SPKI.to_vec();
        der.extend_from_slice(&self.0);
        let der = STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
    }

    pub(super) fn signed(&self, text: &str, signature: &Signature) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        key.verify(text.as_bytes(), &signature.0).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

/// The text is no public key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no public key: write the line that `countersign journal key` prints, 44 characters"
)]
pub struct PublicKeyError;

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = STANDARD.decode(text.trim()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(PublicKeyError)
    }
}

/// A signature of 64 bytes, written in Base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signature([u8; 64]);

impl Signature {
    pub(super) fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    pub(super) fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

#[cfg(test)]
pub(super) fn signer_for_tests() -> Signer {
    let mut der = PKCS8.to_vec();
    der.extend_from_slice(&[7; 32]);
    let pem = STANDARD.encode(der);
    let text = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
    Signer::parse(&text).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(Signer::existing(&path).unwrap().is_none());
        let made = Signer::at(&path).unwrap().public();
        assert_eq!(Signer::at(&path).unwrap().public(), made);
        assert_eq!(made.to_string().parse(), Ok(made));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let refused = Signer::at(&path);
        assert!(matches!(refused, Err(KeyError::Readable { .. })));
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "none").unwrap();
        assert!(matches!(Signer::at(&path), Err(KeyError::Form { .. })));
    }

    #[test]
    fn a_signature_is_of_one_text_and_one_key() {
        let signer = signer_for_tests();
        let signature = signer.sign("a text");
        let read = Signature::parse(&signature.to_string());
        assert_eq!(read, Some(signature));
        assert!(signer.public().signed("a text", &signature));
        assert!(!signer.public().signed("a texT", &signature));
        let other: PublicKey = STANDARD.encode([9; 32]).parse().unwrap();
        assert!(!other.signed("a text", &signature));
    }
}
