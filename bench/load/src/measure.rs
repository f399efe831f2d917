//! One number of one peer: what is done to it, and what is read off it.

use std::io;
use std::time::Duration;

use crate::load;
use crate::peers::Running;
use crate::stream::Target;

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
    /// 99th percentile at this many echoes of 64 B a second over 64 connections, in µs.
    OpenLoop { per_second: f64 },
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
            Self::OpenLoop { per_second } => {
                format!("latency at {per_second:.0} echoes/s, 99th percentile (µs)")
            }
        }
    }

    /// Takes the number. `time` bounds the load; warm-up comes on top.
    pub(crate) fn measure(
        self,
        peer: &Running,
        target: &Target,
        time: Duration,
    ) -> io::Result<f64> {
        load::block_on(async {
            match self {
                Self::Echo { connections, size } => {
                    let mut streams = load::open_all(target, connections).await?;
                    load::echo_closed(&mut streams, size, time / 5).await?;
                    let before = peer.tree.cpu();
                    let echoes = load::echo_closed(&mut streams, size, time).await?;
                    Ok(per(peer.tree.cpu() - before, echoes.count))
                }
                Self::Upgrade => {
                    load::upgrade(target, 16, time / 5).await?;
                    let before = peer.tree.cpu();
                    let count = load::upgrade(target, 16, time).await?;
                    Ok(per(peer.tree.cpu() - before, count))
                }
                Self::Idle { connections } => idle(peer, target, connections, false).await,
                Self::IdleAfterLarge { connections } => idle(peer, target, connections, true).await,
                Self::Latency => {
                    let mut streams = load::open_all(target, 1).await?;
                    load::echo_closed(&mut streams, 64, time / 5).await?;
                    let echoes = load::echo_closed(&mut streams, 64, time).await?;
                    Ok(percentile(echoes.latencies, 0.5))
                }
                Self::OpenLoop { per_second } => {
                    let mut streams = load::open_all(target, 64).await?;
                    load::echo_open(&mut streams, 64, per_second, time / 5).await?;
                    let echoes = load::echo_open(&mut streams, 64, per_second, time).await?;
                    Ok(percentile(echoes.latencies, 0.99))
                }
            }
        })
    }
}

/// Memory that open WebSockets add. A first crowd comes and goes before, so that what the peer keeps
/// for good (pools, arenas) is not counted as theirs.
async fn idle(
    peer: &Running,
    target: &Target,
    connections: usize,
    is_after_large: bool,
) -> io::Result<f64> {
    drop(load::open_all(target, connections / 10).await?);
    let before = peer.tree.pss();
    let mut streams = load::open_all(target, connections).await?;
    if is_after_large {
        // A few at a time: all at once would measure the backlog of the machine.
        for chunk in 0..streams.len().div_ceil(8) {
            let at = chunk * 8;
            let mut some: Vec<_> = streams.splice(at..streams.len().min(at + 8), []).collect();
            load::echo_closed(&mut some, 1 << 20, Duration::from_millis(1)).await?;
            streams.splice(at..at, some);
        }
    }
    let added = peer.tree.pss().saturating_sub(before);
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
