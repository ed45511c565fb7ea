//! An authority of our own, and the certificate that it signs for this machine: `--tls auto`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use crate::tls::Error;
use crate::tls::files::Pair;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Clocks of clients may be behind by this much.
const BACKDATED: Duration = DAY;
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(3650);
/// What clients take at most.
const LEAF_LIFE: Duration = DAY.saturating_mul(397);
/// A certificate is made anew when it has less than this left.
const LEAF_LEFT_MIN: Duration = DAY.saturating_mul(30);

/// The file of the authority's certificate: what clients are to trust.
pub(crate) fn authority_path(directory: &Path) -> PathBuf {
    directory.join("sarsen-ca.crt")
}

/// The certificate for this machine: key and chain in one file, so that both change at once.
pub(crate) fn leaf(directory: &Path) -> Pair {
    let file = directory.join("sarsen-server.pem");
    Pair {
        certificate: file.clone(),
        private_key: file,
    }
}

/// The names of this machine: `localhost`, its host name, the addresses of its interfaces.
pub(crate) fn machine_names(interfaces: &[IpAddr]) -> Vec<String> {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let mut names = vec!["localhost".to_owned()];
    let usable = ServerName::try_from(host.as_str()).is_ok() && host != "localhost";
    names.extend(Some(host).filter(|_| usable));
    names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    for address in interfaces.iter().map(IpAddr::to_string) {
        if !names.contains(&address) {
            names.push(address);
        }
    }
    names
}

/// Sees to it that `directory` holds an authority and a certificate by it that is good for all
/// `names` for a while from `now` on. What is good is kept.
pub(crate) fn ensure(directory: &Path, names: &[String], now: SystemTime) -> Result<(), Error> {
    let wrong = |reason| Error::File {
        path: directory.to_owned(),
        reason,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(wrong)?;
    let certificate = authority_path(directory);
    let private_key = directory.join("sarsen-ca.key");
    let pair = Pair {
        certificate,
        private_key,
    };
    let (authority, key) = match kept_authority(&pair) {
        Some(kept) => kept,
        None => make_authority(&pair, now)?,
    };
    let leaf = leaf(directory);
    if leaf
        .read()
        .is_ok_and(|leaf| is_good(&leaf, &authority, names, now + LEAF_LEFT_MIN))
    {
        return Ok(());
    }
    let pem = make_leaf(key, names, now)?;
    replace(&leaf.certificate, &pem, Readers::Owner)
}

/// The authority in the files, if both are there and belong together.
fn kept_authority(pair: &Pair) -> Option<(CertifiedKey, KeyPair)> {
    let key = KeyPair::from_pem(&fs::read_to_string(&pair.private_key).ok()?).ok()?;
    Some((pair.read().ok()?, key))
}

fn make_authority(pair: &Pair, now: SystemTime) -> Result<(CertifiedKey, KeyPair), Error> {
    let key = KeyPair::generate().map_err(Error::Make)?;
    let mut params = authority_params(&key)?;
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + AUTHORITY_LIFE).into();
    let certificate = params.self_signed(&key).map_err(Error::Make)?;
    replace(&pair.private_key, &key.serialize_pem(), Readers::Owner)?;
    replace(&pair.certificate, &certificate.pem(), Readers::Everybody)?;
    Ok((pair.read()?, key))
}

/// Everything about the authority but its dates follows from its key.
fn authority_params(key: &KeyPair) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new()).map_err(Error::Make)?;
    let id: String = params
        .key_identifier(key)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name = id.get(..16).unwrap_or(&id);
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Sarsen authority {name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn make_leaf(authority: KeyPair, names: &[String], now: SystemTime) -> Result<String, Error> {
    let issuer = Issuer::new(authority_params(&authority)?, authority);
    let key = KeyPair::generate().map_err(Error::Make)?;
    let mut params = CertificateParams::new(names).map_err(Error::Make)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Sarsen server");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + LEAF_LIFE).into();
    let certificate = params.signed_by(&key, &issuer).map_err(Error::Make)?;
    Ok(format!("{}{}", certificate.pem(), key.serialize_pem()))
}

/// Whether a client that trusts the authority would take the certificate under each name, then.
fn is_good(
    leaf: &CertifiedKey,
    authority: &CertifiedKey,
    names: &[String],
    then: SystemTime,
) -> bool {
    let mut roots = RootCertStore::empty();
    let (Some(end), [authority, ..]) = (leaf.cert.first(), &*authority.cert) else {
        return false;
    };
    if roots.add(authority.clone()).is_err() {
        return false;
    }
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let then = UnixTime::since_unix_epoch(then.duration_since(UNIX_EPOCH).unwrap_or_default());
    verifier.is_ok_and(|verifier| {
        names.iter().all(|name| {
            let name = ServerName::try_from(name.as_str());
            name.is_ok_and(|name| {
                verifier
                    .verify_server_cert(end, &[], &name, &[], then)
                    .is_ok()
            })
        })
    })
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readers {
    Owner,
    Everybody,
}

/// Replaces a file at once.
fn replace(path: &Path, text: &str, readers: Readers) -> Result<(), Error> {
    let mode = if readers == Readers::Owner {
        0o600
    } else {
        0o644
    };
    let wrong = |reason| Error::File {
        path: path.to_owned(),
        reason,
    };
    let staged = path.with_extension("new");
    match fs::remove_file(&staged) {
        Err(reason) if reason.kind() != std::io::ErrorKind::NotFound => return Err(wrong(reason)),
        _ => {}
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&staged);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(wrong)?;
    fs::rename(&staged, path).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names() -> Vec<String> {
        machine_names(&["10.1.2.3".parse().unwrap()])
    }

    fn files(directory: &Path) -> [Vec<u8>; 2] {
        [authority_path(directory), leaf(directory).certificate].map(|path| fs::read(path).unwrap())
    }

    #[test]
    fn what_is_good_is_kept_and_what_is_not_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("a/b");
        let now = SystemTime::now();
        ensure(&directory, &names(), now).unwrap();
        let [authority, first] = files(&directory);
        ensure(&directory, &names(), now + DAY * 360).unwrap();
        assert_eq!(
            files(&directory),
            [authority.clone(), first.clone()],
            "still good"
        );

        ensure(&directory, &names(), now + DAY * 380).unwrap();
        let [same, second] = files(&directory);
        assert_eq!(same, authority, "clients need not trust anew");
        assert_ne!(second, first, "it would have ended soon");

        let mut more = names();
        more.push("10.9.9.9".to_owned());
        ensure(&directory, &more, now + DAY * 380).unwrap();
        let [_, third] = files(&directory);
        assert_ne!(third, second, "the machine has a new address");

        fs::write(directory.join("sarsen-ca.key"), "junk").unwrap();
        ensure(&directory, &more, now + DAY * 380).unwrap();
        let [other, fourth] = files(&directory);
        assert_ne!(other, authority);
        assert_ne!(fourth, third);
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        ensure(dir.path(), &names(), SystemTime::now()).unwrap();
        let table = [
            ("sarsen-ca.key", 0o600),
            ("sarsen-server.pem", 0o600),
            ("sarsen-ca.crt", 0o644),
        ];
        for (name, expected) in table {
            let mode = fs::metadata(dir.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, expected, "{name}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
