//! An authority of the story's own, the certificates it issues, and a plain TLS client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A certificate authority, with its files in a directory of its own.
pub(crate) struct Authority {
    directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of one certificate.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let key = KeyPair::generate().expect("keys can be made");
        let mut parameters = CertificateParams::new([]).expect("there is no name to be wrong");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("it signs itself");
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { directory, issuer: Issuer::new(parameters, key) }
    }

    /// The file by which others trust it.
    pub(crate) fn file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Issues a certificate under this name of a file; one that is there is replaced, in place and
    /// not at once, as careless scripts do it.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> Files {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("keys can be made");
        let mut parameters = CertificateParams::new(names.clone()).expect("names are names");
        let subject = names.first().map_or("nobody", String::as_str);
        parameters.distinguished_name.push(DnType::CommonName, subject);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("it signs");
        let files = Files {
            certificate: self.path(&format!("{file}-cert.pem")),
            key: self.path(&format!("{file}-key.pem")),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        files
    }

    /// A client that trusts this authority.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A resumed session shows the certificate of the one that it resumes.
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }
}

impl Files {
    /// As `[[certificates]]` names them.
    pub(crate) fn toml(&self) -> String {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        format!("certificate = \"{certificate}\"\nkey = \"{key}\"\n")
    }
}

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Connects and shakes hands; every read and write ends after 15 s at the latest.
pub(crate) fn connect(
    address: SocketAddr,
    name: &str,
    client: &Arc<ClientConfig>,
) -> io::Result<Tls> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    stream.set_write_timeout(Some(Duration::from_secs(15)))?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).expect("stories use real names");
    let mut session =
        ClientConnection::new(client.clone(), name).expect("the configuration is complete");
    let mut stream = stream;
    session.complete_io(&mut stream)?;
    Ok(StreamOwned::new(session, stream))
}

/// Sends one request on a connection that ends with its answer, and returns all of that.
pub(crate) fn exchange(tls: &mut Tls, head: &str) -> io::Result<String> {
    tls.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    match tls.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error),
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The certificate that the other side has shown.
pub(crate) fn shown(tls: &Tls) -> Vec<u8> {
    tls.conn.peer_certificates().map_or_else(Vec::new, |chain| chain[0].to_vec())
}

/// What `openssl s_client` says about a handshake, and whether it was content.
pub(crate) fn openssl(address: SocketAddr, arguments: &[&str]) -> (bool, String) {
    run(Command::new("openssl")
        .arg("s_client")
        .arg("-connect")
        .arg(address.to_string())
        .args(arguments))
}

/// What curl says, with the authority it is to trust, and whether it was content. `$URL` of every
/// story is `https://localhost:PORT`.
pub(crate) fn curl(
    address: SocketAddr,
    ca: &Path,
    path: &str,
    arguments: &[&str],
) -> (bool, String) {
    let url = format!("https://localhost:{}{path}", address.port());
    let resolve = format!("localhost:{}:127.0.0.1", address.port());
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "--max-time", "15", "--resolve", &resolve, "--cacert"]).arg(ca);
    run(command.args(arguments).arg(url))
}

fn run(command: &mut Command) -> (bool, String) {
    let output = command.stdin(std::process::Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
