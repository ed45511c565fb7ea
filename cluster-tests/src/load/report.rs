//! What a run measured, as one line for a person or one JSON object for a program.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Latencies and outcomes of one worker, or of all once merged.
#[derive(Debug, Default)]
pub struct Tally {
    /// One entry per request that succeeded, in microseconds.
    pub micros: Vec<u32>,
    /// Bytes of bodies sent or received by requests that succeeded.
    pub bytes: u64,
    /// Keys seen by listings.
    pub keys: u64,
    /// How often each failure occurred: a status, a wrong body, an I/O error.
    pub failures: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds what another worker counted.
    pub fn merge(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.bytes += other.bytes;
        self.keys += other.keys;
        for (what, count) in other.failures {
            *self.failures.entry(what).or_default() += count;
        }
    }

    /// Counts one failure.
    pub fn fail(&mut self, what: String) {
        *self.failures.entry(what).or_default() += 1;
    }
}

/// The result of a run. Rates are per second of wall clock.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What ran, e.g. `put`.
    pub op: String,
    /// Bytes per object.
    pub size: u64,
    /// Requests in flight.
    pub clients: usize,
    /// Requests that succeeded.
    pub ops: u64,
    /// Requests that did not.
    pub errors: u64,
    /// Wall clock.
    pub seconds: f64,
    /// Successful requests per second.
    pub ops_per_s: f64,
    /// Body MiB per second.
    pub mib_per_s: f64,
    /// Listed keys per second.
    pub keys_per_s: f64,
    /// Listed keys.
    pub keys: u64,
    /// Median latency in microseconds.
    pub p50_us: u32,
    /// 99th percentile in microseconds.
    pub p99_us: u32,
    /// The slowest.
    pub max_us: u32,
    /// CPU of this process per successful request, in microseconds.
    pub client_cpu_us: f64,
    /// Failures by kind.
    pub failures: BTreeMap<String, u64>,
}

impl Report {
    /// Sums up. `cpu` is what this process used during the run.
    pub fn new(
        op: &str,
        size: u64,
        clients: usize,
        wall: Duration,
        cpu: Duration,
        tally: Tally,
    ) -> Self {
        let mut micros = tally.micros;
        micros.sort_unstable();
        let at = |part: usize| {
            let index = (micros.len() * part / 1000).min(micros.len().saturating_sub(1));
            micros.get(index).copied().unwrap_or_default()
        };
        let seconds = wall.as_secs_f64().max(1e-9);
        let ops = micros.len() as f64;
        Self {
            op: op.into(),
            size,
            clients,
            ops: micros.len() as u64,
            errors: tally.failures.values().sum(),
            seconds,
            ops_per_s: ops / seconds,
            mib_per_s: tally.bytes as f64 / seconds / (1 << 20) as f64,
            keys_per_s: tally.keys as f64 / seconds,
            keys: tally.keys,
            p50_us: at(500),
            p99_us: at(990),
            max_us: at(1000),
            client_cpu_us: cpu.as_secs_f64() * 1e6 / ops.max(1.0),
            failures: tally.failures,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:<8} {:>9} B c={:<3} {:>8} ops {:>9.1} op/s {:>8.1} MiB/s p50 {:>7.2} ms p99 {:>7.2} ms \
             client {:.1} us/op",
            self.op,
            self.size,
            self.clients,
            self.ops,
            self.ops_per_s,
            self.mib_per_s,
            f64::from(self.p50_us) / 1e3,
            f64::from(self.p99_us) / 1e3,
            self.client_cpu_us
        )?;
        if self.keys > 0 {
            write!(out, " {} keys {:.0} keys/s", self.keys, self.keys_per_s)?;
        }
        for (what, count) in &self.failures {
            write!(out, "\n  FAILED {count}: {what}")?;
        }
        Ok(())
    }
}

/// CPU time of this process so far.
pub fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Report, Tally};

    #[test]
    fn percentiles_are_of_the_sorted_latencies() {
        let mut tally = Tally {
            micros: (1..=1000).rev().collect(),
            ..Tally::default()
        };
        tally.fail("503".into());
        let second = Duration::from_secs(2);
        let report = Report::new("put", 1, 1, second, second, tally);
        assert_eq!(
            (report.p50_us, report.p99_us, report.max_us),
            (501, 991, 1000)
        );
        assert_eq!((report.ops, report.errors), (1000, 1));
        assert!((report.ops_per_s - 500.0).abs() < 1e-9);
    }
}
