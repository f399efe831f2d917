//! Looks after the files of certificates, and puts a new pair into use once it is there and good.
//!
//! Looking at a few files now and then works on every file system, and with the links that
//! Kubernetes swaps when a secret changes; notices from the kernel do neither.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::certificates::Certificates;
use super::files::Stamp;
use super::pair::{Pair, PairFault};
use super::validity::show_day;
use crate::faults;
use crate::supervise::{TaskError, Tasks};

/// From here on every day's log says that a certificate is about to expire. Most issuers renew at
/// 30 days, so at 14 something went wrong.
const EXPIRY_NEAR: Duration = Duration::from_secs(14 * 24 * 3600);
const REMINDER: Duration = Duration::from_secs(24 * 3600);

/// Starts the watcher, if there is anything to watch. It ends with `stop`.
pub(crate) fn start(
    certificates: &Arc<Certificates>,
    interval: Option<Duration>,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let Some(interval) = interval.filter(|_| !certificates.pairs().is_empty()) else { return };
    let certificates = certificates.clone();
    tokio::spawn(tasks.keep_alive("certificates", stop.clone(), move || {
        let certificates = certificates.clone();
        async move { match watch(certificates, interval).await? {} }
    }));
}

/// One pair of files as the watcher knows it.
#[derive(Debug)]
pub(super) struct Watched {
    pair: Pair,
    /// The files as they were when they were last read.
    tried: [Stamp; 2],
    /// The files as they were a moment ago, when that is something else.
    changed: Option<[Stamp; 2]>,
    reminded_at: Option<Instant>,
}

impl Watched {
    pub(super) fn new(pair: Pair) -> Self {
        Self { tried: pair.stamps.clone(), pair, changed: None, reminded_at: None }
    }

    /// Looks at the files. Says what they hold when they changed and then stayed as they are for one
    /// interval: whoever replaces two files is not to be judged in the middle of it.
    pub(super) fn look(&mut self) -> Option<Result<Pair, PairFault>> {
        let now = self.stamps();
        if now == self.tried {
            self.changed = None;
            return None;
        }
        if self.changed.as_ref() != Some(&now) {
            self.changed = Some(now);
            return None;
        }
        let read = self.pair.reload(SystemTime::now());
        // Should they have changed since, the next look sees it.
        match &read {
            Ok(pair) => {
                self.tried = pair.stamps.clone();
                self.pair = pair.clone();
                self.reminded_at = None;
            }
            // Written while they were read: that says nothing about what they will hold.
            Err(_) if self.stamps() != now => return None,
            Err(_) => self.tried = now,
        }
        self.changed = None;
        Some(read)
    }

    fn stamps(&self) -> [Stamp; 2] {
        [self.pair.certificate(), self.pair.key()].map(Stamp::of)
    }

    fn remind(&mut self) {
        let not_after = self.pair.not_after();
        let is_near = not_after.checked_sub(EXPIRY_NEAR).is_none_or(|at| at <= SystemTime::now());
        if !is_near || self.reminded_at.is_some_and(|at| at.elapsed() < REMINDER) {
            return;
        }
        self.reminded_at = Some(Instant::now());
        let certificate = self.pair.certificate().display().to_string();
        let (not_after, names) = (show_day(not_after), self.pair.names().join(" "));
        if self.pair.not_after() <= SystemTime::now() {
            error!(certificate, names, not_after, "the certificate has expired; replace its files");
        } else {
            warn!(certificate, names, not_after, "the certificate is about to expire");
        }
    }
}

async fn watch(
    certificates: Arc<Certificates>,
    interval: Duration,
) -> Result<Infallible, TaskError> {
    let mut watched: Vec<Watched> = certificates.pairs().into_iter().map(Watched::new).collect();
    loop {
        faults::point("certificates")?;
        // Files may be on a network; serving must not wait for them.
        let looked = tokio::task::spawn_blocking(move || {
            let looks: Vec<_> = watched.iter_mut().map(Watched::look).collect();
            watched.iter_mut().for_each(Watched::remind);
            (watched, looks)
        });
        let looks;
        (watched, looks) = looked.await?;
        for (index, read) in looks.into_iter().enumerate() {
            if let Some(read) = read {
                apply(&certificates, index, read, &watched[index].pair);
            }
        }
        tokio::time::sleep(interval).await;
    }
}

fn apply(certificates: &Certificates, index: usize, read: Result<Pair, PairFault>, in_use: &Pair) {
    let not_after = show_day(in_use.not_after());
    let certificate = in_use.certificate().display();
    match read {
        Ok(pair) => {
            let names = pair.names().join(" ");
            certificates.swap(index, pair);
            info!(%certificate, names, not_after, "new certificate in use");
        }
        Err(fault) => {
            certificates.refuse(index, &fault);
            error!(
                %certificate, error = %fault, remedy = fault.remedy(), not_after,
                "new certificate refused; the old one stays in use"
            );
        }
    }
}
