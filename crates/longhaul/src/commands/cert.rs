//! `longhaul cert`: a certificate to try TLS out with, that nobody but its maker vouches for.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use longhaul_gateway::tls::show_day;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

use super::EXIT_USAGE;
use crate::cli::CertArgs;
use crate::error_chain;

/// Clocks of others may go after ours.
const BACKDATED: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
enum CertError {
    #[error("{path} is there already; --force replaces it")]
    Exists { path: PathBuf },
    #[error(
        "{name:?} is no name for a certificate; name a host, as in \"chat.example\" or \"*.example\""
    )]
    Name { name: String },
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

pub(super) fn cert(arguments: &CertArgs) -> u8 {
    match make(arguments) {
        Ok(text) => super::print::print(&text),
        Err(error) => {
            let is_usage = matches!(error, CertError::Exists { .. } | CertError::Name { .. });
            eprintln!("longhaul: {}", error_chain(&error));
            if is_usage { EXIT_USAGE } else { 1 }
        }
    }
}

/// Makes the pair and says how to use it.
fn make(arguments: &CertArgs) -> Result<String, CertError> {
    let directory = &arguments.self_signed;
    let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
    if !arguments.force {
        for path in [&certificate, &key] {
            if path.symlink_metadata().is_ok() {
                return Err(CertError::Exists { path: path.clone() });
            }
        }
    }
    let names = names(&arguments.name)?;
    let until = SystemTime::now() + DAY * arguments.days;
    let pair = KeyPair::generate()?;
    let signed = parameters(&names, until)?.self_signed(&pair)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CertError::Write { path, source }
    };
    std::fs::create_dir_all(directory).map_err(failed(directory))?;
    replace(&key, pair.serialize_pem().as_bytes(), 0o600).map_err(failed(&key))?;
    replace(&certificate, signed.pem().as_bytes(), 0o644).map_err(failed(&certificate))?;
    Ok(instructions(&certificate, &key, &names, until))
}

/// What was asked for, else everything that this machine calls itself.
fn names(asked: &[String]) -> Result<Vec<String>, CertError> {
    if asked.is_empty() {
        return Ok(["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec());
    }
    let is_name = |name: &str| {
        let host = name.strip_prefix("*.").unwrap_or(name);
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        name.parse::<IpAddr>().is_ok()
            || (host.contains(|c: char| c != '.') && host.bytes().all(is_fine))
    };
    match asked.iter().find(|name| !is_name(name)) {
        Some(name) => Err(CertError::Name { name: name.clone() }),
        None => Ok(asked.to_vec()),
    }
}

fn parameters(names: &[String], until: SystemTime) -> Result<CertificateParams, CertError> {
    let mut parameters = CertificateParams::new(names)?;
    // Clients go by the names alone; this is for people who look at it.
    parameters.distinguished_name.push(DnType::CommonName, "Longhaul self-signed");
    parameters.not_before = (SystemTime::now() - BACKDATED).into();
    parameters.not_after = until.into();
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(parameters)
}

/// Writes a file that is there whole or not at all, and is never open to more than `mode` says.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    // Left behind by a run that was killed: nobody else uses this name.
    let _ = std::fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
    // The umask may have taken away what others need to read the certificate.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

fn instructions(certificate: &Path, key: &Path, names: &[String], until: SystemTime) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    let (names, host, until) = (names.join(", "), &names[0], show_day(until));
    format!(
        "\
{certificate}: for {names}; valid until {until}
{key}: its private key, which nobody else should read

Try it:
  longhaul run --listen 127.0.0.1:8443 --upstream 127.0.0.1:9000 \\
    --tls-cert {certificate} --tls-key {key}
  curl --cacert {certificate} https://{host}:8443/

Nobody vouches for this certificate, so browsers warn of it. For the world, get one from an authority.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hosts_stars_and_addresses() {
        let asked = |name: &str| names(&[name.to_owned()]);
        for name in ["chat.example", "*.example", "10.0.0.1", "::1", "host"] {
            assert_eq!(asked(name).unwrap(), [name]);
        }
        for name in ["", "a b", "https://a", "*", "*.", "a:1", "ä.example"] {
            assert!(asked(name).is_err(), "{name}");
        }
        assert_eq!(names(&[]).unwrap()[0], "localhost");
    }
}
