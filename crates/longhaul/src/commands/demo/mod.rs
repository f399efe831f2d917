//! `longhaul demo`: the gateway in front of two replicas of a small chat, all in one process.
//!
//! The gateway is started as `run` would start it with two `--upstream`; only the replicas are the
//! demo's own. `replica` starts and stops them, `site` is what they answer, `chat` is one visitor's
//! WebSocket, `room` is what they all share.
//!
//! Start at [`demo`].

mod chat;
mod replica;
mod room;
mod site;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use replica::Cluster;

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
#[derive(Debug, PartialEq, Eq)]
struct Place {
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
    let place = match listen {
        Some(address) => asked_for(address)?,
        None => first_free(defaults::LISTEN.parse().expect("the default is an address"))?,
    };
    let runtime = crate::runtime().map_err(DemoError::Runtime)?;
    let served = runtime.block_on(async {
        let cluster = Cluster::start(&REPLICAS).await.map_err(DemoError::Replicas)?;
        let loaded = config::load(sources(place.address, &cluster))
            .map_err(|report| DemoError::Settings(report.render(false)))?;
        logs::start(&loaded.settings.log);
        let greet = |started: &Started<'_>| {
            // Who has closed standard output does not want to know.
            let _ = greet(io::stdout().lock(), started, place.instead_of, &cluster);
        };
        Ok(serve::serve(loaded.settings, None, &mut None, greet).await?)
    });
    // What still runs here are replicas and their visitors, who saw the gateway go.
    runtime.shutdown_background();
    served
}

/// What `run` would be told on its command line.
fn sources(listen: SocketAddr, cluster: &Arc<Cluster>) -> Sources {
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
            said("server", "listen", "--listen", vec![listen.to_string()], true),
            said("server", "admin", "--admin", vec![any_port], false),
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

fn asked_for(address: SocketAddr) -> Result<Place, DemoError> {
    match try_out(address) {
        Ok(()) => Ok(Place { address, instead_of: None }),
        Err(source) => Err(DemoError::Listen { address, source }),
    }
}

/// The address, or the same with one of the next ports.
fn first_free(wanted: SocketAddr) -> Result<Place, DemoError> {
    let (first, last) = (wanted.port(), wanted.port().saturating_add(PORTS_TRIED));
    for port in first..=last {
        let address = SocketAddr::new(wanted.ip(), port);
        match try_out(address) {
            Ok(()) => {
                return Ok(Place { address, instead_of: (port != first).then_some(wanted) });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(DemoError::Listen { address, source }),
        }
    }
    Err(DemoError::AllTaken { ip: wanted.ip(), first, last })
}

/// Whether the address is free at this moment. Should somebody take it before the gateway does, the
/// gateway says so.
fn try_out(address: SocketAddr) -> io::Result<()> {
    TcpListener::bind(address).map(drop)
}

fn greet(
    mut out: impl Write,
    started: &Started<'_>,
    instead_of: Option<SocketAddr>,
    cluster: &Cluster,
) -> io::Result<()> {
    writeln!(out, "\nA chat on two replicas, with Longhaul in front of them.\n")?;
    for address in started.handle.listeners() {
        writeln!(out, "  chat      http://{}/", reachable(address))?;
    }
    if let Some(admin) = started.admin {
        writeln!(out, "  status    http://{admin}/status")?;
    }
    for (name, address) in REPLICAS.iter().zip(cluster.addresses()) {
        writeln!(out, "  replica   http://{address}/ ({name}, without the gateway)")?;
    }
    if let Some(taken) = instead_of {
        writeln!(out, "\nThe chat is not on {taken}, which another program uses.")?;
    }
    writeln!(out, "\nOpen the chat in two tabs to see both replicas. Ctrl-C ends it.\n")?;
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
