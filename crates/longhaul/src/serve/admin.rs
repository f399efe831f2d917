//! The admin API as a task of its own, from its socket to its end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longhaul_admin::{Address, AdminServer};
use longhaul_gateway::Handle;
use tokio_util::sync::CancellationToken;

use super::ServeError;
use crate::config::AdminSettings;
use crate::house::ThisProcess;

/// The admin API as a task of its own: it shows how the gateway ends, so it ends last.
pub(super) struct Admin {
    pub(super) address: Address,
    stop: CancellationToken,
    /// Another process answers at this address.
    is_succeeded: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Admin {
    pub(super) fn start(server: AdminServer) -> Self {
        let address = server.address().clone();
        tracing::info!("admin API on {address}");
        let stop = CancellationToken::new();
        let is_succeeded = Arc::new(AtomicBool::new(false));
        let succeeded = is_succeeded.clone();
        let run = server.run(stop.clone(), move || succeeded.load(Ordering::Acquire));
        Self { address, stop, is_succeeded, task: tokio::spawn(run) }
    }

    /// Leaves the address to another process.
    pub(super) async fn leave(self) {
        self.is_succeeded.store(true, Ordering::Release);
        self.stop().await;
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        // It ends within two seconds by its own word; a panic in it has been logged.
        let _ = tokio::time::timeout(Duration::from_secs(3), self.task).await;
    }
}

/// Binds the admin API, or takes the socket of the process before.
///
/// # Errors
/// When the system does not give the address.
pub(super) async fn bind_admin(
    settings: Option<AdminSettings>,
    handle: &Handle,
    house: ThisProcess,
    inherited: Option<OwnedFd>,
) -> Result<Option<AdminServer>, ServeError> {
    let Some(AdminSettings { address, terms }) = settings else { return Ok(None) };
    let house = Arc::new(house);
    let server = match inherited {
        Some(socket) => {
            longhaul_admin::adopt(socket, address.clone(), handle.clone(), house, terms)
        }
        None => longhaul_admin::bind(address.clone(), handle.clone(), house, terms).await,
    };
    server.map(Some).map_err(|source| ServeError::Admin { address, source })
}
