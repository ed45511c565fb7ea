//! Looking variables up: twins, files of secrets, and what must not be set.

use std::path::{Path, PathBuf};

use crate::config::environment::{Environment, Layered, parse_file};
use crate::config::error::Error;
use crate::config::names::{Standing, standing};

/// Prefixes of our variables, the one that wins first.
const PREFIXES: [&str; 2] = ["SARSEN_", "MINIO_"];

/// A variable that is set, under the name that its owner used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Setting {
    pub(crate) fn wrong(&self, problem: impl Into<String>) -> Error {
        Error::setting(&self.name, problem)
    }

    /// Reads the value with a small grammar, or says what it should have been.
    pub(crate) fn read<T>(
        &self,
        grammar: impl FnOnce(&str) -> Option<T>,
        expected: &str,
    ) -> Result<T, Error> {
        let problem = || self.wrong(format!("{:?} is not {expected}", self.value));
        grammar(&self.value).ok_or_else(problem)
    }
}

/// The variables of one start.
pub(crate) struct Settings<'a> {
    variables: Layered<'a>,
    secrets_dir: PathBuf,
}

impl<'a> Settings<'a> {
    /// Takes the environment, with the variables of `CONFIG_ENV_FILE` over it. Secrets that are
    /// named without a path are files in `secrets_dir`.
    pub(crate) fn new(environment: &'a dyn Environment, secrets_dir: &Path) -> Result<Self, Error> {
        let variables = Layered {
            over: Default::default(),
            under: environment,
        };
        let mut settings = Self {
            variables,
            secrets_dir: secrets_dir.to_owned(),
        };
        if let Some(setting) = settings.value("CONFIG_ENV_FILE")
            && let Some(text) = settings.file(&setting)?
        {
            let bad = |line| setting.wrong(format!("line {line} is not NAME=VALUE"));
            settings.variables.over = parse_file(&text).map_err(bad)?;
        }
        Ok(settings)
    }

    /// The value of a name without its prefix. An empty value is as good as none: compose files
    /// pass `${NAME:-}`.
    pub(crate) fn value(&self, name: &str) -> Option<Setting> {
        PREFIXES.iter().find_map(|prefix| {
            let name = format!("{prefix}{name}");
            let value = self
                .variables
                .variable(&name)
                .filter(|value| !value.is_empty())?;
            Some(Setting { name, value })
        })
    }

    /// A variable without prefix rules, such as `HOME`.
    pub(crate) fn plain(&self, name: &str) -> Option<String> {
        self.variables
            .variable(name)
            .filter(|value| !value.is_empty())
    }

    /// The value of a name, or the first line of the file that `<name>_FILE` tells. The file
    /// wins where it exists: images set both.
    pub(crate) fn value_or_file(&self, name: &str) -> Result<Option<Setting>, Error> {
        if let Some(mut setting) = self.value(&format!("{name}_FILE"))
            && let Some(text) = self.file(&setting)?
        {
            let line = text.lines().next().unwrap_or_default().trim();
            if line.is_empty() {
                return Err(setting.wrong(format!("{} is empty", setting.value)));
            }
            setting.value = line.to_owned();
            return Ok(Some(setting));
        }
        Ok(self.value(name))
    }

    /// Reads the file that a setting names: a path, or a name in the directory of secrets. A bare
    /// name without a file is no error, since images name secrets that nobody has to mount.
    fn file(&self, setting: &Setting) -> Result<Option<String>, Error> {
        let path = Path::new(&setting.value);
        let bare = !setting.value.contains('/');
        let path = if bare && !path.exists() {
            self.secrets_dir.join(path)
        } else {
            path.to_owned()
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if bare && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(setting.wrong(format!("cannot read {}: {error}", path.display()))),
        }
    }

    /// Looks at every variable that bears our prefix, or MinIO's. Answers with what to warn
    /// about; fails if a name is ours and unknown, or if serving without its feature would be
    /// dangerous.
    pub(crate) fn check_names(&self) -> Result<Vec<String>, Error> {
        let mut names = self.variables.names();
        names.sort_unstable();
        let mut warnings = Vec::new();
        for name in names {
            let Some((prefix, rest)) = PREFIXES
                .iter()
                .find_map(|prefix| Some((*prefix, name.strip_prefix(prefix)?)))
            else {
                continue;
            };
            let value = self.variables.variable(&name).unwrap_or_default();
            match standing(rest, &value) {
                Standing::Read | Standing::Moot => {}
                Standing::Later => {
                    warnings.push(format!("{name} is ignored: its feature is not there yet"));
                }
                Standing::Needed if self.is_unmounted(&name, &value) => {}
                Standing::Needed => {
                    let problem = "its feature is not there yet, and serving without it would be \
                                   less safe than asked for: unset it to start";
                    return Err(Error::setting(name, problem));
                }
                Standing::Unknown if prefix == "SARSEN_" => {
                    return Err(Error::setting(name, "no such setting"));
                }
                Standing::Unknown => warnings.push(format!("{name} is ignored: no such setting")),
            }
        }
        Ok(warnings)
    }

    /// Whether a variable names a secret that is not there: images set such names for everybody.
    fn is_unmounted(&self, name: &str, value: &str) -> bool {
        name.ends_with("_FILE") && !value.contains('/') && !self.secrets_dir.join(value).exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn an_unknown_name_of_ours_stops_and_one_of_minio_warns() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, value: &str| {
            let variables = map(&[(name, value), ("HOME", "/root"), ("MY_SARSEN_X", "1")]);
            Settings::new(&variables, dir.path())
                .unwrap()
                .check_names()
                .map_err(|e| e.to_string())
        };
        assert_eq!(
            check("SARSEN_VOLUME", "/d"),
            Err("SARSEN_VOLUME: no such setting".into())
        );
        assert_eq!(
            check("SARSEN_VOLUME", ""),
            Err("SARSEN_VOLUME: no such setting".into())
        );
        let warned = |text: &str| Ok(vec![text.to_owned()]);
        assert_eq!(
            check("MINIO_FOO", "x"),
            warned("MINIO_FOO is ignored: no such setting")
        );
        let later = "MINIO_COMPRESSION_ENABLE is ignored: its feature is not there yet";
        assert_eq!(check("MINIO_COMPRESSION_ENABLE", "on"), warned(later));
        assert_eq!(check("MINIO_VOLUMES", "/d"), Ok(vec![]));
        assert_eq!(check("SARSEN_SERVICE_HOST", "10.0.0.7"), Ok(vec![]));
        for name in [
            "MINIO_KMS_SECRET_KEY",
            "SARSEN_AUDIT_WEBHOOK_ENDPOINT",
            "MINIO_POLICY_PLUGIN_URL",
        ] {
            let stop = check(name, "x").unwrap_err();
            assert!(
                stop.starts_with(&format!("{name}: its feature is not there yet")),
                "{stop}"
            );
        }
        assert_eq!(
            check("MINIO_KMS_SECRET_KEY_FILE", "kms_master_key"),
            Ok(vec![])
        );
        std::fs::write(dir.path().join("kms_master_key"), "k").unwrap();
        assert!(check("MINIO_KMS_SECRET_KEY_FILE", "kms_master_key").is_err());
    }

    #[test]
    fn our_name_wins_over_minios_and_empty_is_unset() {
        let variables = map(&[
            ("SARSEN_REGION", "a"),
            ("MINIO_REGION", "b"),
            ("SARSEN_DOMAIN", ""),
            ("MINIO_DOMAIN", "c"),
        ]);
        let settings = Settings::new(&variables, Path::new("/nowhere")).unwrap();
        assert_eq!(
            settings.value("REGION").map(|s| s.name),
            Some("SARSEN_REGION".to_owned())
        );
        assert_eq!(
            settings.value("DOMAIN").map(|s| s.value),
            Some("c".to_owned())
        );
        assert_eq!(settings.value("LOG"), None);
    }

    #[test]
    fn secrets_come_from_files_by_path_or_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("user"), "alice\nrest").unwrap();
        std::fs::write(dir.path().join("empty"), "\n").unwrap();
        let path = dir.path().join("user").display().to_string();
        let read = |value: &str| {
            let variables = map(&[("MINIO_ROOT_USER_FILE", value), ("MINIO_ROOT_USER", "bob")]);
            let settings = Settings::new(&variables, dir.path()).unwrap();
            settings
                .value_or_file("ROOT_USER")
                .map(|s| s.map(|s| s.value))
                .map_err(|e| e.to_string())
        };
        assert_eq!(read("user"), Ok(Some("alice".into())));
        assert_eq!(read(&path), Ok(Some("alice".into())));
        assert_eq!(
            read("access_key"),
            Ok(Some("bob".into())),
            "nobody mounted it"
        );
        assert_eq!(
            read("empty"),
            Err("MINIO_ROOT_USER_FILE: empty is empty".into())
        );
        assert!(
            read("/nowhere/user")
                .unwrap_err()
                .contains("cannot read /nowhere/user")
        );
    }

    #[test]
    fn a_file_of_variables_overrides_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.env");
        std::fs::write(&path, "MINIO_ROOT_USER=file\n").unwrap();
        let name = path.display().to_string();
        let variables = map(&[
            ("MINIO_ROOT_USER", "process"),
            ("MINIO_CONFIG_ENV_FILE", &name),
        ]);
        let settings = Settings::new(&variables, dir.path()).unwrap();
        assert_eq!(
            settings.value("ROOT_USER").map(|s| s.value),
            Some("file".to_owned())
        );
        std::fs::write(&path, "MINIO_ROOT_USER=file\nnonsense\n").unwrap();
        let error = Settings::new(&variables, dir.path())
            .err()
            .map(|e| e.to_string());
        assert_eq!(
            error.as_deref(),
            Some("MINIO_CONFIG_ENV_FILE: line 2 is not NAME=VALUE")
        );
    }
}
