//! One whole run: rounds of all peers in turn, so that a noisy minute hits all of them.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::explain;
use crate::measure::{Crew, Scenario};
use crate::peers::{self, Longhaul, Pair, Peer};
use crate::report::{Report, Sample, Series};

/// Connections of the series that asks whether cost grows with their number.
const SCALE: [usize; 5] = [10, 100, 1000, 9000, 18_000];

/// What to measure, and how long.
pub(crate) struct Options {
    is_quick: bool,
    series: Vec<Series>,
    peers: Vec<Peer>,
    rounds: usize,
    out: Option<PathBuf>,
    chart: Option<PathBuf>,
    longhaul: Longhaul,
    /// What the names of all scenarios measured have in common.
    only: String,
    command_line: String,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self {
            is_quick: false,
            series: Vec::new(),
            peers: peers::ALL.into_iter().filter(|&peer| peer != Peer::Uring).collect(),
            rounds: 0,
            out: None,
            chart: None,
            longhaul: Longhaul { binary: PathBuf::from("target/release/longhaul"), workers: 1 },
            only: String::new(),
            command_line: format!("longhaul-bench run {}", words.join(" ")),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} takes a value"));
            match *word {
                "--quick" => options.is_quick = true,
                "--rounds" => options.rounds = value()?.parse().map_err(explain)?,
                "--out" => options.out = Some(value()?.into()),
                "--chart" => options.chart = Some(value()?.into()),
                "--longhaul" => options.longhaul.binary = value()?.into(),
                "--only" => options.only = (*value()?).to_owned(),
                "--workers" => options.longhaul.workers = value()?.parse().map_err(explain)?,
                "--series" => {
                    let names = value()?.split(',');
                    options.series = names.map(Series::parse).collect::<Result<_, _>>()?;
                }
                "--peers" => {
                    let names: Vec<&str> = value()?.split(',').collect();
                    options.peers = peers::ALL.to_vec();
                    options.peers.retain(|peer| names.contains(&peer.name()));
                }
                other => return Err(format!("unknown option {other}")),
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.is_quick { 2 } else { 4 };
        }
        if options.series.is_empty() {
            options.series = vec![Series::Plain, Series::Tls];
            options.series.extend((!options.is_quick).then_some(Series::Scale));
        }
        Ok(options)
    }

    fn time(&self) -> Duration {
        if self.is_quick { Duration::from_millis(500) } else { Duration::from_secs(4) }
    }

    fn scenarios(&self, series: Series) -> Vec<Scenario> {
        let idle = Scenario::Idle { connections: if self.is_quick { 500 } else { 2000 } };
        let echo = |connections, size| Scenario::Echo { connections, size };
        let large = Scenario::IdleAfterLarge { connections: 2000 };
        let is_wanted = |one: &Scenario| !self.is_quick || *one != large;
        let scenarios = match series {
            Series::Plain => vec![
                echo(64, 64),
                echo(256, 1024),
                echo(8, 65536),
                Scenario::Upgrade,
                idle,
                large,
                Scenario::Latency,
                Scenario::OpenLoop,
            ],
            Series::Tls => vec![echo(64, 64), Scenario::Upgrade, idle, large],
            Series::Scale => SCALE
                .iter()
                .flat_map(|&connections| {
                    [Scenario::ScaleEcho { connections }, Scenario::ScaleMemory { connections }]
                })
                .collect(),
        };
        let is_asked = |one: &Scenario| one.name().contains(&self.only);
        scenarios.into_iter().filter(is_wanted).filter(is_asked).collect()
    }

    fn peers(&self, series: Series, present: &[Peer]) -> Vec<Peer> {
        let takes_part = |peer: &Peer| match series {
            Series::Plain => true,
            // The floors cannot end TLS.
            Series::Tls => !matches!(peer, Peer::Floor | Peer::Uring),
            Series::Scale => matches!(peer, Peer::Floor | Peer::Longhaul),
        };
        present.iter().copied().filter(takes_part).collect()
    }
}

/// Runs everything and writes the report.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    raise_descriptor_limit();
    let directory = std::env::temp_dir().join(format!("longhaul-bench-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(explain)?;
    let mut report = Report::new(&options.command_line, options.rounds);
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
    for &series in &options.series {
        let pair = (series == Series::Tls).then(|| self_signed(&directory)).transpose()?;
        let bench = Bench {
            options,
            series,
            peers: options.peers(series, &present),
            tls: pair.as_ref().map(client_config).transpose()?,
            pair,
            backend: backend.address,
            directory: &directory,
        };
        let mut closed_rates = HashMap::new();
        for round in 0..options.rounds {
            bench.round(round, &mut closed_rates, &mut report)?;
        }
    }
    fs::remove_dir_all(&directory).map_err(explain)?;
    drop(backend);
    report.write(options.out.as_deref(), options.chart.as_deref())
}

/// One series of a run.
struct Bench<'a> {
    options: &'a Options,
    series: Series,
    peers: Vec<Peer>,
    pair: Option<Pair>,
    tls: Option<Arc<rustls::ClientConfig>>,
    backend: SocketAddr,
    directory: &'a Path,
}

impl Bench<'_> {
    /// Measures every peer in every scenario once. `closed_rates` has the echoes a second that each
    /// peer managed in the first scenario, and is filled by it.
    fn round(
        &self,
        round: usize,
        closed_rates: &mut HashMap<&'static str, f64>,
        report: &mut Report,
    ) -> Result<(), String> {
        let (options, series) = (self.options, self.series);
        for scenario in options.scenarios(series) {
            for peer in &self.peers {
                let start = |_| {
                    let (pair, longhaul) = (self.pair.as_ref(), &options.longhaul);
                    peer.start(self.backend, pair, longhaul, self.directory).map_err(explain)
                };
                let peers = (0..scenario.processes()).map(start).collect::<Result<_, _>>()?;
                let crew = Crew { peers, tls: self.tls.clone() };
                let slowest = closed_rates.values().copied().fold(f64::INFINITY, f64::min);
                let measured = scenario
                    .measure(&crew, options.time(), slowest / 3.0)
                    .map_err(|error| format!("{} in {}: {error}", peer.name(), scenario.name()))?;
                let value = measured.value;
                if let Some(rate) = measured.rate {
                    closed_rates.entry(peer.name()).or_insert(rate);
                }
                let series_name = series.name();
                eprintln!(
                    "{series_name}, round {}: {}: {} {value:.1}",
                    round + 1,
                    scenario.name(),
                    peer.name()
                );
                report.samples.push(Sample { series, scenario, peer: peer.name(), round, value });
            }
        }
        Ok(())
    }
}

/// Thousands of connections are open at both ends, and peers inherit the limit.
fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // A run that then has too few says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
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
fn self_signed(directory: &Path) -> Result<Pair, String> {
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
        .map_err(|error| format!("openssl: {error}; install it for the TLS series"))?;
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
