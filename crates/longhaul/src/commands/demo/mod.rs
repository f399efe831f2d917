//! `longhaul demo`: the gateway in front of two replicas of a small chat, and a tunnel in front of the
//! gateway, all in one process.
//!
//! The gateway is started as `run` would start it, with two replicas that are replaced when they go and
//! with its client put into the page; only replicas and tunnel are the demo's own. `replica` starts and
//! stops them, `site` is what they answer, `chat` is one visitor's WebSocket, `room` is what they all
//! share; `tunnel` cuts links when a visitor wants that.
//!
//! Start at [`demo`].

mod chat;
mod replica;
mod room;
mod site;
#[cfg(test)]
mod tests;
mod tunnel;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use replica::Cluster;
use tokio::net::TcpListener;

use crate::config::{self, Override, Source, Sources, defaults};
use crate::serve::{self, ServeError, Started};
use crate::{error_chain, logs};

/// The page has a colour for each.
const REPLICAS: [&str; 2] = ["amber", "teal"];

/// Ports tried after the default one, when that is taken and nobody asked for another.
const PORTS_TRIED: u16 = 20;

/// Nobody at a demo wants to wait for an end that is spread over half a minute.
const DRAIN: &str = "2s";

/// Few enough for the descriptor limit of any machine, so that the demo starts without a warning.
const CONNECTIONS_MAX: &str = "1000";

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
    #[error("cannot start threads")]
    Runtime(#[source] io::Error),
    #[error("cannot start the replicas on 127.0.0.1")]
    Replicas(#[source] io::Error),
    #[error("the demo's own settings are refused:\n{0}")]
    Settings(String),
    #[error(transparent)]
    Serve(#[from] ServeError),
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
    let runtime = crate::runtime().map_err(DemoError::Runtime)?;
    let served = runtime.block_on(async {
        let place = match listen {
            Some(address) => asked_for(address).await?,
            None => {
                first_free(defaults::LISTEN.parse().expect("the default is an address")).await?
            }
        };
        let cluster = Cluster::start(&REPLICAS).await.map_err(DemoError::Replicas)?;
        let mut loaded = config::load(sources(&cluster))
            .map_err(|report| DemoError::Settings(report.render(false)))?;
        // No flag says this.
        let routes = &mut loaded.settings.gateway.routes;
        routes.iter_mut().for_each(|route| route.websocket.injects_client = true);
        logs::start(&loaded.settings.log);
        let greet = |started: &Started<'_>| {
            // Who has closed standard output does not want to know.
            let _ = greet(io::stdout().lock(), started, &place, &cluster);
            if let Some(gateway) = started.handle.listeners().into_iter().next() {
                // Ends with the runtime.
                tokio::spawn(cluster.tunnel().clone().run(place.listener, gateway));
            }
        };
        Ok(serve::serve(loaded.settings, None, &mut None, greet).await?)
    });
    // What still runs here are replicas and their visitors, who saw the gateway go.
    runtime.shutdown_background();
    served
}

/// What `run` would be told on its command line.
fn sources(cluster: &Arc<Cluster>) -> Sources {
    let said = |section, key, flag, values, is_list| Override {
        section,
        key,
        source: Source::Flag(flag),
        values,
        is_list,
    };
    let replicas = cluster.addresses().map(|address| address.to_string()).collect();
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).to_string();
    Sources {
        overrides: vec![
            said("server", "listen", "--listen", vec![any_port.clone()], true),
            said("server", "admin", "--admin", vec![any_port], false),
            said(
                "websocket",
                "on_replica_loss",
                "--on-replica-loss",
                vec!["redial".to_owned()],
                false,
            ),
            said("upstreams", "replicas", "--upstream", replicas, true),
            said("timeouts", "drain", "--drain", vec![DRAIN.to_owned()], false),
            said(
                "limits",
                "connections_max",
                "--connections-max",
                vec![CONNECTIONS_MAX.to_owned()],
                false,
            ),
        ],
        ..Sources::default()
    }
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
    started: &Started<'_>,
    place: &Place,
    cluster: &Cluster,
) -> io::Result<()> {
    writeln!(out, "\nA chat on two replicas, with Longhaul in front of them.\n")?;
    writeln!(out, "  chat      http://{}/", reachable(place.address))?;
    for address in started.handle.listeners() {
        writeln!(out, "  gateway   http://{address}/ (without the tunnel that cuts links)")?;
    }
    if let Some(admin) = started.admin {
        writeln!(out, "  status    http://{admin}/status")?;
    }
    for (name, address) in REPLICAS.iter().zip(cluster.addresses()) {
        writeln!(out, "  replica   http://{address}/ ({name}, without the gateway)")?;
    }
    if let Some(taken) = place.instead_of {
        writeln!(out, "\nThe chat is not on {taken}, which another program uses.")?;
    }
    writeln!(out, "\nOpen the chat in two tabs, cut links, stop replicas. Ctrl-C ends it.\n")?;
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
