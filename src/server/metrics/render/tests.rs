use std::time::Duration;

use types::Geometry;

use super::*;
use crate::health::{HealthView, Phase, SetHealth};

fn facts() -> Facts {
    let drive = |path: &str, online| DriveFacts {
        path: path.to_owned(),
        online,
        total_bytes: 100,
        free_bytes: 40,
        free_inodes: 7,
        timeouts: 0,
        errors: u64::from(!online),
        batches: 5,
        returns: u64::from(online),
    };
    let geometry = Geometry::new(1, 1).unwrap();
    let set = SetHealth {
        geometry,
        online: 1,
        local: 1,
        healing: 0,
    };
    Facts {
        server: "127.0.0.1:9000".to_owned(),
        health: HealthView {
            phase: Phase::Serving,
            sets: vec![set],
            default_classes: true,
        },
        drives: vec![drive("/d1", true), drive("/d2", false)],
        buckets: 3,
        heal: HealFacts {
            scanned: 9,
            healed: 2,
            failed: 1,
            ..HealFacts::default()
        },
    }
}

fn value(page: &str, sample: &str) -> f64 {
    let value = |line: &str| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok();
    page.lines()
        .find_map(value)
        .unwrap_or_else(|| panic!("no {sample} in\n{page}"))
}

#[test]
fn requests_are_counted_by_operation_and_outcome() {
    let metrics = Metrics::new();
    metrics.called("PutObject", 200, Duration::from_millis(60));
    metrics.called("PutObject", 404, Duration::from_millis(1));
    metrics.called("PutObject", 503, Duration::from_secs(60));
    metrics.began();
    metrics.sent(7);
    let page = render(Section::Node, &metrics, &facts());
    let labels = "{api=\"putobject\",server=\"127.0.0.1:9000\"}";
    assert_eq!(
        value(&page, &format!("minio_s3_requests_total{labels}")),
        3.0
    );
    assert_eq!(
        value(&page, &format!("minio_s3_requests_errors_total{labels}")),
        2.0
    );
    assert_eq!(
        value(
            &page,
            &format!("minio_s3_requests_4xx_errors_total{labels}")
        ),
        1.0
    );
    let ttfb = "minio_s3_requests_ttfb_seconds_distribution";
    let bound = |le: &str| {
        let labels = format!("{{api=\"putobject\",le=\"{le}\",server=\"127.0.0.1:9000\"}}");
        value(&page, &format!("{ttfb}_bucket{labels}"))
    };
    assert_eq!(
        ["0.05", "0.1", "10", "+Inf"].map(bound),
        [1.0, 2.0, 2.0, 3.0]
    );
    let server = "{server=\"127.0.0.1:9000\"}";
    assert_eq!(
        value(&page, &format!("minio_s3_requests_inflight_total{server}")),
        1.0
    );
    assert_eq!(
        value(&page, &format!("minio_s3_traffic_sent_bytes{server}")),
        7.0
    );
    assert!(
        value(
            &page,
            &format!("minio_node_process_resident_memory_bytes{server}")
        ) > 0.0
    );
}

#[test]
fn the_cluster_page_says_what_is_down() {
    let page = render(Section::Cluster, &Metrics::new(), &facts());
    let server = "{server=\"127.0.0.1:9000\"}";
    let table = [
        ("minio_cluster_drive_online_total", 1.0),
        ("minio_cluster_drive_offline_total", 1.0),
        ("minio_cluster_health_status", 0.0),
        ("minio_cluster_capacity_raw_free_bytes", 80.0),
        ("minio_cluster_capacity_usable_free_bytes", 40.0),
        ("minio_cluster_bucket_total", 3.0),
        ("minio_heal_objects_errors_total", 1.0),
    ];
    for (name, expected) in table {
        assert_eq!(value(&page, &format!("{name}{server}")), expected, "{name}");
    }
    let set = "{pool=\"0\",set=\"0\",server=\"127.0.0.1:9000\"}";
    let status = format!("minio_cluster_health_erasure_set_status{set}");
    assert_eq!(value(&page, &status), 0.0);
}

#[test]
fn what_drives_did_is_told_of_each() {
    let page = render(Section::Node, &Metrics::new(), &facts());
    for (name, expected) in [
        ("minio_node_drive_errors_availability", [0.0, 1.0]),
        ("sarsen_node_drive_log_batches_total", [5.0, 5.0]),
        ("sarsen_node_drive_returns_total", [1.0, 0.0]),
    ] {
        let of = |drive| {
            let labels = format!("{{drive=\"{drive}\",server=\"127.0.0.1:9000\"}}");
            value(&page, &format!("{name}{labels}"))
        };
        assert_eq!(["/d1", "/d2"].map(of), expected, "{name}");
    }
}

#[test]
fn every_sample_belongs_to_the_family_before_it() {
    for section in [
        Section::Cluster,
        Section::Node,
        Section::Bucket,
        Section::Resource,
    ] {
        let metrics = Metrics::new();
        metrics.called("GetObject", 200, Duration::ZERO);
        let page = render(section, &metrics, &facts());
        let mut family = "";
        let mut seen = Vec::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap();
                assert!(!seen.contains(&family), "{family} twice");
                seen.push(family);
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family), "{line} under {family}");
                assert!(
                    line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(),
                    "{line}"
                );
            }
        }
        assert!(!seen.is_empty());
    }
}

#[test]
fn only_four_paths_are_pages() {
    assert_eq!(
        Section::parse("/minio/v2/metrics/cluster"),
        Some(Section::Cluster)
    );
    assert_eq!(
        Section::parse("/minio/v2/metrics/bucket"),
        Some(Section::Bucket)
    );
    assert_eq!(Section::parse("/minio/v2/metrics/"), None);
    assert_eq!(Section::parse("/minio/v2/metrics/cluster/"), None);
}
