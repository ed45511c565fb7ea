//! The root credential as the environment gives it.

use crate::config::error::Error;
use crate::config::settings::{Setting, Settings};
use crate::config::values::Secret;

/// The user and password that everybody knows.
const KNOWN_TO_ALL: &str = "minioadmin";
const ACCESS_KEY_LEN_MIN: usize = 3;
const SECRET_KEY_LEN_MIN: usize = 8;

/// An access key and its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Who.
    pub access_key: String,
    /// The secret that signs requests.
    pub secret_key: Secret,
}

/// The root credential of the environment, if somebody set one, or if this is a fixture of a test
/// (`DEV=on`). Anything to be said about it goes to `warnings`.
pub(crate) fn root(
    settings: &Settings<'_>,
    dev: bool,
    warnings: &mut Vec<String>,
) -> Result<Option<Credential>, Error> {
    let given = match pair(settings, "ROOT_USER", "ROOT_PASSWORD")? {
        Some(pair) => Some(pair),
        None => {
            let old = pair(settings, "ACCESS_KEY", "SECRET_KEY")?;
            if let Some((user, secret)) = &old {
                let names = format!("{} and {}", user.name, secret.name);
                warnings.push(format!(
                    "{names} are deprecated: use SARSEN_ROOT_USER and SARSEN_ROOT_PASSWORD"
                ));
            }
            old
        }
    };
    let credential = match given {
        Some((user, secret)) => Some(checked(&user, &secret)?),
        None if dev => {
            let access_key = KNOWN_TO_ALL.to_owned();
            Some(Credential {
                access_key,
                secret_key: Secret::new(KNOWN_TO_ALL),
            })
        }
        None => None,
    };
    if credential
        .as_ref()
        .is_some_and(|root| root.secret_key.expose() == KNOWN_TO_ALL)
    {
        warnings.push(format!(
            "THE ROOT PASSWORD IS {KNOWN_TO_ALL:?}, WHICH EVERYBODY KNOWS: fit for tests only"
        ));
    }
    Ok(credential)
}

fn pair(
    settings: &Settings<'_>,
    user: &str,
    secret: &str,
) -> Result<Option<(Setting, Setting)>, Error> {
    match (
        settings.value_or_file(user)?,
        settings.value_or_file(secret)?,
    ) {
        (Some(user), Some(secret)) => Ok(Some((user, secret))),
        (None, None) => Ok(None),
        (Some(one), None) => Err(one.wrong(format!("set, but no SARSEN_{secret}: give both"))),
        (None, Some(one)) => Err(one.wrong(format!("set, but no SARSEN_{user}: give both"))),
    }
}

fn checked(user: &Setting, secret: &Setting) -> Result<Credential, Error> {
    let illegal = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '=' | ',' | '/');
    if user.value.chars().count() < ACCESS_KEY_LEN_MIN || user.value.contains(illegal) {
        let rule = "at least 3 characters, without blanks, '=', ',' and '/'";
        return Err(user.wrong(format!("a root user has {rule}")));
    }
    if secret.value.chars().count() < SECRET_KEY_LEN_MIN {
        return Err(secret.wrong("a root password has at least 8 characters"));
    }
    Ok(Credential {
        access_key: user.value.clone(),
        secret_key: Secret::new(&secret.value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    fn read(
        pairs: &[(&str, &str)],
        dev: bool,
    ) -> (Result<Option<Credential>, String>, Vec<String>) {
        let variables: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let settings = Settings::new(&variables, Path::new("/nowhere")).unwrap();
        let mut warnings = Vec::new();
        let root = root(&settings, dev, &mut warnings).map_err(|error| error.to_string());
        (root, warnings)
    }

    fn credential(access_key: &str, secret: &str) -> Result<Option<Credential>, String> {
        let secret_key = Secret::new(secret);
        Ok(Some(Credential {
            access_key: access_key.to_owned(),
            secret_key,
        }))
    }

    #[test]
    fn half_or_weak_credentials_stop_the_start() {
        let rule = "a root user has at least 3 characters, without blanks, '=', ',' and '/'";
        let table = [
            (
                &[("MINIO_ROOT_USER", "root")][..],
                "MINIO_ROOT_USER: set, but no SARSEN_ROOT_PASSWORD: give both".to_owned(),
            ),
            (
                &[("SARSEN_ROOT_PASSWORD", "12345678")],
                "SARSEN_ROOT_PASSWORD: set, but no SARSEN_ROOT_USER: give both".to_owned(),
            ),
            (
                &[("MINIO_SECRET_KEY", "12345678")],
                "MINIO_SECRET_KEY: set, but no SARSEN_ACCESS_KEY: give both".to_owned(),
            ),
            (
                &[
                    ("MINIO_ROOT_USER", "ab"),
                    ("MINIO_ROOT_PASSWORD", "12345678"),
                ],
                format!("MINIO_ROOT_USER: {rule}"),
            ),
            (
                &[
                    ("MINIO_ROOT_USER", "a=b"),
                    ("MINIO_ROOT_PASSWORD", "12345678"),
                ],
                format!("MINIO_ROOT_USER: {rule}"),
            ),
            (
                &[
                    ("MINIO_ROOT_USER", "abc"),
                    ("SARSEN_ROOT_PASSWORD", "1234567"),
                ],
                "SARSEN_ROOT_PASSWORD: a root password has at least 8 characters".to_owned(),
            ),
            (
                &[
                    ("SARSEN_ROOT_USER", "abc"),
                    ("MINIO_SECRET_KEY", "12345678"),
                ],
                "SARSEN_ROOT_USER: set, but no SARSEN_ROOT_PASSWORD: give both".to_owned(),
            ),
        ];
        for (variables, message) in table {
            assert_eq!(read(variables, false).0, Err(message), "{variables:?}");
        }
    }

    #[test]
    fn root_comes_from_either_prefix_and_from_deprecated_names() {
        let (root, warnings) = read(
            &[
                ("MINIO_ROOT_USER", "abc"),
                ("SARSEN_ROOT_PASSWORD", "12345678"),
            ],
            true,
        );
        assert_eq!((root, warnings), (credential("abc", "12345678"), vec![]));
        let (root, warnings) = read(
            &[
                ("MINIO_ACCESS_KEY", "abc"),
                ("MINIO_SECRET_KEY", "12345678"),
            ],
            false,
        );
        assert_eq!(root, credential("abc", "12345678"));
        assert!(warnings[0].contains("deprecated"));
    }

    #[test]
    fn nobody_gets_the_well_known_password_without_asking_nor_without_a_warning() {
        assert_eq!(read(&[], false), (Ok(None), vec![]));
        let asked = [
            ("MINIO_ROOT_USER", "minioadmin"),
            ("MINIO_ROOT_PASSWORD", "minioadmin"),
        ];
        for (variables, dev) in [(&[][..], true), (&asked[..], false)] {
            let (root, warnings) = read(variables, dev);
            assert_eq!(root, credential("minioadmin", "minioadmin"));
            assert!(warnings[0].contains("EVERYBODY KNOWS"));
        }
    }
}
