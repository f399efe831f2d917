//! The gateway as the parent of the application in one container.
//!
//! [`App::run`] keeps the program alive and the gateway honest about it: until it answers, and
//! whenever it is down, a gate in `Readiness` turns requests away with 503. `child` starts and ends
//! the process group, `ready` asks whether it answers, `exec` is what runs in the child before the
//! program does.

mod child;
pub(crate) mod exec;
mod ready;
mod supervise;

use std::time::Duration;

pub(crate) use child::{StartError, end_adopted};
pub(crate) use supervise::{App, AppState, Ask, Ended};

/// What to start, and how patient to be with it.
#[derive(Debug, Clone)]
pub(crate) struct AppSettings {
    /// Program and arguments; `{port}` stands for the port to listen on.
    pub(crate) command: Vec<String>,
    /// When it counts as started.
    pub(crate) ready: Ready,
    /// What [`Ready::Http`] asks for.
    pub(crate) ready_path: String,
    /// From its start to its first answer. Default: 2 min, enough to load models.
    pub(crate) start_deadline: Duration,
    /// From the signal that ends it to the one that kills it. Default: 4 s, so that it fits with
    /// the default drain into the 30 s that most platforms grant.
    pub(crate) stop_grace: Duration,
    /// Deaths in a row, each within a minute of its start, after which to give up. Default: 5.
    pub(crate) quick_deaths_max: usize,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            ready: Ready::Http,
            ready_path: "/".to_owned(),
            start_deadline: Duration::from_secs(120),
            stop_grace: Duration::from_secs(4),
            quick_deaths_max: 5,
        }
    }
}

/// When an application counts as started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Its port accepts and answers a request, with any status.
    Http,
    /// Its port accepts.
    Tcp,
}

impl Ready {
    /// Its word in the file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}
