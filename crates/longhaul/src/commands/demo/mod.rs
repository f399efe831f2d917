//! `longhaul demo`: the gateway in front of two replicas of the messaging service (`examples/messaging`), and a
//! tunnel in front of the gateway.
//!
//! Gateway and replicas are processes of their own, so that what the page's buttons do is real: `replicas` are
//! killed and started again, the `gateway` is `longhaul run` and becomes another binary in place. The `tunnel`
//! cuts links. All three are in the hands of the `stage`, which the page talks to through the gateway.
//!
//! Start at [`demo`].

mod child;
mod gateway;
pub(crate) mod replicas;
mod stage;
#[cfg(test)]
mod tests;
mod tunnel;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;

use self::gateway::GatewayProcess;
use self::replicas::Cluster;
use self::stage::Stage;
use self::tunnel::Tunnel;
use crate::config::defaults;
use crate::logs::LogSettings;
use crate::signals::{Event, Signals};
use crate::{error_chain, logs, signals};

/// The page has a colour for each.
const REPLICAS: [&str; 2] = ["amber", "teal"];

/// Ports tried after the default one, when that is taken and nobody asked for another.
const PORTS_TRIED: u16 = 20;

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(
        "cannot listen on {address}; end what uses it, or choose another address with --listen \
         (port 0 takes any free one)"
    )]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error(
        "ports {first} to {last} of {ip} are taken; choose an address with --listen (port 0 takes \
         any free one)"
    )]
    AllTaken { ip: IpAddr, first: u16, last: u16 },
    #[error("cannot {what}")]
    System {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the gateway ended before it was ready; its own lines above say why")]
    GatewayEnded,
}

impl DemoError {
    fn because(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Where the demo listens.
#[derive(Debug)]
struct Place {
    listener: TcpListener,
    address: SocketAddr,
    /// The address that would have been taken, had it been free.
    instead_of: Option<SocketAddr>,
}

/// Runs the demo until it is asked to end. Returns the exit code.
pub(crate) fn demo(listen: Option<SocketAddr>) -> u8 {
    run(listen).unwrap_or_else(|error| {
        eprintln!("longhaul demo: {}", error_chain(&error));
        1
    })
}

fn run(listen: Option<SocketAddr>) -> Result<u8, DemoError> {
    signals::hold();
    logs::start(&LogSettings::default());
    let runtime = crate::runtime().map_err(DemoError::because("start threads"))?;
    let ended = runtime.block_on(act(listen));
    // What still runs here are visitors' connections, which are cut.
    runtime.shutdown_background();
    ended
}

async fn act(listen: Option<SocketAddr>) -> Result<u8, DemoError> {
    let mut signals = Signals::install().map_err(DemoError::because("take signals"))?;
    let place = match listen {
        Some(address) => asked_for(address).await?,
        None => first_free(defaults::LISTEN.parse().expect("the default is an address")).await?,
    };
    let directory = tempfile::Builder::new().prefix("longhaul-demo-").tempdir();
    let directory =
        directory.map_err(DemoError::because("make a directory for temporary files"))?;
    let program =
        std::env::current_exe().map_err(DemoError::because("find this program's file"))?;

    let ports = "find free ports on 127.0.0.1";
    let cluster =
        Cluster::start(&program, directory.path(), &REPLICAS).map_err(DemoError::because(ports))?;
    let backstage = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let backstage = backstage.map_err(DemoError::because(ports))?;
    let stage_address = backstage.local_addr().map_err(DemoError::because(ports))?;
    let mut gateway =
        GatewayProcess::start(&program, directory.path(), &cluster.addresses(), stage_address)
            .map_err(DemoError::because("start the gateway"))?;

    let tunnel = Arc::new(Tunnel::default());
    let stage = Stage::new(cluster.clone(), tunnel.clone(), gateway.operator());
    // Both end with the runtime.
    tokio::spawn(stage::run(backstage, Arc::new(stage)));
    tokio::select! {
        is_ready = gateway.ready() => if !is_ready { return Err(DemoError::GatewayEnded) },
        () = stop(&mut signals) => return Ok(end(gateway, &cluster).await),
    }
    // Who has closed standard output does not want to know.
    let _ = greet(io::stdout().lock(), &gateway, &place, &cluster);
    tokio::spawn(tunnel.run(place.listener, gateway.address()));

    tokio::select! {
        () = stop(&mut signals) => Ok(end(gateway, &cluster).await),
        () = gateway.ended() => {
            tracing::error!("the gateway ended; its own lines above say why");
            end(gateway, &cluster).await;
            Ok(1)
        }
    }
}

/// Waits to be asked to end.
async fn stop(signals: &mut Signals) {
    while !matches!(signals.next().await, Event::Stop(_)) {}
}

async fn end(gateway: GatewayProcess, cluster: &Cluster) -> u8 {
    let exit_code = gateway.end().await;
    cluster.end().await;
    exit_code
}

async fn asked_for(address: SocketAddr) -> Result<Place, DemoError> {
    listen(address, None).await.map_err(|source| DemoError::Listen { address, source })
}

async fn listen(address: SocketAddr, instead_of: Option<SocketAddr>) -> io::Result<Place> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok(Place { listener, address, instead_of })
}

/// The address, or the same with one of the next ports.
async fn first_free(wanted: SocketAddr) -> Result<Place, DemoError> {
    let (first, last) = (wanted.port(), wanted.port().saturating_add(PORTS_TRIED));
    for port in first..=last {
        let address = SocketAddr::new(wanted.ip(), port);
        match listen(address, (port != first).then_some(wanted)).await {
            Ok(place) => return Ok(place),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(DemoError::Listen { address, source }),
        }
    }
    Err(DemoError::AllTaken { ip: wanted.ip(), first, last })
}

fn greet(
    mut out: impl Write,
    gateway: &GatewayProcess,
    place: &Place,
    cluster: &Cluster,
) -> io::Result<()> {
    writeln!(out, "\nA chat on two replicas, with Longhaul in front of them.\n")?;
    writeln!(out, "  chat      http://{}/", reachable(place.address))?;
    writeln!(
        out,
        "  gateway   http://{}/ (without the tunnel that cuts links)",
        gateway.address()
    )?;
    writeln!(out, "            by {}", gateway.config().display())?;
    writeln!(out, "  status    longhaul status --admin {}", gateway.admin())?;
    for (name, address) in REPLICAS.iter().zip(cluster.addresses()) {
        writeln!(out, "  replica   http://{address}/ ({name}, without the gateway)")?;
    }
    if let Some(taken) = place.instead_of {
        writeln!(out, "\nThe chat is not on {taken}, which another program uses.")?;
    }
    writeln!(
        out,
        "\nOpen the chat in two tabs; cut links, kill replicas, upgrade the gateway. Ctrl-C ends it.\n"
    )?;
    out.flush()
}

/// An address to open: nobody can go to 0.0.0.0.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
