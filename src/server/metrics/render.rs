//! The pages, family by family.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use crate::health::SetHealth;
use crate::metrics::facts::{DriveFacts, Facts, HealFacts, Section};
use crate::metrics::page::{Kind, Page};
use crate::metrics::process::Process;
use crate::metrics::{Calls, Metrics, TTFB_SECONDS};

/// Writes a page of metrics.
pub(crate) fn render(section: Section, metrics: &Metrics, facts: &Facts) -> String {
    let mut page = Page::new(&facts.server);
    match section {
        Section::Cluster => {
            software(&mut page);
            cluster(&mut page, facts);
            requests(&mut page, metrics);
        }
        Section::Node => {
            software(&mut page);
            node_process(&mut page, metrics);
            drives(&mut page, facts);
            requests(&mut page, metrics);
        }
        Section::Bucket => {
            software(&mut page);
            buckets(&mut page, facts);
        }
        Section::Resource => drives(&mut page, facts),
    }
    page.into_text()
}

fn software(page: &mut Page) {
    let name = "minio_software_version_info";
    page.family(name, Kind::Gauge, "Version of the server.");
    page.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
}

fn requests(page: &mut Page, metrics: &Metrics) {
    let calls = metrics
        .calls
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    type Count = fn(&Calls) -> u64;
    let families: [(&str, &str, Count); 4] = [
        (
            "minio_s3_requests_total",
            "S3 requests answered.",
            |calls| calls.all,
        ),
        (
            "minio_s3_requests_errors_total",
            "S3 requests answered with an error.",
            |calls| calls.client_errors + calls.server_errors,
        ),
        (
            "minio_s3_requests_4xx_errors_total",
            "S3 requests answered with 4xx.",
            |calls| calls.client_errors,
        ),
        (
            "minio_s3_requests_5xx_errors_total",
            "S3 requests answered with 5xx.",
            |calls| calls.server_errors,
        ),
    ];
    for (name, help, count) in families {
        page.family(name, Kind::Counter, help);
        for (api, calls) in &calls {
            page.sample(name, &[("api", &api.to_ascii_lowercase())], count(calls));
        }
    }
    first_bytes(page, &calls);
    traffic(page, metrics);
}

fn first_bytes(page: &mut Page, calls: &BTreeMap<&'static str, Calls>) {
    let name = "minio_s3_requests_ttfb_seconds_distribution";
    page.family(
        name,
        Kind::Histogram,
        "Seconds until the first byte of an answer.",
    );
    let (bucket, sum, count) = (
        format!("{name}_bucket"),
        format!("{name}_sum"),
        format!("{name}_count"),
    );
    for (api, calls) in calls {
        let api = api.to_ascii_lowercase();
        for (bound, within) in TTFB_SECONDS.iter().zip(calls.ttfb) {
            page.sample(
                &bucket,
                &[("api", &api), ("le", &bound.to_string())],
                within,
            );
        }
        page.sample(&bucket, &[("api", &api), ("le", "+Inf")], calls.all);
        page.sample(&sum, &[("api", &api)], calls.ttfb_seconds);
        page.sample(&count, &[("api", &api)], calls.all);
    }
}

fn traffic(page: &mut Page, metrics: &Metrics) {
    let (received, sent) = metrics.traffic();
    let mut counter = |name, help, value| page.single(name, Kind::Counter, help, value);
    counter(
        "minio_s3_traffic_received_bytes",
        "Bytes that clients sent.",
        received,
    );
    counter(
        "minio_s3_traffic_sent_bytes",
        "Bytes sent to clients.",
        sent,
    );
    counter(
        "sarsen_request_panics_total",
        "Requests that ended in a panic.",
        metrics.panics(),
    );
    let in_flight = metrics.in_flight.load(Ordering::Relaxed);
    page.single(
        "minio_s3_requests_inflight_total",
        Kind::Gauge,
        "Requests in flight.",
        in_flight,
    );
}

fn cluster(page: &mut Page, facts: &Facts) {
    let online = facts.drives.iter().filter(|drive| drive.online).count();
    let offline = facts.drives.len() - online;
    let sum = |bytes: fn(&DriveFacts) -> u64| -> u64 { facts.drives.iter().map(bytes).sum() };
    let healthy = facts.health.sets.iter().all(|set| set.is_writable());
    // Of each set's bytes, the part that is not parity, as far as nobody asks for another class.
    let usable = |bytes: u64| {
        let geometry = facts.health.sets.first().map(|set| set.geometry);
        geometry.map_or(0, |geometry| {
            bytes / geometry.drives() as u64 * geometry.data() as u64
        })
    };
    let (total, free) = (
        sum(|drive| drive.total_bytes),
        sum(|drive| drive.free_bytes),
    );
    let mut gauge = |name, help, value: u64| page.single(name, Kind::Gauge, help, value);
    gauge(
        "minio_cluster_drive_online_total",
        "Drives that answer.",
        online as u64,
    );
    gauge(
        "minio_cluster_drive_offline_total",
        "Drives that do not answer.",
        offline as u64,
    );
    gauge(
        "minio_cluster_drive_total",
        "Drives.",
        facts.drives.len() as u64,
    );
    gauge("minio_cluster_nodes_online_total", "Nodes that answer.", 1);
    gauge(
        "minio_cluster_nodes_offline_total",
        "Nodes that do not answer.",
        0,
    );
    gauge(
        "minio_cluster_health_status",
        "1 if every set can be written.",
        u64::from(healthy),
    );
    gauge(
        "minio_cluster_capacity_raw_total_bytes",
        "Size of all drives.",
        total,
    );
    gauge(
        "minio_cluster_capacity_raw_free_bytes",
        "Free on all drives.",
        free,
    );
    gauge(
        "minio_cluster_capacity_usable_total_bytes",
        "Size of all drives without parity.",
        usable(total),
    );
    gauge(
        "minio_cluster_capacity_usable_free_bytes",
        "Free on all drives without parity.",
        usable(free),
    );
    erasure_sets(page, &facts.health.sets);
    buckets(page, facts);
    joining(page, facts);
    heal(page, facts.heal);
}

fn heal(page: &mut Page, heal: HealFacts) {
    let mut counter = |name, help, value: u64| page.single(name, Kind::Counter, help, value);
    counter(
        "minio_heal_objects_total",
        "Objects that repair looked at.",
        heal.scanned,
    );
    counter(
        "minio_heal_objects_heal_total",
        "Copies of objects that repair wrote again.",
        heal.healed,
    );
    counter(
        "sarsen_bad_shards_total",
        "Shards found missing or damaged by reads.",
        heal.bad,
    );
    counter(
        "sarsen_scrubs_total",
        "Scrubs that read every shard.",
        heal.scrubs,
    );
    let mut gauge = |name, help, value: u64| page.single(name, Kind::Gauge, help, value);
    gauge(
        "minio_heal_objects_errors_total",
        "Objects that the last walk could not make whole.",
        heal.failed,
    );
    gauge(
        "sarsen_healed",
        "1 if the last recount found all objects whole on all drives.",
        u64::from(heal.whole),
    );
    gauge(
        "sarsen_recount_objects",
        "Objects that the recount at hand has seen.",
        heal.recounting,
    );
    gauge(
        "sarsen_recount_objects_expected",
        "About how many objects a recount sees.",
        heal.expected,
    );
}

fn joining(page: &mut Page, facts: &Facts) {
    let joining: usize = facts.health.sets.iter().map(|set| set.healing).sum();
    page.single(
        "sarsen_drives_joining",
        Kind::Gauge,
        "Drives that are being rebuilt and do not vote.",
        joining as u64,
    );
}

/// A family of samples, one of each drive: its name, kind, help and value.
type DriveFamily = (&'static str, Kind, &'static str, fn(&DriveFacts) -> u64);

const DRIVE_FAMILIES: [DriveFamily; 9] = [
    (
        "minio_node_drive_total_bytes",
        Kind::Gauge,
        "Size of a drive.",
        |drive| drive.total_bytes,
    ),
    (
        "minio_node_drive_free_bytes",
        Kind::Gauge,
        "Free on a drive.",
        |drive| drive.free_bytes,
    ),
    (
        "minio_node_drive_free_inodes",
        Kind::Gauge,
        "Files that can still be made on a drive.",
        |drive| drive.free_inodes,
    ),
    (
        "minio_node_drive_used_bytes",
        Kind::Gauge,
        "Used on a drive.",
        |drive| drive.total_bytes.saturating_sub(drive.free_bytes),
    ),
    (
        "minio_node_drive_errors_timeout",
        Kind::Counter,
        "Operations that took too long.",
        |drive| drive.timeouts,
    ),
    (
        "minio_node_drive_errors_availability",
        Kind::Counter,
        "Operations that failed.",
        |drive| drive.errors,
    ),
    (
        "sarsen_node_drive_log_batches_total",
        Kind::Counter,
        "Batches written to a drive's log, each with one sync.",
        |drive| drive.batches,
    ),
    (
        "sarsen_node_drive_returns_total",
        Kind::Counter,
        "How often a drive was taken back, or another one in its place, without a restart.",
        |drive| drive.returns,
    ),
    (
        "sarsen_node_drive_online",
        Kind::Gauge,
        "1 if a drive answers.",
        |drive| u64::from(drive.online),
    ),
];

fn drives(page: &mut Page, facts: &Facts) {
    for (name, kind, help, value) in DRIVE_FAMILIES {
        page.family(name, kind, help);
        for drive in &facts.drives {
            page.sample(name, &[("drive", &drive.path)], value(drive));
        }
    }
    let online = facts.drives.iter().filter(|drive| drive.online).count();
    let mut gauge = |name, help, value: usize| page.single(name, Kind::Gauge, help, value);
    gauge(
        "minio_node_drive_online_total",
        "Drives of this node that answer.",
        online,
    );
    gauge(
        "minio_node_drive_offline_total",
        "Drives of this node that do not.",
        facts.drives.len() - online,
    );
    gauge(
        "minio_node_drive_total",
        "Drives of this node.",
        facts.drives.len(),
    );
}

fn buckets(page: &mut Page, facts: &Facts) {
    let name = "minio_cluster_bucket_total";
    page.single(name, Kind::Gauge, "Buckets.", facts.buckets as u64);
}

/// Each set, under the names of MinIO's health metrics; there is one pool.
fn erasure_sets(page: &mut Page, sets: &[SetHealth]) {
    type Value = fn(&SetHealth) -> usize;
    let families: [(&str, &str, Value); 6] = [
        ("online_drives", "Drives of a set that answer.", |set| {
            set.online
        }),
        ("healing_drives", "Drives of a set in repair.", |set| {
            set.healing
        }),
        (
            "read_quorum",
            "Drives that a read needs.",
            SetHealth::read_quorum,
        ),
        ("write_quorum", "Drives that a write needs.", |set| {
            set.write_quorum(set.online)
        }),
        ("read_health", "1 if a set can be read.", |set| {
            usize::from(set.is_readable())
        }),
        ("status", "1 if a set can be written.", |set| {
            usize::from(set.is_writable())
        }),
    ];
    for (end, help, value) in families {
        let name = format!("minio_cluster_health_erasure_set_{end}");
        page.family(&name, Kind::Gauge, help);
        for (number, set) in sets.iter().enumerate() {
            let labels = [("pool", "0"), ("set", &number.to_string())];
            page.sample(&name, &labels, value(set));
        }
    }
}

fn node_process(page: &mut Page, metrics: &Metrics) {
    let process = Process::read(Path::new("/proc/self"));
    let started = metrics
        .started_at
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let uptime = metrics.started.elapsed().as_secs_f64();
    page.single(
        "minio_node_process_starttime_seconds",
        Kind::Gauge,
        "When the server started.",
        started,
    );
    page.single(
        "minio_node_process_uptime_seconds",
        Kind::Gauge,
        "Seconds since then.",
        uptime,
    );
    let cpu = process.cpu_seconds;
    page.single(
        "minio_node_process_cpu_total_seconds",
        Kind::Counter,
        "Processor seconds used.",
        cpu,
    );
    let mut gauge = |name, help, value: u64| page.single(name, Kind::Gauge, help, value);
    gauge(
        "minio_node_process_resident_memory_bytes",
        "Resident memory.",
        process.resident_bytes,
    );
    gauge(
        "minio_node_process_virtual_memory_bytes",
        "Virtual memory.",
        process.virtual_bytes,
    );
    gauge(
        "minio_node_file_descriptor_open_total",
        "Open files.",
        process.files_open,
    );
    gauge(
        "minio_node_file_descriptor_limit_total",
        "Open files allowed.",
        process.files_max,
    );
    let mut counter = |name, help, value: u64| page.single(name, Kind::Counter, help, value);
    counter(
        "minio_node_io_rchar_bytes",
        "Bytes read by the process.",
        process.read_bytes,
    );
    counter(
        "minio_node_io_wchar_bytes",
        "Bytes written by the process.",
        process.written_bytes,
    );
    counter(
        "minio_node_syscall_read_total",
        "Read calls.",
        process.read_calls,
    );
    counter(
        "minio_node_syscall_write_total",
        "Write calls.",
        process.write_calls,
    );
}

#[cfg(test)]
mod tests;
