//! The clock of a connection: how long a client may be silent, and how long it may take to send
//! the head of a request. Counts the bytes that pass, too.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::metrics::Metrics;

/// Bounds of one connection's patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// From the first byte of a request to the end of its head.
    pub(crate) head: Duration,
    /// Between requests.
    pub(crate) idle: Duration,
    /// Without taking a single byte of an answer.
    pub(crate) stall: Duration,
}

/// How long a closing connection takes bytes that nobody wants. To close with bytes unread would
/// reset it, and a client that is still sending would never read why it was refused.
const LINGER: Duration = Duration::from_secs(10);

/// What a connection is doing; shared by its stream and its requests.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    phase: AtomicU8,
    hurried: AtomicBool,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

impl Activity {
    /// A head has arrived: from here on, deadlines are the door's.
    pub(crate) fn busy(&self) {
        self.phase.store(BUSY, Ordering::Relaxed);
    }

    /// The server stops: a connection that closes does not wait for its client to close it too.
    pub(crate) fn hurry(&self) {
        self.hurried.store(true, Ordering::Relaxed);
    }

    /// The answer is complete.
    pub(crate) fn idle(&self) {
        self.phase.store(IDLE, Ordering::Relaxed);
    }

    fn is_busy(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == BUSY
    }

    /// Bytes arrived; true if they begin a request.
    fn heard(&self) -> bool {
        self.phase
            .compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// A stream that fails with `TimedOut` when its client is too slow.
pub(crate) struct Paced<S> {
    inner: S,
    activity: Arc<Activity>,
    metrics: Arc<Metrics>,
    patience: Patience,
    /// When patience ends; moves with what the connection does. None while the door has it.
    deadline: Option<Instant>,
    /// Fires at or before the deadline, so that most requests never touch the timer.
    alarm: Pin<Box<Sleep>>,
    /// When the client has taken nothing for too long; none while it takes what it is sent.
    stalled: Option<Pin<Box<Sleep>>>,
    /// When a closing connection takes no more.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(crate) fn new(
        inner: S,
        activity: Arc<Activity>,
        metrics: Arc<Metrics>,
        patience: Patience,
    ) -> Self {
        let deadline = Instant::now() + patience.head;
        let alarm = Box::pin(sleep_until(deadline));
        Self {
            inner,
            activity,
            metrics,
            patience,
            deadline: Some(deadline),
            alarm,
            stalled: None,
            lingering: None,
        }
    }

    /// Called with the outcome of a write: bytes taken, or patience with a client that takes none.
    fn poll_taken(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = written else {
            let stall = self.patience.stall;
            let alarm = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
            return alarm
                .as_mut()
                .poll(cx)
                .map(|()| Err(io::ErrorKind::TimedOut.into()));
        };
        self.stalled = None;
        self.metrics.sent(written.as_ref().copied().unwrap_or(0));
        Poll::Ready(written)
    }

    /// Called when nothing is to be read: is patience at its end? While a request is answered the
    /// alarm only looks again from time to time, since nobody says when that ends; so an idle
    /// connection is closed after one to two times its patience.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let busy = self.activity.is_busy();
            if busy {
                self.deadline = None;
            }
            let look = self
                .deadline
                .unwrap_or_else(|| Instant::now() + self.patience.idle);
            if !busy {
                self.deadline = Some(look);
            }
            if look < self.alarm.deadline() {
                self.alarm.as_mut().reset(look);
            }
            ready!(self.alarm.as_mut().poll(cx));
            if !busy && Instant::now() >= look {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.alarm.as_mut().reset(look);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut self.inner).poll_read(cx, buf) {
            let read = buf.filled().len().saturating_sub(before);
            self.metrics.received(read);
            if read > 0 && self.activity.heard() {
                self.deadline = Some(Instant::now() + self.patience.head);
            }
            return Poll::Ready(result);
        }
        self.poll_patience(cx).map(Err)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.poll_taken(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.poll_taken(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        }
        if self.activity.hurried.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let end = self
            .lingering
            .get_or_insert_with(|| Box::pin(sleep(LINGER)));
        if end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut unwanted = [MaybeUninit::uninit(); 4096];
            let mut unwanted = ReadBuf::uninit(&mut unwanted);
            let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut unwanted));
            if read.is_err() || unwanted.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        stall: Duration::from_secs(300),
    };

    fn paced() -> (Paced<DuplexStream>, DuplexStream, Arc<Activity>) {
        let (ours, theirs) = duplex(64);
        let activity = Arc::new(Activity::default());
        let metrics = Arc::new(Metrics::new());
        (
            Paced::new(ours, Arc::clone(&activity), metrics, PATIENCE),
            theirs,
            activity,
        )
    }

    async fn seconds_until_refused(stream: &mut Paced<DuplexStream>) -> u64 {
        let start = Instant::now();
        let mut byte = [0];
        while stream.read(&mut byte).await.map_err(|error| error.kind())
            != Err(io::ErrorKind::TimedOut)
        {}
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_speaks_is_let_go() {
        let (mut stream, _theirs, _) = paced();
        assert_eq!(seconds_until_refused(&mut stream).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_head_is_cut_however_it_dribbles() {
        let (mut stream, mut theirs, _) = paced();
        let dribble = async {
            for _ in 0..30 {
                theirs.write_all(b"x").await.ok();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let (seconds, ()) = tokio::join!(seconds_until_refused(&mut stream), dribble);
        assert_eq!(seconds, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_connection_waits_and_an_idle_one_not_for_ever() {
        let (mut stream, mut theirs, activity) = paced();
        theirs.write_all(b"head").await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        activity.busy();
        let hour = Duration::from_secs(3600);
        let waited = tokio::time::timeout(hour, stream.read(&mut [0])).await;
        assert!(
            waited.is_err(),
            "nothing happens while a request is answered"
        );
        activity.idle();
        assert!((75..=150).contains(&seconds_until_refused(&mut stream).await));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_and_a_slow_one_is_not() {
        let (mut stream, mut theirs, activity) = paced();
        activity.busy();
        let start = Instant::now();
        let slow = async {
            for _ in 0..4 {
                sleep(Duration::from_secs(200)).await;
                theirs.read_exact(&mut [0; 64]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(&[0; 64 * 6]), slow);
        assert_eq!(
            written.map_err(|error| error.kind()),
            Err(io::ErrorKind::TimedOut)
        );
        assert_eq!(start.elapsed().as_secs(), 800 + 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_turns_idle_unseen_is_let_go_too() {
        let (mut stream, mut theirs, activity) = paced();
        theirs.write_all(b"head").await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        activity.busy();
        let end = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            activity.idle();
        };
        let (seconds, ()) = tokio::join!(seconds_until_refused(&mut stream), end);
        assert!((75..=150).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_head_after_idling_has_its_own_deadline() {
        let (mut stream, mut theirs, activity) = paced();
        activity.busy();
        let moment = Duration::from_millis(1);
        tokio::time::timeout(moment, stream.read(&mut [0]))
            .await
            .unwrap_err();
        activity.idle();
        let minute = Duration::from_secs(60);
        tokio::time::timeout(minute, stream.read(&mut [0]))
            .await
            .unwrap_err();
        theirs.write_all(b"x").await.unwrap();
        assert_eq!(seconds_until_refused(&mut stream).await, 10);
    }
}
