//! The patience with a client that reads nothing: a connection to which nothing can be
//! written for a while is ended, and with it what is held for it.

use std::future::Future as _;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::time::Sleep;

/// A connection on which writing may take so long.
pub(super) struct Patience<S> {
    stream: S,
    most: Duration,
    /// What is left of it. Runs only while something waits to be written.
    left: Option<Pin<Box<Sleep>>>,
}

impl<S> Patience<S> {
    /// With a client that takes nothing for `most`.
    pub(super) fn of(stream: S, most: Duration) -> Self {
        Self {
            stream,
            most,
            left: None,
        }
    }

    /// What writing came to, or that it took too long. Where it is done at once no timer
    /// is made.
    fn or_over<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.left = None;
            return written;
        }
        let most = self.most;
        let left = self
            .left
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(most)));
        let over = || io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing");
        left.as_mut().poll(cx).map(|()| Err(over()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.or_over(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.or_over(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.or_over(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.or_over(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::Instant;

    const MOST: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_waited_for_and_who_reads_nothing_is_not() {
        let (here, mut there) = tokio::io::duplex(8);
        let mut here = Patience::of(here, MOST);
        let reads = async {
            let mut some = [0; 8];
            for _ in 0..4 {
                tokio::time::sleep(MOST - Duration::from_secs(1)).await;
                there.read_exact(&mut some).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(here.write_all(&[1; 40]), reads);
        written.unwrap();
        let begun = Instant::now();
        let error = here.write_all(&[1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_to_be_written_nothing_is_waited_for() {
        let (here, mut there) = tokio::io::duplex(8);
        let mut here = Patience::of(here, MOST);
        here.write_all(&[1]).await.unwrap();
        assert!(here.left.is_none());
        tokio::time::sleep(MOST * 10).await;
        here.write_all(&[1]).await.unwrap();
        assert_eq!(there.read(&mut [0; 8]).await.unwrap(), 2);
    }
}
