//! TLS as libpq does it: what is verified in which `sslmode`, and where certificates and keys are.
//!
//! Source: the chapter "SSL Support" of libpq's manual. Two things are stricter here, because
//! rustls knows no way around them: a certificate that is verified must be of X.509 version 3, and
//! its name must stand in its subjectAltName.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::conninfo::{Conninfo, SslMode};
use crate::regular_file;
use crate::secret_file::FileMode;

/// Why TLS cannot be set up; nothing has been sent to the server yet.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is nothing to verify the server with.
    #[error(
        "sslmode verifies the server, but there is no root certificate ({})\nhint: put it there, or set \
         sslrootcert to its file or to \"system\"",
        .0.display()
    )]
    NoRoot(PathBuf),
    /// A file cannot be used.
    #[error("cannot use the {what} {}: {problem}", path.display())]
    File {
        /// What it holds.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A value that makes no sense.
    #[error("{name} is {value:?}: it must be {expected}")]
    BadValue {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// rustls refuses the pieces.
    #[error("the certificates and keys for TLS do not match: {0}")]
    Refused(String),
}

/// How TLS is spoken with a server.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) connect: MakeRustlsConnect,
    /// TLS from the first byte, without asking the server first.
    pub(super) direct: bool,
}

/// What is verified of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verification {
    /// Nothing: the connection is private only as long as nobody stands in between.
    Nothing,
    /// That one of our authorities vouches for it.
    Chain,
    /// That, and its name.
    ChainAndName,
}

/// Where root certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Roots {
    /// Those of the system.
    System,
    /// In this file.
    File(PathBuf),
    /// There are none.
    Absent(PathBuf),
}

/// What is verified in which mode: with a root certificate at hand every mode verifies the chain.
fn verification(mode: SslMode, roots: &Roots) -> Result<Verification, TlsError> {
    match (mode, roots) {
        (SslMode::VerifyCa | SslMode::VerifyFull, Roots::Absent(path)) => {
            Err(TlsError::NoRoot(path.clone()))
        }
        (SslMode::VerifyFull, _) => Ok(Verification::ChainAndName),
        (_, Roots::Absent(_)) => Ok(Verification::Nothing),
        _ => Ok(Verification::Chain),
    }
}

/// Prepares TLS for a connection; reads the files with certificates and keys.
pub(super) fn prepare(conninfo: &Conninfo) -> Result<Tls, TlsError> {
    let parameter = |name: &str| conninfo.parameters.get(name).map(String::as_str);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = roots(conninfo);
    let verifier = Verifier {
        trust: match verification(conninfo.ssl_mode, &roots)? {
            Verification::Nothing => None,
            wanted => Some(Trust::load(conninfo, &roots, wanted, &provider)?),
        },
        provider: Arc::clone(&provider),
    };
    let versions = protocol_versions(
        parameter("ssl_min_protocol_version"),
        parameter("ssl_max_protocol_version"),
    )?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| TlsError::Refused(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match client_certificate(conninfo)? {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| TlsError::Refused(error.to_string()))?,
    };
    config.enable_sni = parameter("sslsni") != Some("0");
    let direct = match parameter("sslnegotiation") {
        None | Some("postgres") => false,
        Some("direct") => true,
        Some(value) => {
            return Err(TlsError::BadValue {
                name: "sslnegotiation",
                value: value.to_owned(),
                expected: "postgres or direct",
            });
        }
    };
    if direct {
        // The server demands it, so that no other protocol's client can be sent to it.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(Tls {
        connect: MakeRustlsConnect::new(config),
        direct,
    })
}

fn roots(conninfo: &Conninfo) -> Roots {
    match conninfo.parameters.get("sslrootcert") {
        Some(system) if system == "system" => Roots::System,
        // One that is configured has to exist: reading it will tell.
        Some(path) => Roots::File(path.into()),
        None => match conninfo.home_file("root.crt") {
            Some(path) if path.exists() => Roots::File(path),
            path => Roots::Absent(path.unwrap_or_else(|| "~/.postgresql/root.crt".into())),
        },
    }
}

/// The versions between these bounds that rustls speaks (1.2 and 1.3).
fn protocol_versions(
    lowest: Option<&str>,
    highest: Option<&str>,
) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let rank = |name: &'static str, value: Option<&str>, default: u8| match value {
        None => Ok(default),
        Some("TLSv1") => Ok(0),
        Some("TLSv1.1") => Ok(1),
        Some("TLSv1.2") => Ok(2),
        Some("TLSv1.3") => Ok(3),
        Some(value) => Err(TlsError::BadValue {
            name,
            value: value.to_owned(),
            expected: "TLSv1.2 or TLSv1.3",
        }),
    };
    let lowest = rank("ssl_min_protocol_version", lowest, 2)?;
    let rank_of_highest = rank("ssl_max_protocol_version", highest, 3)?;
    let versions: Vec<_> = [(2, &rustls::version::TLS12), (3, &rustls::version::TLS13)]
        .into_iter()
        .filter(|(rank, _)| (lowest..=rank_of_highest).contains(rank))
        .map(|(_, version)| version)
        .collect();
    if versions.is_empty() {
        return Err(TlsError::BadValue {
            name: "ssl_max_protocol_version",
            value: highest.unwrap_or_default().to_owned(),
            expected: "TLSv1.2 or TLSv1.3, and not below ssl_min_protocol_version",
        });
    }
    Ok(versions)
}

fn unusable(what: &'static str, path: &Path, problem: &impl ToString) -> TlsError {
    TlsError::File {
        what,
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = regular_file::read_by_hand(path).map_err(|error| unusable(what, path, &error))?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(what, path, &error))?;
    if chain.is_empty() {
        return Err(unusable(what, path, &"there is no certificate in it"));
    }
    Ok(chain)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The certificate that we show, and its key.
fn client_certificate(conninfo: &Conninfo) -> Result<Option<Identity>, TlsError> {
    let parameter = |name: &str| conninfo.parameters.get(name).map(PathBuf::from);
    let required = match conninfo.parameters.get("sslcertmode").map(String::as_str) {
        None | Some("allow") => false,
        Some("require") => true,
        Some("disable") => return Ok(None),
        Some(value) => {
            return Err(TlsError::BadValue {
                name: "sslcertmode",
                value: value.to_owned(),
                expected: "disable, allow or require",
            });
        }
    };
    let by_default = || {
        conninfo
            .home_file("postgresql.crt")
            .filter(|path| required || path.exists())
    };
    let Some(path) = parameter("sslcert").or_else(by_default) else {
        return Ok(None);
    };
    let chain = certificates("client certificate", &path)?;

    let key_path = parameter("sslkey")
        .or_else(|| conninfo.home_file("postgresql.key"))
        .unwrap_or_else(|| path.with_extension("key"));
    let failed = |problem: &dyn ToString| unusable("client key", &key_path, &problem.to_string());
    let metadata = fs::metadata(&key_path).map_err(|error| failed(&error))?;
    if let Some(file_mode) = FileMode::of(&metadata) {
        let problem = format!(
            "it can be read by others (mode {:04o})\nhint: {}",
            file_mode.mode,
            file_mode.closing_advice(&key_path)
        );
        return Err(failed(&problem));
    }
    let bytes = regular_file::read_by_hand(&key_path).map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|error| failed(&format!("{error}; it must be PEM and not encrypted")))?;
    Ok(Some((chain, key)))
}

/// Decides whether the server is the right one.
#[derive(Debug)]
struct Verifier {
    trust: Option<Trust>,
    provider: Arc<CryptoProvider>,
}

/// Whom we trust.
#[derive(Debug)]
struct Trust {
    authorities: Arc<WebPkiServerVerifier>,
    /// The same as certificates. A server may show one of these itself: many servers sign their
    /// own certificate, and rustls accepts no authority's certificate as a server's.
    pinned: Vec<CertificateDer<'static>>,
    name_counts: bool,
}

impl Trust {
    fn load(
        conninfo: &Conninfo,
        roots: &Roots,
        wanted: Verification,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        let mut pinned = Vec::new();
        match roots {
            Roots::File(path) => {
                pinned = certificates("root certificate", path)?;
                for certificate in &pinned {
                    store
                        .add(certificate.clone())
                        .map_err(|error| unusable("root certificate", path, &error))?;
                }
            }
            Roots::System => {
                let found = rustls_native_certs::load_native_certs();
                if found.certs.is_empty() {
                    let problem =
                        "the system has no root certificates\nhint: install ca-certificates";
                    return Err(TlsError::Refused(problem.to_owned()));
                }
                store.add_parsable_certificates(found.certs);
            }
            Roots::Absent(path) => return Err(TlsError::NoRoot(path.clone())),
        }
        let mut builder =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
        let by_default = || conninfo.home_file("root.crl").filter(|path| path.exists());
        let revoked = conninfo.parameters.get("sslcrl").map(PathBuf::from);
        if let Some(path) = revoked.or_else(by_default) {
            const WHAT: &str = "revocation list";
            let bytes = regular_file::read(&path).map_err(|error| unusable(WHAT, &path, &error))?;
            let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&bytes)
                .collect::<Result<_, _>>()
                .map_err(|error| unusable(WHAT, &path, &error))?;
            builder = builder.with_crls(lists);
        }
        let authorities = builder
            .build()
            .map_err(|error| TlsError::Refused(error.to_string()))?;
        Ok(Self {
            authorities,
            pinned,
            name_counts: wanted == Verification::ChainAndName,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(trust) = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        if trust.pinned.iter().any(|pinned| pinned == end_entity) {
            if trust.name_counts {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        let verdict = trust.authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verdict {
            // The name is the last thing that rustls checks.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !trust.name_counts => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.trust.is_none() {
            // Proof that the server owns a certificate that anybody could have made is worth
            // nothing, and certificates of X.509 version 1, as in PostgreSQL's manual, would fail.
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.trust.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_verifies_what_libpq_verifies() {
        let absent = Roots::Absent("/r".into());
        let file = Roots::File("/r".into());
        let table = [
            (SslMode::Allow, &absent, Some(Verification::Nothing)),
            (SslMode::Prefer, &absent, Some(Verification::Nothing)),
            (SslMode::Require, &absent, Some(Verification::Nothing)),
            (SslMode::VerifyCa, &absent, None),
            (SslMode::VerifyFull, &absent, None),
            (SslMode::Prefer, &file, Some(Verification::Chain)),
            (SslMode::Require, &file, Some(Verification::Chain)),
            (SslMode::VerifyCa, &file, Some(Verification::Chain)),
            (SslMode::VerifyFull, &file, Some(Verification::ChainAndName)),
            (
                SslMode::VerifyFull,
                &Roots::System,
                Some(Verification::ChainAndName),
            ),
        ];
        for (mode, roots, expected) in table {
            assert_eq!(
                verification(mode, roots).ok(),
                expected,
                "{mode:?} {roots:?}"
            );
        }
    }

    #[test]
    fn the_versions_of_tls_stay_within_the_bounds() {
        let count = |lowest, highest| protocol_versions(lowest, highest).map(|v| v.len()).ok();
        assert_eq!(count(None, None), Some(2));
        assert_eq!(count(Some("TLSv1.3"), None), Some(1));
        assert_eq!(count(Some("TLSv1"), Some("TLSv1.2")), Some(1));
        assert_eq!(count(None, Some("TLSv1.1")), None);
        assert_eq!(count(Some("TLSv1.3"), Some("TLSv1.2")), None);
        assert_eq!(count(Some("SSLv3"), None), None);
    }
}
