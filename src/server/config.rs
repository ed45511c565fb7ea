//! What one start of the server is told: flags and variables, read once into plain values.
//!
//! Nothing is written to disk here, and nothing that can change while the server runs is kept
//! here: that is intent, and lives in the ledger.

mod certificates;
mod credential;
mod drives;
mod environment;
mod error;
mod flags;
mod names;
mod settings;
mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use certificates::{CertificateFiles, Tls};
pub use credential::Credential;
pub use drives::Pool;
pub use environment::{Environment, ProcessEnvironment};
pub use error::Error;
use flags::Flags;
use settings::{Setting, Settings};
use upkeep::Pace;
pub use values::{Address, ClusterSecret, Secret};
use values::{duration, is_host, switch};

/// Where orchestrators mount secrets.
const SECRETS_DIR: &str = "/run/secrets";

/// One start of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub address: Address,
    /// How clients connect.
    pub tls: Tls,
    /// The drives.
    pub pools: Vec<Pool>,
    /// The root credential, if the environment gives one; else the one that is kept, or a new one.
    pub root: Option<Credential>,
    /// Whether what is fit for tests only is taken too.
    pub dev: bool,
    /// The region of requests; none accepts any.
    pub region: Option<String>,
    /// Names under which buckets are sub-domains, in lower case.
    pub domains: Vec<String>,
    /// Bounds of the door.
    pub limits: Limits,
    /// What is printed, and how.
    pub output: Output,
    /// Who may read metrics.
    pub metrics: MetricsAccess,
    /// How fast upkeep works, and when.
    pub pace: Pace,
    /// Where this node keeps what must not lie on its drives.
    pub state_dir: Option<PathBuf>,
    /// The cluster's secret, if it is given and not made.
    pub cluster_secret: Option<ClusterSecret>,
    /// What its owner should know about this configuration; one line each.
    pub warnings: Vec<String>,
}

/// Bounds of the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests served at once; none leaves the number to the door.
    pub requests_max: Option<usize>,
    /// How long a request may wait for its turn.
    pub request_wait: Duration,
    /// How long a client may take to send the head of a request.
    pub head_wait: Duration,
    /// How long a connection may stay idle.
    pub idle_wait: Duration,
    /// How long a stopping server waits for requests in flight.
    pub drain_wait: Duration,
}

/// What is printed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The form of logs.
    pub format: LogFormat,
    /// Which logs, as `tracing`'s filter directives.
    pub filter: String,
    /// What the banner says.
    pub banner: Banner,
}

/// The form of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object per line.
    Json,
}

/// What the banner says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Banner {
    /// Everything.
    Full,
    /// No addresses and no names.
    Anonymous,
    /// Nothing.
    Quiet,
}

/// Who may read metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Whoever brings a token that is signed with a user's secret.
    Token,
    /// Everybody.
    Public,
}

/// Reads the command line (the program's name first) and the environment.
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Environment,
) -> Result<Config, Error> {
    let flags = flags::parse(arguments)?;
    let settings = Settings::new(environment, Path::new(SECRETS_DIR))?;
    refuse_absent(&flags)?;
    let mut warnings = settings.check_names()?;
    if flags.server.console_address.is_some() || settings.value("CONSOLE_ADDRESS").is_some() {
        warnings.push("--console-address is ignored: the console is not there yet".to_owned());
    }
    for flag in &flags.ignored {
        warnings.push(format!(
            "--{flag} is ignored: there is nothing that it could change"
        ));
    }
    let dev = match settings.value("DEV") {
        Some(setting) => setting.read(switch, "on or off")?,
        None => false,
    };
    let certs_dir = flags.common.certs_dir.as_deref();
    let tls = certificates::read(&settings, certs_dir, flags.server.tls.as_deref())?;
    let named = settings.value("CERTS_DIR").map(|setting| setting.value);
    if let (Tls::Plain, Some(directory)) = (&tls, certs_dir.or(named.as_deref())) {
        warnings.push(format!("{directory} holds no public.crt and private.key"));
    }
    Ok(Config {
        address: address(&flags, &settings)?,
        tls,
        pools: drives::read(&settings, &flags.server.drives, &mut warnings)?,
        root: credential::root(&settings, dev, &mut warnings)?,
        dev,
        region: region(&settings)?,
        domains: domains(&settings)?,
        limits: limits(&flags, &settings)?,
        output: output(&flags, &settings)?,
        metrics: metrics_access(&settings)?,
        pace: pace(&settings)?,
        state_dir: settings
            .value("STATE_DIR")
            .map(|setting| setting.value.into()),
        cluster_secret: cluster_secret(&settings)?,
        warnings: checked_optimize(&settings, warnings)?,
    })
}

/// Flags that MinIO has and whose features are not there yet.
fn refuse_absent(flags: &Flags) -> Result<(), Error> {
    let absent = [
        ("--ftp", !flags.server.ftp.is_empty()),
        ("--sftp", !flags.server.sftp.is_empty()),
        ("--config", flags.server.config.is_some()),
        ("--config-dir", flags.server.config_dir.is_some()),
        ("--interface", flags.server.interface.is_some()),
    ];
    match absent.into_iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(Error::setting(name, "not implemented")),
        None => Ok(()),
    }
}

fn address(flags: &Flags, settings: &Settings<'_>) -> Result<Address, Error> {
    let expected = "HOST:PORT or :PORT";
    let flag = flags.server.address.as_ref();
    let flag = flag.map(|value| Setting {
        name: "--address".to_owned(),
        value: value.clone(),
    });
    match flag.or_else(|| settings.value("ADDRESS")) {
        Some(setting) => setting.read(Address::parse, expected),
        None => Ok(Address {
            host: String::new(),
            port: 9000,
        }),
    }
}

fn region(settings: &Settings<'_>) -> Result<Option<String>, Error> {
    let names = ["SITE_REGION", "REGION", "REGION_NAME"];
    let Some(setting) = names.into_iter().find_map(|name| settings.value(name)) else {
        return Ok(None);
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let grammar = |text: &str| text.bytes().all(legal).then(|| text.to_owned());
    setting
        .read(grammar, "a region of letters, digits, '-' and '_'")
        .map(Some)
}

fn domains(settings: &Settings<'_>) -> Result<Vec<String>, Error> {
    let Some(setting) = settings.value("DOMAIN") else {
        return Ok(Vec::new());
    };
    let domain = |text: &str| is_host(text.trim()).then(|| text.trim().to_ascii_lowercase());
    setting.read(
        |text| text.split(',').map(domain).collect(),
        "a list of domain names",
    )
}

fn limits(flags: &Flags, settings: &Settings<'_>) -> Result<Limits, Error> {
    let flag = |name: &str, value: &Option<String>, default: u64| match value {
        Some(value) => Setting {
            name: name.to_owned(),
            value: value.clone(),
        }
        .read(duration, "a duration such as 30s"),
        None => Ok(Duration::from_secs(default)),
    };
    let requests_max = match settings.value("API_REQUESTS_MAX") {
        Some(setting) => setting.read(|text| text.parse().ok(), "a number of requests")?,
        None => 0,
    };
    let request_wait = match settings.value("API_REQUESTS_DEADLINE") {
        Some(setting) => setting.read(duration, "a duration such as 10s")?,
        None => Duration::from_secs(10),
    };
    Ok(Limits {
        requests_max: Some(requests_max).filter(|max| *max > 0),
        request_wait,
        head_wait: flag(
            "--read-header-timeout",
            &flags.server.read_header_timeout,
            10,
        )?,
        idle_wait: flag("--idle-timeout", &flags.server.idle_timeout, 75)?,
        drain_wait: flag("--shutdown-timeout", &flags.server.shutdown_timeout, 30)?,
    })
}

/// How often everything is scrubbed, and when uploads are given up that nobody ends.
fn pace(settings: &Settings<'_>) -> Result<Pace, Error> {
    let mut pace = Pace::default();
    if let Some(setting) = settings.value("HEAL_BITROTSCAN") {
        pace.scrub_every = setting.read(scrub_every, "on, off, or months such as 1m")?;
    }
    let uploads = [
        ("API_STALE_UPLOADS_EXPIRY", &mut pace.uploads_age_max),
        ("API_STALE_UPLOADS_CLEANUP_INTERVAL", &mut pace.expire_every),
    ];
    // Nothing, and next to nothing, would leave no upload the time to be one.
    let lasting = |text: &str| duration(text).filter(|time| *time >= Duration::from_secs(1));
    for (name, time) in uploads {
        if let Some(setting) = settings.value(name) {
            *time = setting.read(lasting, "a duration such as 24h, and at least 1s")?;
        }
    }
    Ok(pace)
}

/// From the end of a scrub to the begin of the next: nothing, for ever, or some months.
fn scrub_every(text: &str) -> Option<Duration> {
    const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
    match switch(text) {
        Some(true) => Some(Duration::from_secs(1)),
        Some(false) => Some(Duration::MAX),
        None => {
            let months: u32 = text.strip_suffix('m')?.parse().ok()?;
            Some(MONTH * months).filter(|_| (1..=120).contains(&months))
        }
    }
}

fn output(flags: &Flags, settings: &Settings<'_>) -> Result<Output, Error> {
    let format = |text: &str| match text {
        "human" => Some(LogFormat::Human),
        "json" => Some(LogFormat::Json),
        _ => None,
    };
    let format = match settings.value("LOG_FORMAT") {
        _ if flags.common.json => LogFormat::Json,
        Some(setting) => setting.read(format, "human or json")?,
        None => LogFormat::Human,
    };
    let banner = if flags.common.quiet {
        Banner::Quiet
    } else if flags.common.anonymous {
        Banner::Anonymous
    } else {
        Banner::Full
    };
    let filter = settings
        .value("LOG")
        .map_or_else(|| "info,openraft=warn".to_owned(), |setting| setting.value);
    Ok(Output {
        format,
        filter,
        banner,
    })
}

fn metrics_access(settings: &Settings<'_>) -> Result<MetricsAccess, Error> {
    let grammar = |text: &str| match text {
        "jwt" => Some(MetricsAccess::Token),
        "public" => Some(MetricsAccess::Public),
        _ => None,
    };
    match settings.value("PROMETHEUS_AUTH_TYPE") {
        Some(setting) => setting.read(grammar, "jwt or public"),
        None => Ok(MetricsAccess::Token),
    }
}

fn cluster_secret(settings: &Settings<'_>) -> Result<Option<ClusterSecret>, Error> {
    let Some(setting) = settings.value_or_file("CLUSTER_SECRET")? else {
        return Ok(None);
    };
    // The value is not repeated: it may be a secret with a slip of the pen.
    let problem = "not 32 bytes as base64 or hexadecimal digits";
    ClusterSecret::parse(&setting.value)
        .map(Some)
        .ok_or_else(|| setting.wrong(problem))
}

/// Parity always grows while drives are away; the wish to trade that for space is only noted.
fn checked_optimize(
    settings: &Settings<'_>,
    mut warnings: Vec<String>,
) -> Result<Vec<String>, Error> {
    if let Some(setting) = settings.value("STORAGE_CLASS_OPTIMIZE") {
        match setting.value.as_str() {
            "availability" => {}
            "capacity" => warnings.push(format!("{} is ignored: not there yet", setting.name)),
            _ => return Err(setting.wrong("neither availability nor capacity")),
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(line: &str, pairs: &[(&str, &str)]) -> Result<Config, String> {
        let variables: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let line = format!("sarsen {line}");
        let arguments = line.split_whitespace().map(OsString::from);
        load(arguments, &variables).map_err(|error| error.to_string())
    }

    #[test]
    fn wrong_settings_stop_the_start_in_one_line() {
        let flags = [
            ("server --ftp address=:8021 /d", "--ftp: not implemented"),
            ("server --sftp address=:8022 /d", "--sftp: not implemented"),
            ("server --config c.yaml", "--config: not implemented"),
            ("server -C /etc/minio /d", "--config-dir: not implemented"),
            ("server --interface eth0 /d", "--interface: not implemented"),
            (
                "server --address 9000 /d",
                "--address: \"9000\" is not HOST:PORT or :PORT",
            ),
            (
                "server --idle-timeout 5 /d",
                "--idle-timeout: \"5\" is not a duration such as 30s",
            ),
            ("server --tls on /d", "--tls: \"on\" is not \"auto\""),
            ("server", "no drives: name at least one directory"),
        ];
        for (line, message) in flags {
            assert_eq!(read(line, &[]).unwrap_err(), message, "{line}");
        }
        let variables = [
            ("SARSEN_DEV", "maybe", "\"maybe\" is not on or off"),
            ("MINIO_ADDRESS", "x", "\"x\" is not HOST:PORT or :PORT"),
            (
                "SARSEN_REGION",
                "a b",
                "\"a b\" is not a region of letters, digits, '-' and '_'",
            ),
            (
                "MINIO_DOMAIN",
                "a..b",
                "\"a..b\" is not a list of domain names",
            ),
            (
                "MINIO_API_REQUESTS_MAX",
                "-1",
                "\"-1\" is not a number of requests",
            ),
            (
                "MINIO_API_REQUESTS_DEADLINE",
                "10",
                "\"10\" is not a duration such as 10s",
            ),
            ("SARSEN_LOG_FORMAT", "xml", "\"xml\" is not human or json"),
            (
                "MINIO_PROMETHEUS_AUTH_TYPE",
                "none",
                "\"none\" is not jwt or public",
            ),
            (
                "MINIO_HEAL_BITROTSCAN",
                "0m",
                "\"0m\" is not on, off, or months such as 1m",
            ),
            (
                "SARSEN_CLUSTER_SECRET",
                "hush",
                "not 32 bytes as base64 or hexadecimal digits",
            ),
            (
                "MINIO_STORAGE_CLASS_OPTIMIZE",
                "x",
                "neither availability nor capacity",
            ),
            ("SARSEN_VOLUME", "/d", "no such setting"),
        ];
        for (name, value, message) in variables {
            let error = read("server /d", &[(name, value)]).unwrap_err();
            assert_eq!(error, format!("{name}: {message}"));
        }
    }

    #[test]
    fn an_upload_has_a_second_at_least() {
        for end in ["EXPIRY", "CLEANUP_INTERVAL"] {
            let name = format!("MINIO_API_STALE_UPLOADS_{end}");
            for value in ["0", "999ms", "1d"] {
                let error = read("server /d", &[(&name, value)]).unwrap_err();
                let text = format!("{name}: \"{value}\" is not a duration such as 24h, ");
                assert!(error.starts_with(&text), "{error}");
            }
        }
    }

    #[test]
    fn a_bare_start_has_safe_defaults() {
        let config = read("server /d", &[]).unwrap();
        assert_eq!(
            config.address,
            Address {
                host: String::new(),
                port: 9000
            }
        );
        assert_eq!(
            (config.tls, config.root, config.region),
            (Tls::Plain, None, None)
        );
        assert_eq!(config.metrics, MetricsAccess::Token);
        assert_eq!(config.warnings, Vec::<String>::new());
        assert_eq!(config.pace, Pace::default());
        assert_eq!(config.limits.head_wait, Duration::from_secs(10));
        assert_eq!(config.output.filter, "info,openraft=warn");
    }

    #[test]
    fn flags_and_variables_are_heard() {
        let variables = [
            ("MINIO_ROOT_USER", "admin"),
            ("MINIO_ROOT_PASSWORD", "12345678"),
            ("MINIO_REGION_NAME", "eu-1"),
            ("MINIO_DOMAIN", "S3.example.org, b.example.org"),
            ("MINIO_API_REQUESTS_MAX", "64"),
            ("MINIO_PROMETHEUS_AUTH_TYPE", "public"),
            ("MINIO_ADDRESS", ":1"),
            ("MINIO_HEAL_BITROTSCAN", "2m"),
            ("MINIO_API_STALE_UPLOADS_EXPIRY", "36h"),
            ("MINIO_API_STALE_UPLOADS_CLEANUP_INTERVAL", "1m30s"),
            ("SARSEN_LOG", "debug"),
        ];
        let line = "--json --anonymous server -S /none --address 127.0.0.1:7000 --console-address :9001 --memlimit 1GB /d{1...4}";
        let config = read(line, &variables).unwrap();
        assert_eq!(
            config.address,
            Address {
                host: "127.0.0.1".to_owned(),
                port: 7000
            }
        );
        assert_eq!(
            config.root.map(|root| root.access_key).as_deref(),
            Some("admin")
        );
        assert_eq!(config.region.as_deref(), Some("eu-1"));
        assert_eq!(config.domains, ["s3.example.org", "b.example.org"]);
        assert_eq!(config.limits.requests_max, Some(64));
        assert_eq!(config.metrics, MetricsAccess::Public);
        let pace = Pace {
            scrub_every: Duration::from_secs(60 * 24 * 3600),
            uploads_age_max: Duration::from_secs(36 * 3600),
            expire_every: Duration::from_secs(90),
            ..Pace::default()
        };
        assert_eq!(config.pace, pace);
        assert_eq!(config.output.format, LogFormat::Json);
        assert_eq!(config.output.banner, Banner::Anonymous);
        assert_eq!(config.output.filter, "debug");
        assert_eq!(
            config.warnings,
            [
                "--console-address is ignored: the console is not there yet",
                "--memlimit is ignored: there is nothing that it could change",
                "/none holds no public.crt and private.key",
            ]
        );
    }

    #[test]
    fn a_configuration_prints_no_secret() {
        let hidden = "open-sesame-open-sesame";
        let variables = [
            ("MINIO_ROOT_USER", "admin"),
            ("MINIO_ROOT_PASSWORD", hidden),
        ];
        let config = read("server /d", &variables).unwrap();
        assert!(!format!("{config:?}").contains(hidden));
    }
}
