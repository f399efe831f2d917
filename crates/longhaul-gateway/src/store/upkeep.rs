//! Keeps the store connected: asks whether it is there, and connects anew when it is not.

use std::sync::Arc;
use std::time::Duration;

use longhaul_policy::backoff::Backoff;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::link::{self, Link};
use super::{Operation, Store, StoreError};
use crate::faults;
use crate::supervise::TaskError;

/// How often it is asked whether it is there: who needs it learns by then that it is not, without waiting
/// for it.
const PING: Duration = Duration::from_secs(1);
/// Pauses between tries to connect. Short even at the end: many gateways may come back at once, and one
/// connection each is nothing to a store.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Connects, and connects anew whenever the connection is lost. A link that a task before this one left is
/// taken over: what serves did not notice that it was gone.
pub(super) async fn tend(store: Arc<Store>) -> Result<(), TaskError> {
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    loop {
        faults::point("store")?;
        let open = store.state.borrow().link.clone();
        let link = match open {
            Some(link) => Ok(link),
            None => connect(&store).await,
        };
        let reason = match link {
            Ok(link) => {
                backoff.reset();
                let reason = watch(&store, &link).await?;
                warn!(store = %store.config.address, reason, "the store is away");
                reason
            }
            Err(reason) => {
                // Once for each reason, not for each try.
                if store.state.borrow().reason.as_ref() != Some(&reason) {
                    warn!(store = %store.config.address, reason, "the store cannot be connected");
                }
                reason
            }
        };
        store.announce(None, Some(reason));
        sleep(backoff.next_delay(fastrand::f64())).await;
    }
}

async fn connect(store: &Store) -> Result<Link, String> {
    let patience = store.config.connect_timeout;
    match timeout(patience, Link::open(&store.config)).await {
        Ok(Ok(link)) => {
            info!(store = %store.config.address, "the store answers");
            store.announce(Some(link.clone()), None);
            Ok(link)
        }
        Ok(Err(fault)) => Err(fault.to_string()),
        Err(_) => Err(format!("no answer in {patience:?}")),
    }
}

/// Asks again and again whether the store is there. Returns why it is not.
async fn watch(store: &Store, link: &Link) -> Result<String, TaskError> {
    loop {
        if link.ended.run_until_cancelled(sleep(PING)).await.is_none() {
            return Ok("it closed the connection".to_owned());
        }
        faults::point("store")?;
        match store.ask_by(link, Operation::Ping, &link::ping()).await {
            Ok(_) => {}
            Err(StoreError::TimedOut(patience)) => return Ok(format!("no answer in {patience:?}")),
            Err(StoreError::Away(reason) | StoreError::Failed(reason)) => return Ok(reason),
        }
    }
}
