//! Counters of this node, and the pages that scrapers read. Names are those of MinIO's second
//! version of metrics where the meaning is the same, so that its dashboards go on working.

mod facts;
mod page;
mod process;
mod render;
mod token;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

pub(crate) use facts::{DriveFacts, Facts, HealFacts, Section};
pub(crate) use render::render;
pub(crate) use token::verify_token;

/// Upper bounds of the classes of times to the first byte, in seconds.
const TTFB_SECONDS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Counts what this node does, from its start.
#[derive(Debug)]
pub(crate) struct Metrics {
    started: Instant,
    started_at: SystemTime,
    calls: Mutex<BTreeMap<&'static str, Calls>>,
    in_flight: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    panics: AtomicU64,
}

#[derive(Debug, Clone, Default)]
struct Calls {
    all: u64,
    client_errors: u64,
    server_errors: u64,
    ttfb: [u64; TTFB_SECONDS.len()],
    ttfb_seconds: f64,
}

impl Metrics {
    /// Begins counting.
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
            calls: Mutex::default(),
            in_flight: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    /// Counts an answered call of an operation, such as `PutObject`: its status, and how long its
    /// first byte took.
    pub(crate) fn called(&self, api: &'static str, status: u16, first_byte: Duration) {
        let seconds = first_byte.as_secs_f64();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = calls.entry(api).or_default();
        calls.all += 1;
        calls.client_errors += u64::from((400..500).contains(&status));
        calls.server_errors += u64::from(status >= 500);
        calls.ttfb_seconds += seconds;
        for (count, bound) in calls.ttfb.iter_mut().zip(TTFB_SECONDS) {
            *count += u64::from(seconds <= bound);
        }
    }

    pub(crate) fn began(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that clients sent, and bytes sent to them.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        (
            self.received.load(Ordering::Relaxed),
            self.sent.load(Ordering::Relaxed),
        )
    }

    /// Requests that ended in a panic.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}
