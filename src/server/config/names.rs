//! Every variable that means something, and what happens when it is set.

/// What setting a variable does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is read by this server.
    Read,
    /// It asks for what holds anyway, or is for other programs: nothing to say.
    Moot,
    /// Its feature is not there yet, and serving without it would be no danger: warned about.
    Later,
    /// Its feature is not there yet, and data would be less protected than its owner believes.
    Needed,
    /// Nobody knows it.
    Unknown,
}

use Standing::{Later, Moot, Needed, Read};

/// Names without their `SARSEN_` or `MINIO_`.
const NAMES: &[(&str, Standing)] = &[
    ("ACCESS_KEY", Read),
    ("ACCESS_KEY_FILE", Read),
    ("ADDRESS", Read),
    ("API_REQUESTS_DEADLINE", Read),
    ("API_REQUESTS_MAX", Read),
    ("API_SECURE_CIPHERS", Moot),
    ("API_STALE_UPLOADS_CLEANUP_INTERVAL", Read),
    ("API_STALE_UPLOADS_EXPIRY", Read),
    ("ARGS", Read),
    ("BROWSER", Later),
    ("CERTS_DIR", Read),
    ("CERT_PASSWD", Moot),
    ("CI_CD", Moot),
    ("CLUSTER_SECRET", Read),
    ("CLUSTER_SECRET_FILE", Read),
    ("CONFIG", Needed),
    ("CONFIG_ENV_FILE", Read),
    ("CONSOLE_ADDRESS", Read),
    ("DEFAULT_BUCKETS", Later),
    ("DEV", Read),
    ("DOMAIN", Read),
    ("ENDPOINTS", Read),
    ("ERASURE_SET_DRIVE_COUNT", Read),
    ("FS_OSYNC", Moot),
    ("HEAL_BITROTSCAN", Read),
    ("LOG", Read),
    ("LOG_FORMAT", Read),
    ("NTP_SERVER", Moot),
    ("OPTS", Moot),
    ("PROMETHEUS_AUTH_TYPE", Read),
    ("PUBLIC_IPS", Later),
    ("REGION", Read),
    ("REGION_NAME", Read),
    ("ROOTDRIVE_THRESHOLD_SIZE", Later),
    ("ROOT_PASSWORD", Read),
    ("ROOT_PASSWORD_FILE", Read),
    ("ROOT_USER", Read),
    ("ROOT_USER_FILE", Read),
    ("SECRET_KEY", Read),
    ("SECRET_KEY_FILE", Read),
    ("SERVER_CERT_FILE", Read),
    ("SERVER_KEY_FILE", Read),
    ("SERVER_URL", Later),
    ("SITE_NAME", Later),
    ("SITE_REGION", Read),
    ("STATE_DIR", Read),
    ("STORAGE_CLASS_INLINE_BLOCK", Later),
    ("STORAGE_CLASS_OPTIMIZE", Read),
    ("STORAGE_CLASS_RRS", Read),
    ("STORAGE_CLASS_STANDARD", Read),
    ("STS_DURATION", Needed),
    ("SYNC_BOOT", Moot),
    ("UPDATE", Moot),
    ("UPDATE_MINISIGN_PUBKEY", Moot),
    ("VOLUMES", Read),
    ("WORM", Needed),
];

/// Families of names; the first that fits counts, after [`NAMES`].
const FAMILIES: &[(&str, Standing)] = &[
    ("API_ROOT_ACCESS", Needed),
    ("API_", Later),
    ("AUDIT_", Needed),
    ("BATCH_", Later),
    ("BROWSER_", Later),
    ("CALLHOME_", Moot),
    ("COMPRESSION_", Later),
    ("COMPRESS", Later),
    ("DNS_WEBHOOK_", Later),
    ("DRIVE_", Later),
    ("ETCD_", Needed),
    ("FTP", Later),
    ("HEAL_", Later),
    ("IDENTITY_", Needed),
    ("ILM_", Later),
    ("KMS_", Needed),
    ("LAMBDA_", Later),
    ("LOGGER_", Later),
    ("LOG_QUERY_", Later),
    ("NOTIFY_", Later),
    ("POLICY_", Needed),
    ("PROMETHEUS_", Later),
    ("SCANNER_", Later),
    ("SFTP", Later),
    ("STORAGE_CLASS_", Later),
    ("SUBNET_", Moot),
];

/// What setting a variable to `value` does; `name` comes without its prefix. An empty value is
/// as good as none, and a feature that is switched off need not be there.
pub(crate) fn standing(name: &str, value: &str) -> Standing {
    if is_service_link(name, value) {
        return Moot;
    }
    let listed = NAMES.iter().find(|(known, _)| *known == name);
    let family = || FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix));
    let found = listed
        .or_else(family)
        .map_or(Standing::Unknown, |(_, standing)| *standing);
    let off = matches!(
        value.to_ascii_lowercase().as_str(),
        "" | "off" | "false" | "0" | "no"
    );
    let switch = name.contains("_ENABLE") || matches!(name, "BROWSER" | "WORM") || value.is_empty();
    let on = name == "API_ROOT_ACCESS" && matches!(value, "on" | "true" | "1");
    match found {
        Later | Needed if (switch && off) || on => Moot,
        standing => standing,
    }
}

/// Whether an orchestrator made the variable for a service that bears our name: Kubernetes sets
/// `SARSEN_SERVICE_HOST`, `SARSEN_PORT`, `SARSEN_PORT_9000_TCP_ADDR` and such in every pod.
fn is_service_link(name: &str, value: &str) -> bool {
    let under = |word: &str| name == word || name.ends_with(&format!("_{word}"));
    let (head, tail) = name.rsplit_once("PORT_").unwrap_or(("", ""));
    let numbered = tail.starts_with(|first: char| first.is_ascii_digit())
        && (tail.contains("_TCP") || tail.contains("_UDP"));
    under("SERVICE_HOST")
        || under("SERVICE_PORT")
        || name.contains("SERVICE_PORT_")
        || (under("PORT") && value.contains("://"))
        || (numbered && (head.is_empty() || head.ends_with('_')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_says_each_name_once() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn what_protects_data_is_needed_and_comfort_may_wait() {
        let table = [
            ("KMS_SECRET_KEY", "k:x", Needed),
            ("KMS_KES_ENDPOINT", "https://kes", Needed),
            ("IDENTITY_OPENID_CONFIG_URL", "https://idp", Needed),
            ("IDENTITY_LDAP_SERVER_ADDR_MAIN", "ldap", Needed),
            ("POLICY_PLUGIN_URL", "http://opa", Needed),
            ("AUDIT_WEBHOOK_ENDPOINT_A", "http://log", Needed),
            ("AUDIT_WEBHOOK_ENABLE_A", "off", Moot),
            ("AUDIT_WEBHOOK_ENABLE_A", "on", Needed),
            ("AUDIT_WEBHOOK_ENDPOINT", "", Moot),
            ("API_ROOT_ACCESS", "off", Needed),
            ("API_ROOT_ACCESS", "on", Moot),
            ("CONFIG", "/etc/minio.yaml", Needed),
            ("API_CORS_ALLOW_ORIGIN", "*", Later),
            ("NOTIFY_WEBHOOK_ENABLE_X", "on", Later),
            ("BROWSER", "off", Moot),
            ("BROWSER", "on", Later),
            ("ROOT_USER", "x", Read),
            ("STORAGE_CLASS_STANDARD", "EC:2", Read),
            ("ROOT_USERS", "x", Standing::Unknown),
            ("", "x", Standing::Unknown),
        ];
        for (name, value, expected) in table {
            assert_eq!(standing(name, value), expected, "{name}={value}");
        }
    }

    #[test]
    fn an_orchestrators_service_links_are_no_settings() {
        let table = [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "9000"),
            ("SERVICE_PORT_HTTP_API", "9000"),
            ("PORT", "tcp://10.0.0.1:9000"),
            ("PORT_9000_TCP", "tcp://10.0.0.1:9000"),
            ("PORT_9000_TCP_ADDR", "10.0.0.1"),
            ("CONSOLE_SERVICE_HOST", "10.0.0.1"),
            ("CONSOLE_PORT", "tcp://10.0.0.1:9001"),
            ("CONSOLE_PORT_9001_TCP_PROTO", "tcp"),
        ];
        for (name, value) in table {
            assert_eq!(standing(name, value), Moot, "{name}");
        }
        assert_eq!(standing("PORT", "9000"), Standing::Unknown);
        assert_eq!(standing("REPORT_9_TCP", "x"), Standing::Unknown);
    }
}
