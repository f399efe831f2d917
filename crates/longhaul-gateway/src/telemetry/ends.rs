//! How the last WebSockets ended, for people who ask why.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use longhaul_proto::session::Cause;

/// Enough to see a pattern in, some 50 KiB.
const ENDS_MAX: usize = 256;

/// How one WebSocket ended.
#[derive(Debug, Clone)]
pub struct End {
    /// The id it had in the log.
    pub id: u64,
    /// When.
    pub at: SystemTime,
    /// Its route.
    pub route: Arc<str>,
    /// The client's address; behind trusted proxies, the forwarded one.
    pub client: IpAddr,
    /// The replica it ended at.
    pub replica: SocketAddr,
    /// `client`, `replica` or `gateway`.
    pub closed_by: &'static str,
    /// From a closed set, as in the log.
    pub cause: &'static str,
    /// The cause in words.
    pub reason: String,
    /// The close code.
    pub code: u16,
    /// Whether nobody meant it to end.
    pub is_drop: bool,
    /// How long it lived.
    pub duration: Duration,
    /// Messages to the replica, to the client.
    pub messages: [u64; 2],
}

/// A handshake that made no WebSocket, or a request that this gateway answered in its own name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    pub(crate) at: SystemTime,
    /// From the closed sets of causes, or the class of the status that the replica answered with.
    pub(crate) reason: &'static str,
}

/// The last of them, oldest first.
#[derive(Debug, Default)]
pub(crate) struct RefusedLately(Mutex<VecDeque<Refused>>);

impl RefusedLately {
    pub(crate) fn push(&self, reason: &'static str) {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.len() == ENDS_MAX {
            lately.pop_front();
        }
        lately.push_back(Refused { at: SystemTime::now(), reason });
    }

    pub(crate) fn all(&self) -> Vec<Refused> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

/// The last ends, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ends(Mutex<VecDeque<End>>);

impl Ends {
    pub(crate) fn push(&self, end: End) {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ends.len() == ENDS_MAX {
            ends.pop_front();
        }
        ends.push_back(end);
    }

    pub(crate) fn all(&self) -> Vec<End> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Whether a WebSocket that ended so was dropped: no peer said goodbye, and no rule of this gateway
/// asked for it.
pub(crate) fn is_drop(cause: Cause) -> bool {
    match cause {
        Cause::Closed { .. }
        | Cause::Idle
        | Cause::Lifetime
        | Cause::Excess(_)
        | Cause::Expired
        | Cause::Revoked
        | Cause::Drained
        | Cause::ReplicaDrained
        | Cause::Ordered => false,
        Cause::Gone(_)
        | Cause::Silent(_)
        | Cause::Stalled(_)
        | Cause::Fault(..)
        | Cause::ReplicaLost
        | Cause::RedialGaveUp(_)
        | Cause::RedialRefused(_)
        | Cause::RedialUnsettled => true,
        // A cause that is new to this list is better seen than overlooked.
        _ => true,
    }
}

/// A close code as a label: those of the standard by number, those of applications by range.
pub(crate) fn code_label(code: u16) -> &'static str {
    match code {
        1000 => "1000",
        1001 => "1001",
        1002 => "1002",
        1003 => "1003",
        1005 => "1005",
        1006 => "1006",
        1007 => "1007",
        1008 => "1008",
        1009 => "1009",
        1010 => "1010",
        1011 => "1011",
        1012 => "1012",
        1013 => "1013",
        1014 => "1014",
        3000..=3999 => "3000-3999",
        4000..=4999 => "4000-4999",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longhaul_proto::session::Side;

    #[test]
    fn a_drop_is_an_end_that_nobody_meant() {
        assert!(is_drop(Cause::Gone(Side::Client)));
        assert!(is_drop(Cause::ReplicaLost));
        assert!(!is_drop(Cause::Closed { by: Side::Backend, code: None }));
        assert!(!is_drop(Cause::Drained));
    }

    #[test]
    fn codes_of_strangers_make_few_labels() {
        let mut labels: Vec<&str> = (0..=u16::MAX).map(code_label).collect();
        labels.sort_unstable();
        labels.dedup();
        assert!(labels.len() < 20, "{labels:?}");
    }
}
