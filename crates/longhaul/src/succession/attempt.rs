//! One attempt of an upgrade: its heir is started, meets this process, and takes over or not.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use longhaul_admin::UpgradeWish;
use longhaul_gateway::handoff::{Giver, Report, Taker};
use rustix::fd::OwnedFd;

use super::{Heir, Means, Succeeded};
use crate::error_chain;

/// How far an upgrade has come, for whoever has to call it off.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempt(Arc<Mutex<Stage>>);

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// This heir is about to take over.
    Trying(Heir),
    /// It has heard the last word, and serves unless it fails now.
    Committed(Heir),
    /// This process ends: nobody is to take over any more.
    CalledOff,
}

impl Attempt {
    /// Goes on to this stage, unless everything was called off.
    fn go_on(&self, stage: Stage) -> Result<(), String> {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*now, Stage::CalledOff) {
            return Err("the gateway was asked to end".to_owned());
        }
        *now = stage;
        Ok(())
    }

    /// This process is asked to end. It would leave an heir behind: one that cannot serve yet is killed,
    /// one that can is returned.
    pub(crate) fn call_off(&self) -> Option<Heir> {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *now, Stage::CalledOff) {
            Stage::Idle | Stage::CalledOff => None,
            Stage::Trying(heir) => {
                tracing::warn!("the upgrade is called off: this process was asked to end");
                heir.kill();
                None
            }
            Stage::Committed(heir) => Some(heir),
        }
    }
}

/// An heir, as the one sees it who gives it everything.
struct Candidate {
    heir: Heir,
    attempt: Attempt,
}

impl Taker for Candidate {
    fn may_serve(&self) -> bool {
        self.attempt.go_on(Stage::Committed(self.heir.clone())).is_ok()
    }

    fn kill(&self) {
        self.heir.kill();
    }
}

/// Fulfils one wish, as far as it can be. Blocks.
pub(super) fn attempt(
    means: &Means,
    what: UpgradeWish,
) -> Result<(Report, Option<Succeeded>), String> {
    let program = means.program.or(what.binary)?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    let admin = means.admin.as_ref().map(OwnedFd::try_clone).transpose();
    let admin = admin.map_err(|error| error.to_string())?;
    let heir = program.start_heir(theirs)?;
    let tried = means.attempt.go_on(Stage::Trying(heir.clone()));
    match tried.and_then(|()| give(means, &heir, ours, admin, what.is_rehearsal)) {
        Ok((report, Some(giver))) => {
            Ok((report, Some(Succeeded { giver, heir: Some(heir), program })))
        }
        Ok((report, None)) => {
            let _ = means.attempt.go_on(Stage::Idle);
            heir.end();
            Ok((report, None))
        }
        Err(reason) => {
            means.attempt.go_on(Stage::Idle).inspect_err(|_| heir.kill())?;
            let how = heir.end();
            Err(format!("{reason}{how}"))
        }
    }
}

/// Tells the heir everything, and gives it everything unless it is a rehearsal.
fn give(
    means: &Means,
    heir: &Heir,
    socket: UnixStream,
    admin: Option<OwnedFd>,
    is_rehearsal: bool,
) -> Result<(Report, Option<Giver>), String> {
    let taker = Box::new(Candidate { heir: heir.clone(), attempt: means.attempt.clone() });
    let given = Giver::meet(socket, &means.handle, means.house.clone(), admin, Some(taker))
        .and_then(|mut giver| match is_rehearsal {
            true => giver.rehearse().map(|report| (report, None)),
            false => giver.give().map(|report| (report, Some(giver))),
        });
    given.map_err(|error| error_chain(&error))
}
