//! One number of one peer: what is done to it, and what is read off it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::load;
use crate::peers::Running;
use crate::stream::{Stream, Target};

/// What is measured, and in which unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scenario {
    /// CPU of the peer per echo, in µs: this many connections, messages of this size.
    Echo { connections: usize, size: usize },
    /// CPU of the peer per WebSocket opened and closed, in µs; with TLS, per handshake as well.
    Upgrade,
    /// Memory of the peer per idle WebSocket, in bytes.
    Idle { connections: usize },
    /// The same after each of them has echoed one message of 1 MiB, in bytes.
    IdleAfterLarge { connections: usize },
    /// Median latency of an echo over one connection, in µs.
    Latency,
    /// 99th percentile at a third of what the slowest peer can do, over 64 connections, in µs.
    OpenLoop,
    /// CPU of the peer per echo at 2,000 a second spread over this many connections, in µs.
    ScaleEcho { connections: usize },
    /// Memory of the peer per WebSocket with this many open, in bytes.
    ScaleMemory { connections: usize },
}

/// Connections of one process when the question is how far flatness goes.
const PROCESS_MAX: usize = 9000;

/// Echoes a second when the question is how cost grows with connections and not with load.
const SCALE_RATE: f64 = 2000.0;

/// One peer at work: a process, or several that share what comes.
pub(crate) struct Crew {
    pub(crate) peers: Vec<Running>,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
}

impl Crew {
    /// Connections to all of its processes in equal parts.
    async fn open(&self, connections: usize) -> io::Result<Vec<Stream>> {
        let mut streams = Vec::with_capacity(connections);
        for (at, peer) in self.peers.iter().enumerate() {
            let share = connections / self.peers.len();
            let rest = usize::from(at < connections % self.peers.len());
            streams.extend(load::open_all(&self.target(peer), share + rest).await?);
        }
        Ok(streams)
    }

    fn first(&self) -> Target {
        self.target(&self.peers[0])
    }

    fn target(&self, peer: &Running) -> Target {
        Target { address: peer.address, tls: self.tls.clone() }
    }

    fn cpu(&self) -> Duration {
        self.peers.iter().map(|peer| peer.tree.cpu()).sum()
    }

    fn pss(&self) -> u64 {
        self.peers.iter().map(|peer| peer.tree.pss()).sum()
    }
}

/// What one measurement brought.
pub(crate) struct Measured {
    pub(crate) value: f64,
    /// Echoes a second, of closed loops.
    pub(crate) rate: Option<f64>,
}

impl Scenario {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Echo { connections, size } => {
                format!("CPU per echo, {connections} × {size} B (µs)")
            }
            Self::Upgrade => "CPU per upgrade (µs)".into(),
            Self::Idle { connections } => {
                format!("memory per idle WebSocket, {connections} open (B)")
            }
            Self::IdleAfterLarge { connections } => {
                format!("the same after 1 MiB over each, {connections} open (B)")
            }
            Self::Latency => "latency, one connection, median (µs)".into(),
            Self::OpenLoop => "latency at a third of saturation, 99th percentile (µs)".into(),
            Self::ScaleEcho { connections } => {
                format!(
                    "CPU per echo at {SCALE_RATE:.0}/s over {connections} connections{} (µs)",
                    self.shared()
                )
            }
            Self::ScaleMemory { connections } => {
                format!("memory per WebSocket, {connections} open{} (B)", self.shared())
            }
        }
    }

    /// How many processes of the peer share the connections: one has no descriptors for more than
    /// [`PROCESS_MAX`].
    pub(crate) fn processes(self) -> usize {
        match self {
            Self::ScaleEcho { connections } | Self::ScaleMemory { connections } => {
                connections.div_ceil(PROCESS_MAX)
            }
            _ => 1,
        }
    }

    fn shared(self) -> String {
        match self.processes() {
            1 => String::new(),
            processes => format!(" of {processes} processes"),
        }
    }

    /// Whether it counts bytes.
    pub(crate) fn is_memory(self) -> bool {
        matches!(self, Self::Idle { .. } | Self::IdleAfterLarge { .. } | Self::ScaleMemory { .. })
    }

    /// Takes the number. `time` bounds the load; warm-up comes on top. `rate` is what open loops run
    /// at, in echoes a second.
    pub(crate) fn measure(self, crew: &Crew, time: Duration, rate: f64) -> io::Result<Measured> {
        let mut closed_rate = None;
        let value = load::block_on(async {
            match self {
                Self::Echo { connections, size } => {
                    let mut streams = crew.open(connections).await?;
                    load::echo_closed(&mut streams, size, time / 5).await?;
                    let before = crew.cpu();
                    let echoes = load::echo_closed(&mut streams, size, time).await?;
                    closed_rate = Some(echoes.count as f64 / time.as_secs_f64());
                    Ok(per(crew.cpu() - before, echoes.count))
                }
                Self::Upgrade => {
                    load::upgrade(&crew.first(), 16, time / 5).await?;
                    let before = crew.cpu();
                    let count = load::upgrade(&crew.first(), 16, time).await?;
                    Ok(per(crew.cpu() - before, count))
                }
                Self::Idle { connections } => idle(crew, connections, false).await,
                Self::IdleAfterLarge { connections } => idle(crew, connections, true).await,
                Self::Latency => {
                    let mut streams = crew.open(1).await?;
                    load::echo_closed(&mut streams, 64, time / 5).await?;
                    let echoes = load::echo_closed(&mut streams, 64, time).await?;
                    Ok(percentile(echoes.latencies, 0.5))
                }
                Self::OpenLoop => {
                    let mut streams = crew.open(64).await?;
                    load::echo_open(&mut streams, 64, rate, time / 5).await?;
                    let echoes = load::echo_open(&mut streams, 64, rate, time).await?;
                    Ok(percentile(echoes.latencies, 0.99))
                }
                Self::ScaleEcho { connections } => {
                    let mut streams = crew.open(connections).await?;
                    // Each connection has spoken once before, so that first times are not counted.
                    load::echo_once(&mut streams, 64).await?;
                    let before = crew.cpu();
                    let echoes = load::echo_open(&mut streams, 64, SCALE_RATE, time).await?;
                    Ok(per(crew.cpu() - before, echoes.count))
                }
                Self::ScaleMemory { connections } => idle(crew, connections, false).await,
            }
        })?;
        Ok(Measured { value, rate: closed_rate })
    }
}

/// Memory that open WebSockets add. A first crowd comes and goes before, so that what the peer keeps
/// for good (pools, arenas) is not counted as theirs.
async fn idle(crew: &Crew, connections: usize, is_after_large: bool) -> io::Result<f64> {
    drop(crew.open(connections / 10).await?);
    let before = crew.pss();
    let mut streams = crew.open(connections).await?;
    if is_after_large {
        load::echo_once(&mut streams, 1 << 20).await?;
    }
    let added = crew.pss().saturating_sub(before);
    Ok(added as f64 / streams.len() as f64)
}

fn per(cpu: Duration, count: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / count.max(1) as f64
}

fn percentile(mut latencies: Vec<Duration>, share: f64) -> f64 {
    latencies.sort_unstable();
    let at = (latencies.len() as f64 * share) as usize;
    latencies
        .get(at.min(latencies.len().saturating_sub(1)))
        .map_or(f64::NAN, |at| at.as_secs_f64() * 1e6)
}
