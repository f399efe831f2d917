//! Pairs made on the spot, good and bad; who sees which, and what is made of new ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::server::Termination;
use super::watch::Watched;
use super::*;

/// A directory with one pair in it, which can be replaced.
struct Made {
    directory: TempDir,
}

impl Made {
    fn for_names(names: &[&str]) -> Self {
        let made = Self { directory: TempDir::new().unwrap() };
        made.write_pair(names);
        made
    }

    fn write_pair(&self, names: &[&str]) {
        let key = KeyPair::generate().unwrap();
        self.write_certificate(names, &key, (2020, 4000));
        std::fs::write(self.key(), key.serialize_pem()).unwrap();
    }

    fn write_certificate(&self, names: &[&str], key: &KeyPair, (from, until): (i32, i32)) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_before = date_time_ymd(from, 1, 1);
        parameters.not_after = date_time_ymd(until, 1, 1);
        let certificate = parameters.self_signed(key).unwrap();
        std::fs::write(self.certificate(), certificate.pem()).unwrap();
    }

    fn certificate(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    fn load(&self) -> Result<Pair, PairFault> {
        Pair::load(&self.certificate(), &self.key(), SystemTime::now())
    }
}

#[track_caller]
fn refused(made: &Made, words: &str, culprit: &Path) {
    let fault = made.load().unwrap_err();
    assert!(fault.to_string().contains(words), "{fault}");
    assert!(fault.is_about(culprit), "{fault}");
    assert!(!fault.remedy().is_empty());
}

#[test]
fn a_pair_knows_its_names_and_its_last_day() {
    let pair = Made::for_names(&["Chat.example", "*.chat.example"]).load().unwrap();
    assert_eq!(pair.names(), ["chat.example", "*.chat.example"]);
    assert_eq!(show_day(pair.not_after()), "4000-01-01");
}

#[test]
fn each_way_to_be_no_pair_has_its_own_words() {
    let made = Made::for_names(&["a.example"]);
    let (certificate, key) = (made.certificate(), made.key());
    let stranger = KeyPair::generate().unwrap();
    let good_key = std::fs::read(&key).unwrap();

    std::fs::write(&key, stranger.serialize_pem()).unwrap();
    refused(&made, "does not belong to", &key);
    std::fs::write(&key, "no key at all").unwrap();
    refused(&made, "has no private key", &key);
    std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\n%%\n-----END PRIVATE KEY-----\n").unwrap();
    refused(&made, "is broken PEM", &key);
    std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    refused(&made, "cannot be used", &key);
    std::fs::remove_file(&key).unwrap();
    refused(&made, "cannot read", &key);

    std::fs::write(&key, stranger.serialize_pem()).unwrap();
    made.write_certificate(&["a.example"], &stranger, (2020, 2021));
    refused(&made, "expired on 2021-01-01", &certificate);
    made.write_certificate(&["a.example"], &stranger, (3000, 3001));
    refused(&made, "not valid before 3000-01-01", &certificate);
    std::fs::write(&certificate, good_key).unwrap();
    refused(&made, "has no certificate", &certificate);
    let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    std::fs::write(&certificate, empty).unwrap();
    refused(&made, "cannot be used", &certificate);
}

#[test]
fn a_pair_is_judged_by_the_time_that_is_given() {
    let made = Made::for_names(&["a.example"]);
    let load = |now| Pair::load(&made.certificate(), &made.key(), now);
    let not_after = load(SystemTime::now()).unwrap().not_after();
    assert!(load(not_after - Duration::from_secs(1)).is_ok());
    assert!(matches!(load(not_after), Err(PairFault::Expired { .. })));
    assert!(matches!(load(UNIX_EPOCH), Err(PairFault::NotYetValid { .. })));
}

#[test]
fn a_new_pair_is_read_once_both_of_its_files_are_there() {
    let made = Made::for_names(&["old.example"]);
    let mut watched = Watched::new(made.load().unwrap());
    assert!(watched.look().is_none());

    let key = KeyPair::generate().unwrap();
    made.write_certificate(&["new.example"], &key, (2020, 4000));
    assert!(watched.look().is_none(), "judged while it is being written");
    std::fs::write(made.key(), key.serialize_pem()).unwrap();
    assert!(watched.look().is_none(), "judged while it is being written");
    assert_eq!(watched.look().unwrap().unwrap().names(), ["new.example"]);
    assert!(watched.look().is_none());
}

#[test]
fn a_bad_pair_is_told_once_and_a_good_one_behind_it_is_taken() {
    let made = Made::for_names(&["old.example"]);
    let mut watched = Watched::new(made.load().unwrap());
    std::fs::write(made.key(), "half a").unwrap();
    assert!(watched.look().is_none());
    assert!(watched.look().unwrap().is_err());
    assert!(watched.look().is_none() && watched.look().is_none(), "told twice");

    made.write_pair(&["new.example"]);
    assert!(watched.look().is_none());
    assert_eq!(watched.look().unwrap().unwrap().names(), ["new.example"]);
}

#[test]
fn what_was_swapped_and_what_was_refused_is_on_record() {
    let made = Made::for_names(&["old.example"]);
    let certificates = Certificates::new(&[made.load().unwrap()]);
    std::fs::write(made.certificate(), "").unwrap();
    certificates.refuse(0, &made.load().unwrap_err());
    let record = &certificates.snapshot()[0];
    assert_eq!((record.swaps, record.refusals), (0, 1));
    assert!(record.last_refusal.as_ref().unwrap().contains("has no certificate"));
    assert_eq!(record.names, ["old.example"]);

    made.write_pair(&["new.example"]);
    certificates.swap(0, made.load().unwrap());
    let record = &certificates.snapshot()[0];
    assert_eq!((record.swaps, record.refusals, &record.last_refusal), (1, 1, &None));
    assert_eq!(record.names, ["new.example"]);
}

/// Serves one handshake on loopback with `hello_bytes` of it read ahead, and returns what the client
/// got: the name of the certificate's place in `made`, and the version.
async fn shake_hands(
    made: &[&Made],
    name: &'static str,
    protocols: usize,
) -> (usize, ProtocolVersion) {
    let pairs: Vec<Pair> = made.iter().map(|made| made.load().unwrap()).collect();
    let certificates = Arc::new(Certificates::new(&pairs));
    let termination = Termination::new(&TlsTerms::default(), certificates, &[]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = bytes::BytesMut::new();
        while !is_whole(&hello) {
            tokio::io::AsyncReadExt::read_buf(&mut stream, &mut hello).await.unwrap();
        }
        termination.accept(stream, &hello).await.unwrap()
    };
    let mut roots = RootCertStore::empty();
    for pair in &pairs {
        roots.add(pair.certified.cert[0].clone()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols =
        (0..protocols).map(|number| format!("protocol-{number}").into_bytes()).collect();
    let connect = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    };
    let shaken = async { tokio::join!(serve, connect) };
    let (_, client) = tokio::time::timeout(Duration::from_secs(10), shaken).await.unwrap();
    let session = client.get_ref().1;
    let shown = &session.peer_certificates().unwrap()[0];
    let place = pairs.iter().position(|pair| pair.certified.cert[0] == *shown).unwrap();
    (place, session.protocol_version().unwrap())
}

fn is_whole(hello: &[u8]) -> bool {
    use longhaul_proto::client_hello::{Hello, read};
    matches!(read(hello).unwrap(), Hello::Whole { .. })
}

#[tokio::test]
async fn a_client_sees_the_certificate_of_its_name() {
    let exact = Made::for_names(&["a.example", "localhost"]);
    let star = Made::for_names(&["*.a.example"]);
    let both = [&exact, &star];
    assert_eq!(shake_hands(&both, "a.example", 0).await, (0, ProtocolVersion::TLSv1_3));
    assert_eq!(shake_hands(&both, "b.a.example", 0).await.0, 1);
    assert_eq!(shake_hands(&both, "B.A.Example", 0).await.0, 1);
    // A name of its own counts more than the star, wherever it stands.
    assert_eq!(shake_hands(&[&star, &exact], "localhost", 0).await.0, 1);
}

#[tokio::test]
async fn a_hello_that_was_read_before_is_heard_whatever_its_length() {
    let made = Made::for_names(&["a.example"]);
    // Some 14 bytes for each protocol: more than the library takes at once.
    for protocols in [0, 100, 300, 1000] {
        assert_eq!(shake_hands(&[&made], "a.example", protocols).await.0, 0, "{protocols}");
    }
}
