//! A connection as it is written to. Who takes nothing for a while loses it, and with it
//! what is held for them; and an answer counts as read when the last of it has left us.

use super::unflushed::Unflushed;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use std::future::Future as _;
use std::io;
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::time::Sleep;

/// That the other side sends no more, where the system tells it apart from that the
/// connection is over, which is told without being asked for.
#[cfg(target_os = "linux")]
const ENDED: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const ENDED: PollFlags = PollFlags::empty();

/// A connection on which writing may take so long.
pub(super) struct Patience<S> {
    stream: S,
    most: Duration,
    /// What is left of it. Runs only while something waits to be written.
    left: Option<Pin<Box<Sleep>>>,
    receipts: Receipts<S>,
}

/// Who waits for what is written.
struct Receipts<S> {
    unflushed: Unflushed,
    is_closed: fn(&S) -> bool,
    /// Whether something was written since somebody waits for the last of it.
    written: bool,
}

impl<S> Patience<S> {
    /// With a client that takes nothing for `most`. Who waits in `unflushed` learns
    /// when all that was handed on has left us for a client of whom it cannot be said
    /// before that they have closed.
    pub(super) fn of(
        stream: S,
        most: Duration,
        (unflushed, is_closed): (Unflushed, fn(&S) -> bool),
    ) -> Self {
        Self {
            stream,
            most,
            left: None,
            receipts: Receipts {
                unflushed,
                is_closed,
                written: false,
            },
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

impl<S> Receipts<S> {
    /// Looks, before something is written that somebody waits for, whether the client is
    /// still there: the system takes what is written to one that has closed, too.
    fn before_write(&mut self, stream: &S) -> io::Result<()> {
        if self.unflushed.is_empty() {
            return Ok(());
        }
        self.written = true;
        match (self.is_closed)(stream) {
            true => Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the client has closed the connection",
            )),
            false => Ok(()),
        }
    }

    // INVARIANT: hyper takes a piece of a body only into what it writes next, and flushes
    // only when it has written all of that. So whoever waited before a write waited for
    // something that has left us now.
    fn flushed(&mut self) {
        if std::mem::take(&mut self.written) {
            self.unflushed.all_read();
        }
    }
}

/// Whether the other side sends no more. Who closes only that is taken for gone, as in
/// the middle of any request.
pub(super) fn is_closed(stream: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(stream, ENDED)];
    let found = poll(&mut polled, Some(&Timespec::default()));
    // Where it cannot be told, writing shows it.
    found.is_ok_and(|found| found > 0)
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
        let this = &mut *self;
        this.receipts.before_write(&this.stream)?;
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        self.or_over(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.receipts.before_write(&this.stream)?;
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, pieces);
        self.or_over(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.receipts.flushed();
        }
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
    use crate::broker::Awaited;
    use crate::broker::Receipt;
    use crate::http::body::Body;
    use crate::http::body::Parcel;
    use bytes::Bytes;
    use hyper::Request;
    use hyper::Response;
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use std::convert::Infallible;
    use std::sync::Mutex;
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::io::DuplexStream;
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    const MOST: Duration = Duration::from_secs(60);

    fn patient(stream: DuplexStream) -> Patience<DuplexStream> {
        Patience::of(stream, MOST, (Unflushed::default(), |_| false))
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_waited_for_and_who_reads_nothing_is_not() {
        let (here, mut there) = tokio::io::duplex(8);
        let mut here = patient(here);
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
        let mut here = patient(here);
        here.write_all(&[1]).await.unwrap();
        assert!(here.left.is_none());
        tokio::time::sleep(MOST * 10).await;
        here.write_all(&[1]).await.unwrap();
        assert_eq!(there.read(&mut [0; 8]).await.unwrap(), 2);
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    /// Serves a connection on which each request has the same answer, and says of each
    /// who waits for it.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        stream: S,
        is_closed: fn(&S) -> bool,
        (answer, asked): (Bytes, &Mutex<Vec<Awaited>>),
    ) -> hyper::Result<()> {
        let unflushed = Unflushed::default();
        let stream = Patience::of(stream, MOST, (unflushed.clone(), is_closed));
        let service = service_fn(move |_request: Request<Incoming>| {
            let (receipt, awaited) = Receipt::new();
            awaited.begin();
            asked.lock().unwrap().push(awaited);
            let body = Body::Whole(Parcel::new(answer.clone(), receipt));
            let answer = Response::new(body.on(unflushed.clone()));
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connection.await
    }

    /// What is known of who waits: read, not read, or nothing yet.
    async fn known(asked: &Mutex<Vec<Awaited>>) -> Vec<Option<bool>> {
        let asked: Vec<Awaited> = asked.lock().unwrap().clone();
        let mut known = Vec::new();
        for awaited in asked {
            known.push(tokio::select! {
                biased;
                is_read = awaited.is_read() => Some(is_read),
                () = std::future::ready(()) => None,
            });
        }
        known
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_read_when_the_last_of_it_has_left_us() {
        for length in [100, 200 << 10] {
            let (here, mut there) = tokio::io::duplex(64);
            let asked = Mutex::default();
            let answer = Bytes::from(vec![b'x'; length]);
            let mut serving = std::pin::pin!(serve(here, |_| false, (answer, &asked)));
            let talk = async {
                // The second is asked for before the first was answered.
                there.write_all(REQUEST).await.unwrap();
                there.write_all(REQUEST).await.unwrap();
                for answered in [[Some(true), None], [Some(true), Some(true)]] {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(there.read_u8().await.unwrap());
                    }
                    // All but what the pipe holds.
                    let mut body = vec![0; length - 64];
                    there.read_exact(&mut body[1..]).await.unwrap();
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let before = known(&asked).await;
                    assert_eq!(before.last(), Some(&None), "{before:?}");
                    there.read_exact(&mut [0; 65]).await.unwrap();
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let known = known(&asked).await;
                    assert_eq!(known[..], answered[..known.len()]);
                }
            };
            tokio::select! {
                ended = &mut serving => panic!("{ended:?}"),
                () = talk => {}
            }
        }
    }

    #[tokio::test]
    async fn an_answer_to_a_client_that_goes_in_the_middle_of_it_is_not_read() {
        let (here, mut there) = tokio::io::duplex(64);
        let asked = Mutex::default();
        let answer = Bytes::from(vec![b'x'; 1 << 10]);
        let serving = serve(here, |_| false, (answer, &asked));
        let talk = async {
            there.write_all(REQUEST).await.unwrap();
            there.read_exact(&mut [0; 512]).await.unwrap();
            drop(there);
        };
        let (_ended, ()) = tokio::join!(serving, talk);
        assert_eq!(known(&asked).await, [Some(false)]);
    }

    /// A connection: our side, and the client's.
    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        (accepted.unwrap().0, client.unwrap())
    }

    #[tokio::test]
    async fn what_is_written_to_a_client_that_has_closed_is_not_read() {
        for resets in [false, true] {
            let (mut here, client) = connection().await;
            assert!(!is_closed(&here));
            // Without anybody who waits nobody looks.
            here.write_all(b"before").await.unwrap();
            if resets {
                client.set_zero_linger().unwrap();
            }
            drop(client);
            while !is_closed(&here) {
                tokio::task::yield_now().await;
            }
            let (receipt, awaited) = Receipt::new();
            awaited.begin();
            let unflushed = Unflushed::default();
            unflushed.add(receipt);
            let mut here = Patience::of(here, MOST, (unflushed, is_closed));
            let error = here.write_all(b"told").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            drop(here);
            assert!(!awaited.is_read().await);
        }
    }
}
