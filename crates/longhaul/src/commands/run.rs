//! `longhaul run`: the gateway, by flags, environment and file.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;

use longhaul_admin::Address;
use longhaul_gateway::handoff::HandoffError;

use super::EXIT_USAGE;
use crate::cli::RunArgs;
use crate::config::{Settings, Sources};
use crate::reload::Reloader;
use crate::serve::{self, ServeError, Started};
use crate::succession::Succession;
use crate::systemd::{self, Store};
use crate::{error_chain, logs, signals};

pub(super) fn run(arguments: RunArgs) -> u8 {
    let mut passed = systemd::listeners();
    let succession = Succession::at_start();
    let is_said = |text: &String| !text.is_empty();
    let sources = Sources {
        // An empty LONGHAUL_CONFIG counts as unset, like every other variable; clap would refuse an
        // empty path.
        file: arguments.config.filter(|path| !path.is_empty()).map(Into::into),
        overrides: arguments.overrides.0,
        command: arguments.command,
        port: std::env::var("PORT").ok().filter(is_said),
    };
    let (mut settings, report, mut reloader) = match Reloader::load(sources) {
        Ok(loaded) => loaded,
        Err(report) => {
            eprintln!("{}", report.render(std::io::stderr().is_terminal()));
            return succession.map_or(EXIT_USAGE, |it| it.fall_back(EXIT_USAGE));
        }
    };
    // Not before: who waits for a configuration that comes by a pipe may give up. Nor later: what writes
    // the log is a thread.
    signals::hold();
    logs::start(&settings.log);
    for warning in report.warnings() {
        tracing::warn!("{warning}");
    }
    let (store, left) = Store::take_back(&mut passed, &settings.gateway.listeners);
    reloader.set_store(store);
    settings.gateway.left = left.into_iter().map(Arc::new).collect();
    settings.gateway.inherited = passed.into_iter().map(|one| Arc::new(one.listener)).collect();
    serve(settings, reloader, succession)
}

/// Serves until the end, logging already on.
fn serve(settings: Settings, reloader: Reloader, mut succession: Option<Succession>) -> u8 {
    let runtime = match crate::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start threads");
            return 1;
        }
    };
    let is_terminal = std::io::stderr().is_terminal();
    let served =
        runtime.block_on(serve::serve(settings, Some(reloader), &mut succession, |started| {
            if is_terminal {
                greet(started);
            }
        }));
    // What still runs here is watchers, which nobody waits for.
    runtime.shutdown_background();
    served.unwrap_or_else(|error| {
        if let ServeError::Succession(HandoffError::Aborted) = &error
            && succession.as_ref().is_some_and(Succession::is_of_heir)
        {
            tracing::info!("it was a rehearsal; ended");
            return 0;
        }
        tracing::error!(error = error_chain(&error), "cannot start");
        succession.map_or(1, |it| it.fall_back(1))
    })
}

/// Lines that terminals turn into links, after everything that was logged on the way here.
fn greet(started: &Started<'_>) {
    logs::flush();
    for (address, &is_secure) in started.handle.listeners().iter().zip(started.secure) {
        eprintln!("listening on {}", link(*address, is_secure));
    }
    if let Some(admin) = started.admin {
        match admin {
            Address::Tcp(address) => eprintln!("admin API on {}", link(*address, false)),
            socket @ Address::Unix(_) => eprintln!("admin API on {socket}"),
        }
    }
}

/// An address to click on: "all interfaces" is none.
fn link(address: SocketAddr, is_secure: bool) -> String {
    let scheme = if is_secure { "https" } else { "http" };
    if address.ip().is_unspecified() {
        return format!("{scheme}://localhost:{}", address.port());
    }
    format!("{scheme}://{address}")
}
