//! What is said of TLS, with real files behind it.

use std::os::unix::fs::PermissionsExt;

use longhaul_gateway::tls::{ClientCertificates, TlsTerms, TlsVersion};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

/// A directory with a configuration file, a good pair and an authority.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        home.write_pair("", &["chat.example"], 4000);
        home.write_pair("old-", &["chat.example"], 2021);
        home
    }

    /// Writes `PREFIXcert.pem` and `PREFIXkey.pem`.
    fn write_pair(&self, prefix: &str, names: &[&str], until: i32) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_after = date_time_ymd(until, 1, 1);
        let certificate = parameters.self_signed(&key).unwrap();
        std::fs::write(self.path(&format!("{prefix}cert.pem")), certificate.pem()).unwrap();
        let path = self.path(&format!("{prefix}key.pem"));
        std::fs::write(&path, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, text: &str) -> Result<Loaded, Report> {
        let file = self.path("longhaul.toml");
        std::fs::write(&file, text).unwrap();
        load(Sources { file: Some(file), ..Sources::default() })
    }

    #[track_caller]
    fn config(&self, text: &str) -> Config {
        let loaded = self.load(text).unwrap_or_else(|report| panic!("{}", report.render(false)));
        let warnings: Vec<String> = loaded.report.warnings().collect();
        assert!(warnings.is_empty(), "{warnings:?}");
        loaded.settings.gateway
    }

    #[track_caller]
    fn refuses(&self, text: &str, words: &[&str]) {
        let report = self.load(text).expect_err("it is wrong").render(false);
        for word in words {
            assert!(report.contains(word), "no {word:?} in\n{report}");
        }
    }

    #[track_caller]
    fn warns(&self, text: &str, words: &str) {
        let loaded = self.load(text).unwrap_or_else(|report| panic!("{}", report.render(false)));
        let warnings: Vec<String> = loaded.report.warnings().collect();
        assert!(warnings.iter().any(|warning| warning.contains(words)), "{warnings:?}");
    }
}

const PAIR: &str = "[[certificates]]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";

#[test]
fn with_a_certificate_every_listener_speaks_tls_unless_it_says_otherwise() {
    let home = Home::new();
    let listeners = "[[listeners]]\nname = \"b\"\naddress = \"127.0.0.1:2\"\n\
                     [listeners.tls]\nmode = \"off\"\n\
                     [[listeners]]\nname = \"c\"\naddress = \"127.0.0.1:3\"\n\
                     [listeners.tls]\nmode = \"auto\"\nmin_version = \"1.3\"\n\
                     [server]\nlisten = \"a=127.0.0.1:1\"\n[tls]\nhandshake = \"3s\"\n";
    let config = home.config(&format!("{ONE}{PAIR}{listeners}"));
    let terms: Vec<Option<&TlsTerms>> =
        config.listeners.iter().map(|listener| listener.tls.as_ref()).collect();
    let [Some(a), None, Some(c)] = terms[..] else { panic!("{terms:?}") };
    assert!(!a.takes_plain && c.takes_plain);
    assert_eq!((a.version_min, c.version_min), (TlsVersion::Tls12, TlsVersion::Tls13));
    assert_eq!((a.handshake, c.handshake), (Duration::from_secs(3), Duration::from_secs(3)));
    assert_eq!(config.certificates[0].names(), ["chat.example"]);
    assert_eq!(config.certificate_watch, Some(defaults::CERTIFICATE_WATCH));
    assert!(settings(ONE).gateway.listeners[0].tls.is_none());
}

#[test]
fn flags_say_where_the_pair_is() {
    let home = Home::new();
    let path = |name: &str| home.path(name).display().to_string();
    let overrides = |key: &str| {
        vec![
            upstream("127.0.0.1:9000"),
            flag("certificates", "certificate", "--tls-cert", &path("cert.pem")),
            flag("certificates", "key", "--tls-key", &path(key)),
        ]
    };
    let sources = |key| Sources { overrides: overrides(key), ..Sources::default() };
    let config = load(sources("key.pem")).unwrap_or_else(|r| panic!("{r}")).settings.gateway;
    assert!(config.listeners[0].tls.is_some());
    let report = load(sources("old-key.pem")).expect_err("they do not match").render(false);
    assert!(report.contains("--tls-key") && report.contains("does not belong"), "{report}");
}

#[test]
fn files_are_judged_with_their_place_and_the_remedy() {
    let home = Home::new();
    let pair = |certificate: &str, key: &str| {
        format!("{ONE}[[certificates]]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n")
    };
    let cases: [(&str, &str, &[&str]); 4] = [
        (
            "none.pem",
            "key.pem",
            &["certificates[0].certificate: cannot read", "toml:5:15", "check the path"],
        ),
        ("cert.pem", "old-key.pem", &["certificates[0].key:", "does not belong", "toml:6:7"]),
        ("old-cert.pem", "old-key.pem", &["expired on 2021-01-01", "renew it"]),
        ("cert.pem", "cert.pem", &["has no private key", "BEGIN PRIVATE KEY"]),
    ];
    for (certificate, key, words) in cases {
        home.refuses(&pair(certificate, key), words);
    }
    home.refuses(&format!("{ONE}[[certificates]]\nkey = \"\"\n"), &["is missing", "is empty"]);
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(home.path("key.pem"), open).unwrap();
    home.warns(&pair("cert.pem", "key.pem"), "can be read by every user");
    home.write_pair("nameless-", &[], 4000);
    home.warns(&pair("nameless-cert.pem", "nameless-key.pem"), "has no DNS name");
}

#[test]
fn tls_that_cannot_work_is_told() {
    let home = Home::new();
    home.refuses(&format!("{ONE}[tls]\nmode = \"auto\"\n"), &["no certificate", "longhaul cert"]);
    let asks = "client_certificates = \"required\"\n";
    home.refuses(&format!("{ONE}{PAIR}[tls]\n{asks}"), &["add `client_ca"]);
    home.refuses(&format!("{ONE}{PAIR}[tls]\nclient_ca = \"cert.pem\"\n"), &["not asked"]);
    let ca = "client_ca = \"key.pem\"\n";
    home.refuses(&format!("{ONE}{PAIR}[tls]\n{asks}{ca}"), &["tls.client_ca:", "no certificate"]);
    home.warns(&format!("{ONE}{PAIR}[tls]\nmode = \"off\"\n"), "no listener terminates TLS");
    home.warns(&format!("{ONE}{PAIR}[tls]\nwatch = \"off\"\n"), "takes a restart");
}

#[test]
fn whose_certificates_count_is_said_once_or_for_each_listener() {
    let home = Home::new();
    let common = "[tls]\nclient_certificates = \"optional\"\nclient_ca = \"cert.pem\"\n";
    let own = "[[listeners]]\nname = \"b\"\naddress = \"127.0.0.1:2\"\n\
               [listeners.tls]\nclient_certificates = \"required\"\n\
               [[listeners]]\nname = \"c\"\naddress = \"127.0.0.1:3\"\n\
               [listeners.tls]\nclient_certificates = \"off\"\n\
               [[listeners]]\nname = \"d\"\naddress = \"127.0.0.1:4\"\n\
               [listeners.tls]\nclient_ca = \"old-cert.pem\"\n";
    let config = home.config(&format!("{ONE}{PAIR}{common}{own}"));
    let asks: Vec<&ClientCertificates> = config
        .listeners
        .iter()
        .map(|listener| &listener.tls.as_ref().unwrap().client_certificates)
        .collect();
    use ClientCertificates::{Ignored, Optional, Required};
    assert!(matches!(asks[..], [Required(_), Ignored, Optional(_)]), "{asks:?}");
}

#[test]
fn replicas_behind_tls_have_one_name_to_prove() {
    let home = Home::new();
    let of = |replicas: &str, tls: &str| {
        format!(
            "[[upstreams]]\nname = \"a\"\n{replicas}\n[upstreams.tls]\nca = \"cert.pem\"\n{tls}"
        )
    };
    let with_tls = |text: String| home.config(&text).upstreams[0].tls.is_some();
    assert!(with_tls(of("replicas = [\"https://a.test:1\", \"wss://a.test:2\"]", "")));
    assert!(with_tls(of("replicas = [\"https://10.0.0.1:1\", \"https://10.0.0.2:1\"]", "")));
    assert!(with_tls(of("replicas = [\"a.test:1\"]", "enabled = true\n")));
    assert!(with_tls(of(
        "srv = \"_ws._tcp.a.test\"",
        "enabled = true\nserver_name = \"a.test\"\n"
    )));
    assert!(!with_tls(of("replicas = [\"http://a.test:1\"]", "")));

    let two = "replicas = [\"https://a.test:1\", \"https://b.test:1\"]";
    home.refuses(&of(two, ""), &["which name", "server_name"]);
    home.refuses(&of("srv = \"_ws._tcp.a.test\"", "enabled = true\n"), &["server_name"]);
    home.refuses(&of("replicas = [\"https://a.test:1\", \"b.test:1\"]", ""), &["some do not"]);
    let contradiction = of("replicas = [\"http://a.test:1\"]", "enabled = true\n");
    home.refuses(&contradiction, &["some say http://"]);
    let one = "replicas = [\"https://a.test:1\"]";
    home.refuses(&of(one, "certificate = \"cert.pem\"\n"), &["without `key`"]);
    home.refuses(&of(one, "server_name = \"a b\"\n"), &["no name that a certificate"]);
    home.warns(&of(one, "verify = false\n"), "read and change everything");
}
