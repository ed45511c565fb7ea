//! Which certificates the configuration means.

use std::path::{Path, PathBuf};

use crate::config::error::Error;
use crate::config::settings::Settings;

/// Where a server's certificate is, and where more of them are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, as PEM.
    pub certificate: PathBuf,
    /// Its key, as PEM.
    pub private_key: PathBuf,
    /// A directory, each sub-directory of which may hold another `public.crt` and `private.key`.
    pub others: Option<PathBuf>,
}

/// How clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// Plain HTTP.
    Plain,
    /// HTTPS with the operator's certificates.
    Files(CertificateFiles),
    /// HTTPS with certificates that the server makes in this directory.
    Auto(PathBuf),
}

/// Decides from flags, variables and which files are there. Only a whole pair counts: half of one
/// must not end in plain HTTP.
pub(crate) fn read(
    settings: &Settings<'_>,
    certs_dir: Option<&str>,
    mode: Option<&str>,
) -> Result<Tls, Error> {
    if let Some(other) = mode.filter(|mode| *mode != "auto") {
        return Err(Error::setting(
            "--tls",
            format!("{other:?} is not \"auto\""),
        ));
    }
    let named = settings.value("SERVER_CERT_FILE");
    match (named, settings.value("SERVER_KEY_FILE")) {
        (Some(certificate), Some(key)) => {
            return Ok(Tls::Files(CertificateFiles {
                certificate: certificate.value.into(),
                private_key: key.value.into(),
                others: None,
            }));
        }
        (Some(one), None) => return Err(one.wrong("set, but no SARSEN_SERVER_KEY_FILE: give both")),
        (None, Some(one)) => {
            return Err(one.wrong("set, but no SARSEN_SERVER_CERT_FILE: give both"));
        }
        (None, None) => {}
    }
    let directories = directories(settings, certs_dir)?;
    for directory in &directories {
        if let Some(files) = pair(directory)? {
            return Ok(Tls::Files(files));
        }
    }
    match (mode, directories.into_iter().next()) {
        (None, _) => Ok(Tls::Plain),
        (Some(_), Some(directory)) => Ok(Tls::Auto(directory)),
        (Some(_), None) => Err(Error::setting(
            "--tls",
            "no HOME to keep certificates in: give --certs-dir",
        )),
    }
}

/// The directory that was named, or the places where certificates are by default: ours, and
/// MinIO's for those who come from there.
fn directories(settings: &Settings<'_>, certs_dir: Option<&str>) -> Result<Vec<PathBuf>, Error> {
    let named = settings.value("CERTS_DIR");
    let named = match (certs_dir, named) {
        (Some(flag), _) => Some(("--certs-dir".to_owned(), flag.to_owned())),
        (None, Some(setting)) => Some((setting.name, setting.value)),
        (None, None) => None,
    };
    if let Some((name, directory)) = named {
        let path = std::path::absolute(&directory);
        return Ok(vec![
            path.map_err(|error| Error::setting(name, error.to_string()))?,
        ]);
    }
    let home = settings.plain("HOME").map(PathBuf::from);
    let places = |home: PathBuf| vec![home.join(".sarsen/certs"), home.join(".minio/certs")];
    Ok(home.map(places).unwrap_or_default())
}

fn pair(directory: &Path) -> Result<Option<CertificateFiles>, Error> {
    let certificate = directory.join("public.crt");
    let private_key = directory.join("private.key");
    match (certificate.exists(), private_key.exists()) {
        (true, true) => Ok(Some(CertificateFiles {
            certificate,
            private_key,
            others: Some(directory.to_owned()),
        })),
        (false, false) => Ok(None),
        _ => {
            let problem = "holds only one of public.crt and private.key";
            Err(Error::setting(directory.display().to_string(), problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read_with(
        pairs: &[(&str, &str)],
        certs_dir: Option<&Path>,
        mode: Option<&str>,
    ) -> Result<Tls, String> {
        let variables: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let settings = Settings::new(&variables, Path::new("/nowhere")).unwrap();
        let certs_dir = certs_dir.map(|path| path.display().to_string());
        read(&settings, certs_dir.as_deref(), mode).map_err(|error| error.to_string())
    }

    #[test]
    fn half_of_a_pair_never_ends_in_plain_http() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("public.crt"), "").unwrap();
        let only = format!(
            "{}: holds only one of public.crt and private.key",
            dir.path().display()
        );
        assert_eq!(read_with(&[], Some(dir.path()), None), Err(only));
        let error = read_with(&[("MINIO_SERVER_CERT_FILE", "/c")], None, None).unwrap_err();
        assert_eq!(
            error,
            "MINIO_SERVER_CERT_FILE: set, but no SARSEN_SERVER_KEY_FILE: give both"
        );
        let error = read_with(&[("SARSEN_SERVER_KEY_FILE", "/c")], None, None).unwrap_err();
        assert_eq!(
            error,
            "SARSEN_SERVER_KEY_FILE: set, but no SARSEN_SERVER_CERT_FILE: give both"
        );
    }

    #[test]
    fn modes_other_than_auto_are_refused() {
        assert_eq!(
            read_with(&[], None, Some("on")),
            Err("--tls: \"on\" is not \"auto\"".into())
        );
        let homeless = Err("--tls: no HOME to keep certificates in: give --certs-dir".into());
        assert_eq!(read_with(&[], None, Some("auto")), homeless);
    }

    #[test]
    fn files_turn_tls_on_and_win_over_auto() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().display().to_string();
        let variables = [("HOME", path.as_str())];
        let ours = home.path().join(".sarsen/certs");
        assert_eq!(read_with(&variables, None, None), Ok(Tls::Plain));
        assert_eq!(
            read_with(&variables, None, Some("auto")),
            Ok(Tls::Auto(ours))
        );
        let theirs = home.path().join(".minio/certs");
        std::fs::create_dir_all(&theirs).unwrap();
        for name in ["public.crt", "private.key"] {
            std::fs::write(theirs.join(name), "").unwrap();
        }
        let files = CertificateFiles {
            certificate: theirs.join("public.crt"),
            private_key: theirs.join("private.key"),
            others: Some(theirs),
        };
        for mode in [None, Some("auto")] {
            assert_eq!(
                read_with(&variables, None, mode),
                Ok(Tls::Files(files.clone()))
            );
        }
        let named = [
            ("MINIO_SERVER_CERT_FILE", "/c"),
            ("MINIO_SERVER_KEY_FILE", "/k"),
        ];
        let pair = CertificateFiles {
            certificate: "/c".into(),
            private_key: "/k".into(),
            others: None,
        };
        assert_eq!(read_with(&named, None, None), Ok(Tls::Files(pair)));
    }
}
