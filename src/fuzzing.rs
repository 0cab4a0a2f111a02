//! What the fuzz targets of `tests/fuzz`, and the tests that replay what they
//! kept, have in common. Compiled for tests and with the feature `fuzzing`.
//!
//! The properties themselves stand in a `fuzzing` of each room that reads what
//! others wrote, because they reach what is private there.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use tokio::io::AsyncRead;
use tokio::io::ReadBuf;

/// Bytes that come in pieces.
pub struct Pieces<'a> {
    bytes: &'a [u8],
    dice: u64,
}

impl<'a> Pieces<'a> {
    /// In pieces whose lengths depend on `seed`.
    pub fn new(bytes: &'a [u8], seed: u8) -> Self {
        Self {
            bytes,
            dice: u64::from(seed),
        }
    }

    /// The next piece, of at most so many bytes. None at the end.
    pub fn next(&mut self, most: usize) -> Option<&'a [u8]> {
        // Knuth's MMIX generator.
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let drawn = usize::try_from(self.dice >> 40).unwrap_or(usize::MAX);
        let length = match drawn % 4 {
            0 => 1,
            1 => 1 + drawn / 4 % 4,
            2 => 1 + drawn / 4 % 64,
            _ => usize::MAX,
        };
        let length = length.min(most).min(self.bytes.len());
        let (piece, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        (!piece.is_empty()).then_some(piece)
    }
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(piece) = self.next(to.remaining()) {
            to.put_slice(piece);
        }
        Poll::Ready(Ok(()))
    }
}

/// A stream for a splitter: how long its parts may be, how its pieces are cut,
/// and the bytes, of which one stands for more than a reader takes in at once.
pub fn stream(input: &[u8]) -> Option<(usize, u8, Vec<u8>)> {
    let (&limit, rest) = input.split_first()?;
    let (&seed, rest) = rest.split_first()?;
    let mut bytes = Vec::with_capacity(rest.len());
    for &byte in rest {
        match byte {
            0xfe => bytes.resize(bytes.len() + (40 << 10), b'x'),
            byte => bytes.push(byte),
        }
    }
    Some((usize::from(limit), seed, bytes))
}

/// What a future that never waits comes to.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing is waited for"),
    }
}

/// Checks all that was kept of a target.
#[cfg(test)]
pub(crate) fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = format!("{}/tests/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(&folder).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    for file in files {
        // Shown where a property breaks.
        println!("{}", file.display());
        check(&std::fs::read(&file).unwrap());
    }
}
