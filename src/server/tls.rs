//! TLS for clients: which certificate for which name, and how it changes while the server runs.

mod files;
mod own;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::interval;

use crate::config::{CertificateFiles, Tls};
use files::{Pair, Stamp, pairs_below};

/// How often certificate files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How many looks lie between two checks that a certificate of our own is good for long enough.
const LOOKS_PER_CHECK: u32 = 360;

/// Certificates that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read or written.
    #[error("{}: {reason}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// A file without what it should hold.
    #[error("{}: no PEM of a certificate or key: {reason}", .path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A key with a password.
    #[error("{}: encrypted private keys are not supported: decrypt it with `openssl pkey`", .path.display())]
    Encrypted {
        /// Which.
        path: PathBuf,
    },
    /// A key that does not fit its certificate, or that nobody can use.
    #[error("{} and {} do not go together: {reason}", .certificate.display(), .private_key.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        private_key: PathBuf,
        /// Why.
        reason: rustls::Error,
    },
    /// A certificate of our own could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(rcgen::Error),
    /// TLS itself could not be set up.
    #[error("cannot set up TLS: {0}")]
    Setup(rustls::Error),
}

impl Error {
    fn pem(path: &Path, reason: &dyn std::fmt::Display) -> Self {
        Self::Pem {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// The certificates of a server; files that change are taken up while it runs.
#[derive(Debug)]
pub(crate) struct Certificates {
    source: Source,
    state: RwLock<State>,
}

#[derive(Debug)]
enum Source {
    Files {
        main: Pair,
        others: Option<PathBuf>,
    },
    Own {
        directory: PathBuf,
        names: Vec<String>,
    },
}

#[derive(Debug, Clone)]
struct State {
    /// The pairs that are used, the main one first.
    held: Vec<Held>,
    /// Files that were complained about: once is enough.
    refused: Vec<(Pair, Stamp)>,
}

/// A pair as it was when it last was good.
#[derive(Debug, Clone)]
struct Held {
    seen: (Pair, Stamp),
    key: Arc<CertifiedKey>,
}

impl Certificates {
    /// Reads what the configuration names, or makes it; none for plain HTTP. `interfaces` are the
    /// addresses of this machine.
    pub(crate) fn load(tls: &Tls, interfaces: &[IpAddr]) -> Result<Option<Arc<Self>>, Error> {
        let source = match tls {
            Tls::Plain => return Ok(None),
            Tls::Files(CertificateFiles {
                certificate,
                private_key,
                others,
            }) => {
                let (certificate, private_key) = (certificate.clone(), private_key.clone());
                Source::Files {
                    main: Pair {
                        certificate,
                        private_key,
                    },
                    others: others.clone(),
                }
            }
            Tls::Auto(directory) => {
                let names = own::machine_names(interfaces);
                Source::Own {
                    directory: directory.clone(),
                    names,
                }
            }
        };
        source.prepare()?;
        let read = |pair: Pair| {
            let seen = (pair.clone(), pair.stamp());
            Ok(Held {
                seen,
                key: Arc::new(pair.read()?),
            })
        };
        let held = source
            .pairs()?
            .into_iter()
            .map(read)
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(Some(Arc::new(Self {
            source,
            state: RwLock::new(State {
                held,
                refused: Vec::new(),
            }),
        })))
    }

    /// The file that clients have to trust, if the certificates are our own.
    pub(crate) fn own_authority(&self) -> Option<PathBuf> {
        match &self.source {
            Source::Files { .. } => None,
            Source::Own { directory, .. } => Some(own::authority_path(directory)),
        }
    }

    /// The server's side of TLS with these certificates.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<ServerConfig, Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(Error::Setup)?;
        let resolver: Arc<Self> = Arc::clone(self);
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = Ticketer::new().map_err(Error::Setup)?;
        Ok(config)
    }

    /// Looks at the files, and takes up what has changed and is good. Answers with how many pairs
    /// were taken up, and with what was refused for the first time: what was held of it stays.
    pub(crate) fn refresh(&self) -> (usize, Vec<Error>) {
        let pairs = match self.source.pairs() {
            Ok(pairs) => pairs,
            Err(error) => return (0, vec![error]),
        };
        let before = self
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut after = State {
            held: Vec::new(),
            refused: Vec::new(),
        };
        let mut taken = 0;
        let mut errors = Vec::new();
        for pair in pairs {
            let seen = (pair.clone(), pair.stamp());
            let old = before.held.iter().find(|held| held.seen.0 == pair).cloned();
            let complained = before.refused.contains(&seen);
            if complained || old.as_ref().is_some_and(|old| old.seen == seen) {
                after.held.extend(old);
                after.refused.extend(Some(seen).filter(|_| complained));
                continue;
            }
            match pair.read() {
                Ok(key) => {
                    taken += 1;
                    after.held.push(Held {
                        seen,
                        key: Arc::new(key),
                    });
                }
                Err(error) => {
                    errors.push(error);
                    after.held.extend(old);
                    after.refused.push(seen);
                }
            }
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = after;
        (taken, errors)
    }

    /// Refreshes from time to time and at each hangup signal, for ever.
    pub(crate) async fn keep_fresh(self: Arc<Self>, mut hangups: Signal) {
        let mut looks = interval(LOOK_EVERY);
        let mut count = 0u32;
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                _ = hangups.recv() => {}
            }
            count = count.wrapping_add(1);
            let this = Arc::clone(&self);
            let look = spawn_blocking(move || {
                if count.is_multiple_of(LOOKS_PER_CHECK)
                    && let Err(error) = this.source.prepare()
                {
                    tracing::error!(%error, "a certificate could not be renewed");
                }
                this.refresh()
            });
            let Ok((taken, refused)) = look.await else {
                return;
            };
            for error in refused {
                tracing::error!(%error, "a certificate was refused; the old one stays");
            }
            if taken > 0 {
                tracing::info!(taken, "certificates were read again");
            }
        }
    }

    /// The certificate for a name: the first that is valid for it, or else the main one.
    fn choose(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let fits = |held: &&Held| {
            name.as_ref().is_some_and(|name| {
                let end = held
                    .key
                    .end_entity_cert()
                    .and_then(ParsedCertificate::try_from);
                end.is_ok_and(|end| verify_server_name(&end, name).is_ok())
            })
        };
        state
            .held
            .iter()
            .find(fits)
            .or_else(|| state.held.first())
            .map(|held| Arc::clone(&held.key))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name())
    }
}

impl Source {
    /// Makes or renews what is our own.
    fn prepare(&self) -> Result<(), Error> {
        match self {
            Self::Files { .. } => Ok(()),
            Self::Own { directory, names } => own::ensure(directory, names, SystemTime::now()),
        }
    }

    /// The pairs that are there now, the main one first.
    fn pairs(&self) -> Result<Vec<Pair>, Error> {
        match self {
            Self::Files { main, others } => {
                let mut pairs = vec![main.clone()];
                if let Some(directory) = others {
                    pairs.extend(pairs_below(directory)?);
                }
                Ok(pairs)
            }
            Self::Own { directory, .. } => Ok(vec![own::leaf(directory)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::slice::from_ref;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::CertificateDer;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

    /// Writes a self-signed pair, and answers with its certificate.
    fn write_pair(directory: &Path, name: &str) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("public.crt"), certificate.pem()).unwrap();
        fs::write(directory.join("private.key"), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    fn files(directory: &Path) -> Tls {
        Tls::Files(CertificateFiles {
            certificate: directory.join("public.crt"),
            private_key: directory.join("private.key"),
            others: Some(directory.to_owned()),
        })
    }

    fn load(tls: &Tls) -> Arc<Certificates> {
        Certificates::load(tls, &[]).unwrap().unwrap()
    }

    /// A whole handshake of a client that asks for `name` and trusts `roots` alone; the
    /// certificate that the server showed.
    fn handshake(
        certificates: &Arc<Certificates>,
        roots: &[CertificateDer<'static>],
        name: &'static str,
    ) -> Result<CertificateDer<'static>, rustls::Error> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone()).unwrap();
        }
        let provider = Arc::new(default_provider());
        let client = ClientConfig::builder_with_provider(provider);
        let client = client.with_safe_default_protocol_versions().unwrap();
        let mut client = client.with_root_certificates(store).with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let config = Arc::new(certificates.server_config().unwrap());
        let mut server = ServerConnection::new(config).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));
        Ok(client.peer_certificates().unwrap()[0].clone().into_owned())
    }

    #[test]
    fn bad_files_stop_the_start_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let tls = files(dir.path());
        let failure = || {
            let error = Certificates::load(&tls, &[]).unwrap_err().to_string();
            assert_eq!(error.lines().count(), 1, "{error}");
            error
        };
        assert!(failure().contains("public.crt: No such file"));
        write_pair(dir.path(), "a.example");
        let key = fs::read_to_string(dir.path().join("private.key")).unwrap();
        write_pair(dir.path(), "b.example");
        fs::write(dir.path().join("private.key"), &key).unwrap();
        assert!(failure().contains("do not go together"));
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        fs::write(dir.path().join("private.key"), encrypted).unwrap();
        assert!(failure().contains("encrypted private keys are not supported"));
        fs::write(dir.path().join("private.key"), "junk").unwrap();
        assert!(failure().contains("private.key: no PEM"));
        write_pair(dir.path(), "b.example");
        fs::write(dir.path().join("public.crt"), "").unwrap();
        assert!(failure().contains("public.crt: no PEM"));
        write_pair(dir.path(), "b.example");
        fs::create_dir(dir.path().join("half")).unwrap();
        fs::write(dir.path().join("half/public.crt"), "").unwrap();
        assert!(failure().contains("half/public.crt"));
    }

    #[test]
    fn each_name_gets_its_certificate_and_strangers_the_main_one() {
        let dir = tempfile::tempdir().unwrap();
        let main = write_pair(dir.path(), "main.example");
        let wild = write_pair(&dir.path().join("wild"), "*.other.example");
        write_pair(&dir.path().join("CAs"), "main.example");
        let certificates = load(&files(dir.path()));
        let roots = [main.clone(), wild.clone()];
        assert_eq!(
            handshake(&certificates, &roots, "main.example"),
            Ok(main.clone())
        );
        assert_eq!(
            handshake(&certificates, &roots, "x.other.example"),
            Ok(wild)
        );
        assert!(handshake(&certificates, &roots, "stranger.example").is_err());
        let chosen = certificates.choose(Some("stranger.example")).unwrap();
        assert_eq!(chosen.cert, [main]);
    }

    #[test]
    fn new_files_are_taken_up_and_bad_ones_leave_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let first = write_pair(dir.path(), "a.example");
        let certificates = load(&files(dir.path()));
        assert_eq!(certificates.refresh().0, 0, "nothing has changed");
        assert_eq!(
            handshake(&certificates, from_ref(&first), "a.example"),
            Ok(first.clone())
        );

        let good = fs::read(dir.path().join("private.key")).unwrap();
        fs::write(
            dir.path().join("private.key"),
            "not a key, and of another length",
        )
        .unwrap();
        let (taken, refused) = certificates.refresh();
        assert_eq!((taken, refused.len()), (0, 1));
        assert_eq!(certificates.refresh().1.len(), 0, "said once");
        assert_eq!(
            handshake(&certificates, from_ref(&first), "a.example"),
            Ok(first.clone())
        );

        fs::write(dir.path().join("private.key"), good).unwrap();
        fs::remove_file(dir.path().join("public.crt")).unwrap();
        assert_eq!(certificates.refresh().0, 0);
        assert_eq!(
            handshake(&certificates, from_ref(&first), "a.example"),
            Ok(first.clone())
        );

        let second = write_pair(dir.path(), "a.example");
        let more = write_pair(&dir.path().join("more"), "b.example");
        assert_eq!(certificates.refresh().0, 2);
        let roots = [first, second.clone(), more.clone()];
        assert_eq!(
            handshake(&certificates, &roots, "a.example"),
            Ok(second.clone())
        );
        assert_eq!(handshake(&certificates, &roots, "b.example"), Ok(more));
        fs::remove_dir_all(dir.path().join("more")).unwrap();
        certificates.refresh();
        assert_eq!(
            certificates.choose(Some("b.example")).unwrap().cert,
            [second]
        );
    }

    #[test]
    fn an_authority_of_our_own_serves_clients_that_trust_it() {
        let dir = tempfile::tempdir().unwrap();
        let certificates = load(&Tls::Auto(dir.path().to_owned()));
        let path = certificates.own_authority().unwrap();
        let root: CertificateDer<'static> =
            rustls::pki_types::pem::PemObject::from_pem_file(path).unwrap();
        for name in ["localhost", "127.0.0.1", "::1"] {
            assert!(
                handshake(&certificates, from_ref(&root), name).is_ok(),
                "{name}"
            );
        }
        assert!(handshake(&certificates, &[root], "example.org").is_err());
    }
}
