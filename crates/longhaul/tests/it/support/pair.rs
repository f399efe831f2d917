//! A certificate and its key, made by openssl.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Files that are gone with this value.
pub(crate) struct Pair {
    /// Signed by itself, so also the authority to trust.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    _directory: tempfile::TempDir,
}

impl Pair {
    /// For one name, valid for two days.
    #[track_caller]
    pub(crate) fn make(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let (certificate, key) = (file("cert.pem"), file("key.pem"));
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")]);
        command.args(["-addext", &format!("subjectAltName=DNS:{name}")]);
        command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        let made = command.stderr(Stdio::null()).status().expect("openssl is installed");
        assert!(made.success());
        Self { certificate, key, _directory: directory }
    }
}
