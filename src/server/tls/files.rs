//! Certificates and keys in files, in MinIO's layout.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::tls::Error;

/// The sub-directory of trusted authorities, which holds no pair.
const AUTHORITIES: &str = "CAs";

/// A certificate chain and its key, each a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
}

/// What tells that a file has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp([Option<(SystemTime, u64)>; 2]);

impl Pair {
    pub(crate) fn in_directory(directory: &Path) -> Self {
        Self {
            certificate: directory.join("public.crt"),
            private_key: directory.join("private.key"),
        }
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp([&self.certificate, &self.private_key].map(|path| {
            let found = fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len()))
        }))
    }

    /// Reads both files; the key must belong to the first certificate.
    pub(crate) fn read(&self) -> Result<CertifiedKey, Error> {
        let chain = read(&self.certificate)?;
        let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|reason| Error::pem(&self.certificate, &reason))?;
        if chain.is_empty() {
            return Err(Error::pem(&self.certificate, &"no certificate in it"));
        }
        let key = read(&self.private_key)?;
        if key.windows(9).any(|word| word == b"ENCRYPTED") {
            return Err(Error::Encrypted {
                path: self.private_key.clone(),
            });
        }
        let key = PrivateKeyDer::from_pem_slice(&key);
        let key = key.map_err(|reason| Error::pem(&self.private_key, &reason))?;
        CertifiedKey::from_der(chain, key, &default_provider()).map_err(|reason| Error::Mismatch {
            certificate: self.certificate.clone(),
            private_key: self.private_key.clone(),
            reason,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|reason| Error::File {
        path: path.to_owned(),
        reason,
    })
}

/// The pairs in the sub-directories of `directory`, by name. A directory with half a pair is
/// listed, and fails when it is read.
pub(crate) fn pairs_below(directory: &Path) -> Result<Vec<Pair>, Error> {
    let wrong = |reason| Error::File {
        path: directory.to_owned(),
        reason,
    };
    let mut pairs = Vec::new();
    for entry in fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let pair = Pair::in_directory(&path);
        let meant = pair.certificate.exists() || pair.private_key.exists();
        if meant && path.file_name().is_some_and(|name| name != AUTHORITIES) {
            pairs.push(pair);
        }
    }
    pairs.sort_unstable_by(|a, b| a.certificate.cmp(&b.certificate));
    Ok(pairs)
}
