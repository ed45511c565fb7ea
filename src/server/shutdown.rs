//! The signals that end or nudge the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Listens for SIGTERM and SIGINT from the moment of its making.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Takes the signals over.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Tells `stop` at the first signal, and returns at the second: whoever asks twice does not
    /// want to wait.
    pub(crate) async fn watch(mut self, stop: watch::Sender<bool>) {
        self.next().await;
        tracing::info!("stopping: finishing the requests in flight");
        stop.send_replace(true);
        self.next().await;
        tracing::warn!("stopping at once");
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Listens for SIGHUP, which asks for certificates to be read again.
pub(crate) fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}
