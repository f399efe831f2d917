//! Reads the configuration again when it was changed, or when somebody asks, and puts it into
//! effect.
//!
//! A configuration with an error changes nothing, and its errors are told to whoever asked and to
//! the log. The file is looked at now and then instead of being watched: that works on every file
//! system, and with the links that Kubernetes swaps when a ConfigMap changes.

use std::net::SocketAddr;
use std::time::Duration;

use longhaul_gateway::Handle;
use longhaul_gateway::config::{Config, ReplicaSource};
use longhaul_gateway::reload::{ReloadAsk, ReloadAsks, ReloadRefused, Reloaded};
use longhaul_gateway::tls::Stamp;
use tokio::sync::mpsc;

use crate::config::problem::Report;
use crate::config::{self, Effect, Loaded, Said, Settings, Sources};
use crate::error_chain;
use crate::house::InForce;
use crate::systemd::{self, Store};

/// Reads the configuration of one gateway again.
#[derive(Debug)]
pub(crate) struct Reloader {
    sources: Sources,
    /// What is in effect.
    said: Said,
    in_force: InForce,
    /// Where the application listens, when there is one.
    app: Option<SocketAddr>,
    /// What systemd keeps of this gateway.
    store: Store,
    watch: Option<Duration>,
    /// The file as it was when it was last read.
    read: Option<Stamp>,
    /// The file as it was a moment ago, when that is something else.
    changed: Option<Stamp>,
}

impl Reloader {
    /// Reads the configuration for the first time.
    ///
    /// # Errors
    /// A report of every problem at once.
    pub(crate) fn load(sources: Sources) -> Result<(Settings, Report, Self), Report> {
        let read = sources.file.as_deref().map(Stamp::of);
        let Loaded { settings, report, said } = config::load(sources.clone())?;
        let (watch, in_force) = (settings.config_watch, InForce::new(settings.in_force.clone()));
        let (app, store) = (None, Store::default());
        let reloader = Self { sources, said, in_force, app, store, watch, read, changed: None };
        Ok((settings, report, reloader))
    }

    /// What operators are shown.
    pub(crate) fn in_force(&self) -> InForce {
        self.in_force.clone()
    }

    /// Takes note of where the application listens, which no configuration says.
    pub(crate) fn set_app(&mut self, address: SocketAddr) {
        self.app = Some(address);
    }

    /// Takes over what systemd keeps of this gateway.
    pub(crate) fn set_store(&mut self, store: Store) {
        self.store = store;
    }

    /// Has systemd keep what the gateway listens on. To be called once, when it does.
    pub(crate) async fn store_listeners(&mut self, handle: &Handle) {
        self.store.keep(handle).await;
    }

    /// Waits for reasons to read it again, until the gateway ends. `hups` are signals.
    pub(crate) async fn run(
        mut self,
        handle: Handle,
        mut asks: ReloadAsks,
        mut hups: mpsc::Receiver<()>,
    ) {
        loop {
            // Every arm can be dropped and asked again: nothing that was sent is lost, and a look
            // that was not taken is taken later.
            let ask = tokio::select! {
                ask = asks.recv() => match ask {
                    Some(ask) => Some(ask),
                    None => return,
                },
                Some(()) = hups.recv() => None,
                () = until_next_look(self.watch) => {
                    if !self.has_changed() {
                        continue;
                    }
                    None
                }
            };
            self.reload(&handle, ask).await;
        }
    }

    /// Looks at the file. Says whether it changed and then stayed as it is for one interval: whoever
    /// writes it is not to be judged in the middle of it.
    fn has_changed(&mut self) -> bool {
        let Some(file) = &self.sources.file else { return false };
        let now = Stamp::of(file);
        if self.read.as_ref() == Some(&now) {
            self.changed = None;
            return false;
        }
        if self.changed.as_ref() == Some(&now) {
            return true;
        }
        self.changed = Some(now);
        false
    }

    async fn reload(&mut self, handle: &Handle, ask: Option<ReloadAsk>) {
        systemd::reloading();
        let outcome = self.try_reload(handle).await;
        match &outcome {
            Ok(Reloaded { changes, after_restart }) => {
                self.store.keep(handle).await;
                systemd::reloaded("serving");
                tracing::info!(changes = changes.len(), "configuration reloaded");
                for change in changes {
                    tracing::info!("reloaded {change}");
                }
                for change in after_restart {
                    tracing::warn!("needs a restart to take effect: {change}");
                }
            }
            Err(ReloadRefused(reason)) => {
                // Not an end: the old configuration is a good one.
                systemd::reloaded(&format!("serving; configuration refused: {reason}"));
                tracing::error!(reason, "configuration refused; the old one stays in effect");
            }
        }
        if let Some(ask) = ask {
            ask.answer(outcome);
        }
    }

    async fn try_reload(&mut self, handle: &Handle) -> Result<Reloaded, ReloadRefused> {
        self.changed = None;
        // Should it change while it is read, the next look sees it.
        self.read = self.sources.file.as_deref().map(Stamp::of);
        let sources = self.sources.clone();
        // Files may be on a network; nobody else must wait for them.
        let loaded = tokio::task::spawn_blocking(move || config::load(sources));
        let loaded = loaded.await.map_err(|panic| ReloadRefused(panic.to_string()))?;
        let Loaded { settings, report, said } =
            loaded.map_err(|report| ReloadRefused(report.in_lines()))?;
        for warning in report.warnings() {
            tracing::warn!("{warning}");
        }
        let mut gateway = settings.gateway;
        self.keep_app(&mut gateway, settings.app.map(|app| app.upstream))?;
        crate::serve::fit_to_descriptors(&mut gateway);
        handle.apply(gateway).await.map_err(|error| ReloadRefused(error_chain(&error)))?;
        let (after_restart, changes): (Vec<_>, Vec<_>) = self
            .said
            .changes(&said)
            .into_iter()
            .partition(|change| change.effect == Effect::Restart);
        let show = |changes: Vec<config::Change>| changes.iter().map(ToString::to_string).collect();
        // What waits for a restart is told again at the next reload: it still waits.
        self.said = self.said.reloaded_by(&said);
        self.watch = settings.config_watch;
        self.in_force.set(settings.in_force);
        Ok(Reloaded { changes: show(changes), after_restart: show(after_restart) })
    }

    /// The application runs where it runs: a reload can neither start nor end it.
    fn keep_app(&self, gateway: &mut Config, upstream: Option<usize>) -> Result<(), ReloadRefused> {
        match (self.app, upstream) {
            (None, None) => Ok(()),
            (Some(address), Some(upstream)) => {
                let source = ReplicaSource::Static { address, weight: 1 };
                gateway.upstreams[upstream].sources = vec![source];
                Ok(())
            }
            (None, Some(_)) | (Some(_), None) => Err(ReloadRefused(
                "[app] came or went: the program behind the gateway changes with a restart alone"
                    .to_owned(),
            )),
        }
    }
}

async fn until_next_look(watch: Option<Duration>) {
    match watch {
        Some(interval) => tokio::time::sleep(interval).await,
        None => std::future::pending().await,
    }
}
