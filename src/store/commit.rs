//! A commit in flight: sent to every drive of the set, acknowledged when W have it, and never
//! abandoned before (commit rule 4).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use drive::{Commit, Committed, Register, Row};
use futures_util::Stream;
use futures_util::stream::FuturesUnordered;
use quorum::{Places, Tally, Verdict};
use tokio::sync::mpsc::UnboundedSender;
use types::{Head, Order, Placed, VersionId};

use crate::answers::Answers;
use crate::error::Error;
use crate::gates::Pass;
use crate::heal::Depth;
use crate::holder::Lease;
use crate::inline::Whose;
use crate::rewrite::{extent_of, rewrite_file};
use crate::set::ErasureSet;

/// How long a client waits for W before it hears 503. The commit goes on.
const CLIENT_WAIT: Duration = Duration::from_secs(20);
/// Between two attempts on the drives that refused.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What a commit carries for the drives.
pub(crate) struct Parcel {
    pub(crate) register: Arc<Register>,
    pub(crate) row: Arc<Row>,
    /// The frame of each place, for inline rows.
    pub(crate) inline: Vec<Option<Bytes>>,
    /// The places that have the shard files that the row names, if it takes any to commit it. The
    /// others get theirs when the commit does not come to its end without them, or by heal.
    pub(crate) ready: Places,
}

impl ErasureSet {
    /// Orders a change and commits it, by the lease under which it was decided: the end of
    /// everything that becomes visible. The row's order is the next of the lease, unless that
    /// issued it already; a birth of zero means that its version is born by it.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        pass: Pass,
        lease: Lease,
        mut parcel: Parcel,
    ) -> Result<Head, Error> {
        let mut head = parcel.row.head;
        self.may_begin(&head, parcel.ready)?;
        if head.order.epoch != lease.epoch {
            head.order = self.holder.issue(lease)?;
        }
        if head.born == Order::ZERO {
            head.born = head.order;
            if head.version != VersionId::Null {
                head.version = VersionId::Born(head.order);
            }
        }
        Arc::make_mut(&mut parcel.row).head = head;
        InFlight::send(self, pass, lease, parcel)
            .acknowledged()
            .await?;
        Ok(head)
    }

    /// Rule 4: fails while fewer than W of these places look healthy.
    pub(crate) fn may_begin(&self, head: &Head, ready: Places) -> Result<(), Error> {
        let healthy = self.takers(head.kind).and(ready).len();
        match quorum::may_begin(healthy, head) {
            true => Ok(()),
            false => Err(self.refusal(head.kind)),
        }
    }
}

/// A commit that somebody waits for. Dropping it hands it to the set's collector.
pub(crate) struct InFlight(Option<Flight>);

/// A commit on its way.
pub(crate) struct Flight {
    set: Arc<ErasureSet>,
    lease: Lease,
    parcel: Parcel,
    tally: Tally,
    answers: Answers<Committed>,
    failed: Vec<usize>,
    decided: bool,
    /// Held until the commit is decided.
    pass: Option<Pass>,
}

/// Where commits go that nobody waits for any more.
pub(crate) type Collector = UnboundedSender<Flight>;

/// How a commit stands.
enum Standing {
    Agreed,
    Short,
    Deposed,
}

impl InFlight {
    /// Sends a row to all drives.
    pub(crate) fn send(set: &Arc<ErasureSet>, pass: Pass, lease: Lease, parcel: Parcel) -> Self {
        let mut flight = Flight {
            tally: Tally::new(&parcel.row.head, set.len()),
            set: Arc::clone(set),
            lease,
            parcel,
            answers: Answers::new(),
            failed: Vec::new(),
            decided: false,
            pass: Some(pass),
        };
        for place in 0..set.len() {
            flight.send_to(place);
        }
        Self(Some(flight))
    }

    /// Waits until every drive that it was sent to has answered, whatever they say: for rows
    /// that are committed already. Says how many took it.
    pub(crate) async fn answered(mut self) -> u64 {
        let Some(mut flight) = self.0.take() else {
            return 0;
        };
        flight.hear_all().await;
        u64::try_from(flight.tally.acknowledged().len()).unwrap_or(0)
    }

    /// Waits until W drives have it. Whatever comes of the caller, the commit goes on.
    pub(crate) async fn acknowledged(mut self) -> Result<(), Error> {
        let Some(flight) = self.0.as_mut() else {
            return Ok(());
        };
        match tokio::time::timeout(CLIENT_WAIT, flight.decide()).await {
            Ok(Standing::Agreed) => Ok(()),
            Ok(Standing::Deposed) => Err(Error::Unavailable("another holder has the key's slot")),
            Ok(Standing::Short) if flight.full() => Err(Error::Full),
            Ok(Standing::Short) => Err(Error::Unavailable("too few drives took the write")),
            Err(_) => Err(Error::Unavailable(
                "the drives did not take the write in time",
            )),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Some(flight) = self.0.take() else { return };
        if flight.decided && flight.answers.is_empty() {
            flight.close();
        } else {
            let collector = flight.set.collector.clone();
            // A collector that is gone means that the process stops: the next one decides.
            let _ = collector.send(flight);
        }
    }
}

impl Flight {
    fn send_to(&mut self, place: usize) {
        let drive = self.set.drives.get(place);
        let Some(drive) = drive.filter(|_| self.parcel.ready.contains(place)) else {
            self.tally.failed(place);
            return self.failed.push(place);
        };
        let reply = drive.commit(Commit {
            fence: self.lease.fence,
            register: Arc::clone(&self.parcel.register),
            row: Arc::clone(&self.parcel.row),
            inline: self.parcel.inline.get(place).cloned().flatten(),
        });
        self.answers.push(place, reply);
    }

    fn full(&self) -> bool {
        let full = |drive: &Arc<dyn drive::Drive>| drive.status() == drive::Status::Full;
        self.set.drives.iter().any(full)
    }

    async fn decide(&mut self) -> Standing {
        loop {
            if self.tally.verdict() == Verdict::Agreed {
                self.agree();
                return Standing::Agreed;
            }
            if self.answers.is_empty() {
                return Standing::Short;
            }
            let answers = self.answers.next(self.tally.missing()).await;
            let mut fenced = false;
            for (place, answer) in answers {
                match answer {
                    Ok(done) => self.note(place, done),
                    Err(drive::Error::Fenced { .. }) => {
                        self.tally.failed(place);
                        fenced = true;
                    }
                    Err(error) => self.refuse(place, &error),
                }
            }
            if fenced && self.tally.verdict() != Verdict::Agreed {
                let Some(grown) = self.set.holder.refused(self.lease) else {
                    self.depose();
                    return Standing::Deposed;
                };
                self.begin_anew(grown);
            }
        }
    }

    /// Sends it to all drives under a higher fence. What was acknowledged under the older one counts
    /// no more: the drive may have been replaced since (way 7).
    fn begin_anew(&mut self, lease: Lease) {
        self.lease = lease;
        self.tally = Tally::new(&self.parcel.row.head, self.set.len());
        self.answers = Answers::new();
        self.failed.clear();
        for place in 0..self.set.len() {
            self.send_to(place);
        }
    }

    fn note(&mut self, place: usize, done: Committed) {
        self.tally.ok(place);
        self.set.acknowledged(place, done.position);
    }

    fn refuse(&mut self, place: usize, error: &drive::Error) {
        if matches!(error, drive::Error::OrderTaken(_)) {
            tracing::error!(place, %error, "two holders share an epoch");
        } else {
            tracing::warn!(place, %error, "a drive did not take a commit");
        }
        if matches!(error, drive::Error::NotStaged(_)) {
            self.parcel.ready.remove(place);
        }
        self.tally.failed(place);
        self.failed.push(place);
    }

    fn agree(&mut self) {
        if !self.decided {
            self.decided = true;
            let head = &self.parcel.row.head;
            self.set.holder.settled(self.lease.fence.slot, head.order);
            self.pass = None;
        }
    }

    /// The slot is another's: its first touch finishes or voids what this commit left behind.
    fn depose(&mut self) {
        self.decided = true;
        self.failed.clear();
        self.answers = Answers::new();
        self.pass = None;
    }

    /// Follows the commit to its end: W, then every drive that can still have it.
    async fn finish(mut self) {
        loop {
            match self.decide().await {
                Standing::Deposed => return,
                Standing::Agreed => break,
                Standing::Short => {
                    tokio::time::sleep(RETRY_AFTER).await;
                    self.bring_files().await;
                    let again = std::mem::take(&mut self.failed);
                    self.tally = Tally::resume(&self.tally);
                    for place in again {
                        self.send_to(place);
                    }
                }
            }
        }
        self.hear_all().await;
        self.close();
    }

    /// Waits for the answers that are still to come.
    async fn hear_all(&mut self) {
        while !self.answers.is_empty() {
            for (place, answer) in self.answers.next(usize::MAX).await {
                match answer {
                    Ok(done) => self.note(place, done),
                    Err(error) => self.refuse(place, &error),
                }
            }
        }
    }

    /// Writes shard files on the places that lack theirs. A drive that had its own may be gone for
    /// good, and a commit that has begun must be able to end.
    async fn bring_files(&mut self) {
        let Parcel {
            register,
            row,
            ready,
            ..
        } = &self.parcel;
        let lacking = Places::all(self.set.len()).without(*ready);
        let sources = self.tally.acknowledged();
        let enough = sources.len() >= row.head.geometry.data();
        if row.head.placed != Placed::File || lacking.is_empty() || !enough {
            return;
        }
        let whose = Whose {
            register: Arc::clone(register),
            slot: self.lease.fence.slot,
        };
        let brought =
            async { rewrite_file(&self.set, &whose, &extent_of(row)?, sources, lacking).await };
        match brought.await {
            Ok(done) => self.parcel.ready = self.parcel.ready.or(done),
            Err(error) => tracing::warn!(%error, "a commit lacks shard files"),
        }
    }

    /// Every drive has answered: all have it, or heal is told who does not.
    fn close(&self) {
        let (slot, order) = (self.lease.fence.slot, self.parcel.row.head.order);
        if self.failed.is_empty() {
            self.set.holder.complete(slot, order);
        } else {
            self.set
                .hints
                .note(&self.parcel.register, slot, Depth::Rows);
        }
    }
}

/// Takes over the commits that nobody waits for. Ends when the set is gone.
pub(crate) struct Finisher {
    incoming: tokio::sync::mpsc::UnboundedReceiver<Flight>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Finisher {
    pub(crate) fn new(incoming: tokio::sync::mpsc::UnboundedReceiver<Flight>) -> Self {
        Self {
            incoming,
            running: FuturesUnordered::new(),
        }
    }
}

impl Future for Finisher {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut closed = false;
        loop {
            match self.incoming.poll_recv(context) {
                Poll::Ready(Some(flight)) => self.running.push(Box::pin(flight.finish())),
                Poll::Ready(None) => {
                    closed = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        while let Poll::Ready(Some(())) = Pin::new(&mut self.running).poll_next(context) {}
        if closed && self.running.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
