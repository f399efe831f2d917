//! One whole run: rounds of all peers in turn, so that a noisy minute hits all of them.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::explain;
use crate::measure::Scenario;
use crate::peers::{self, Pair, Peer};
use crate::report::{Report, Sample};
use crate::stream::Target;

/// What to measure, and how long.
pub(crate) struct Options {
    is_quick: bool,
    is_tls: bool,
    peers: Vec<Peer>,
    rounds: usize,
    out: Option<PathBuf>,
    longhaul: PathBuf,
    command_line: String,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self {
            is_quick: false,
            is_tls: false,
            peers: peers::ALL.to_vec(),
            rounds: 0,
            out: None,
            longhaul: PathBuf::from("target/release/longhaul"),
            command_line: format!("longhaul-bench run {}", words.join(" ")),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} takes a value"));
            match *word {
                "--quick" => options.is_quick = true,
                "--tls" => options.is_tls = true,
                "--rounds" => options.rounds = value()?.parse().map_err(explain)?,
                "--out" => options.out = Some(value()?.into()),
                "--longhaul" => options.longhaul = value()?.into(),
                "--peers" => {
                    let names: Vec<&str> = value()?.split(',').collect();
                    options.peers.retain(|peer| names.contains(&peer.name()));
                }
                other => return Err(format!("unknown option {other}")),
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.is_quick { 2 } else { 4 };
        }
        if options.is_tls {
            options.peers.retain(|peer| *peer != Peer::Floor);
        }
        Ok(options)
    }

    fn time(&self) -> Duration {
        if self.is_quick { Duration::from_millis(800) } else { Duration::from_secs(4) }
    }

    fn scenarios(&self) -> Vec<Scenario> {
        let idle = if self.is_quick { 500 } else { 2000 };
        let echo = |connections, size| Scenario::Echo { connections, size };
        let mut scenarios = vec![echo(64, 64), echo(256, 1024), echo(8, 65536), Scenario::Upgrade];
        scenarios.push(Scenario::Idle { connections: idle });
        if !self.is_quick {
            scenarios.push(Scenario::IdleAfterLarge { connections: 200 });
        }
        scenarios.extend([Scenario::Latency, Scenario::OpenLoop { per_second: 5000.0 }]);
        scenarios
    }
}

/// Runs everything and writes the report.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let directory = std::env::temp_dir().join(format!("longhaul-bench-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(explain)?;
    let pair = options.is_tls.then(|| self_signed(&directory)).transpose()?;
    let tls = pair.as_ref().map(client_config).transpose()?;
    let mut report = Report::new(&options.command_line, options.is_tls, options.rounds);
    let mut present = Vec::new();
    for peer in &options.peers {
        match peer.version(&options.longhaul) {
            Some(version) => {
                report.peers.push((peer.name(), version));
                present.push(*peer);
            }
            None => eprintln!("{} is not installed and is left out", peer.name()),
        }
    }
    let backend = Backend::start()?;
    for round in 0..options.rounds {
        for scenario in options.scenarios() {
            for peer in &present {
                let running = peer
                    .start(backend.address, pair.as_ref(), &options.longhaul, &directory)
                    .map_err(explain)?;
                let target = Target { address: running.address, tls: tls.clone() };
                let value = scenario
                    .measure(&running, &target, options.time())
                    .map_err(|error| format!("{} in {}: {error}", peer.name(), scenario.name()))?;
                eprintln!("round {} {}: {} {value:.1}", round + 1, scenario.name(), peer.name());
                report.samples.push(Sample { scenario, peer: peer.name(), round, value });
            }
        }
    }
    fs::remove_dir_all(&directory).map_err(explain)?;
    report.write(options.out.as_deref())
}

struct Backend {
    child: Child,
    address: SocketAddr,
}

impl Backend {
    fn start() -> Result<Self, String> {
        let address = peers::free_address().map_err(explain)?;
        let child = Command::new(std::env::current_exe().map_err(explain)?)
            .args(["echo", &address.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .map_err(explain)?;
        let backend = Self { child, address };
        let until = Instant::now() + Duration::from_secs(5);
        while std::net::TcpStream::connect(address).is_err() {
            if Instant::now() > until {
                return Err("the backend did not start".into());
            }
            std::thread::yield_now();
        }
        Ok(backend)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for `localhost`; openssl is what Debian's peers bring along anyway.
fn self_signed(directory: &std::path::Path) -> Result<Pair, String> {
    let pair = Pair { certificate: directory.join("cert.pem"), key: directory.join("key.pem") };
    let status = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&pair.key)
        .arg("-out")
        .arg(&pair.certificate)
        .stderr(Stdio::null())
        .status()
        .map_err(|error| format!("openssl: {error}; install it for --tls"))?;
    if status.success() { Ok(pair) } else { Err(format!("openssl ended with {status}")) }
}

fn client_config(pair: &Pair) -> Result<Arc<rustls::ClientConfig>, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&pair.certificate).map_err(explain)?)
        .map_err(explain)?;
    let mut config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    // Every handshake is a full one: a storm of resumptions is another question.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
