//! Newer logins of a session that is open: asked for in time, judged outside of the session's task.

use std::time::{Duration, Instant};

use longhaul_policy::token::Grant;
use longhaul_proto::durable::Credential;
use tracing::{debug, info};

use super::Session;
use crate::admission::judge_login;
use crate::durable::sessions::Mail;

/// So long before its right ends the client is asked for another login, and at most half of the time
/// that is left: enough for a page to fetch a token, also where tokens are short.
const ASKED_BEFORE: Duration = Duration::from_secs(60);

/// Where the logins of one session stand.
#[derive(Debug, Default)]
pub(super) struct Logins {
    is_judging: bool,
    /// Came while another one was judged.
    next: Option<Credential>,
    /// When the client is to be asked.
    pub(super) ask_at: Option<Instant>,
}

/// What became of one.
pub(in crate::durable) type Verdict = Result<Option<Grant>, &'static str>;

impl Session {
    /// Has a login judged, one at a time.
    pub(super) fn judge_login(&mut self, credential: Credential) {
        if self.logins.is_judging {
            self.logins.next = Some(credential);
            return;
        }
        self.logins.is_judging = true;
        let (shared, route) = (self.worker.current.load_full(), self.control.card.route.clone());
        let mail = self.entry.mail();
        // Ends by the deadline of the route's admission.
        tokio::spawn(async move {
            let verdict = judge_login(&shared, &route, &credential).await;
            // Nobody is there for it when the session has ended.
            let _ = mail.send(Mail::Judged(verdict)).await;
        });
    }

    pub(super) fn note_verdict(&mut self, verdict: Verdict, now: Instant) {
        self.logins.is_judging = false;
        let verdict = verdict.and_then(|grant| match grant {
            Some(grant) if !self.renew(&grant) => Err("the token is another subject's"),
            _ => Ok(()),
        });
        match verdict {
            Ok(()) => {
                info!(sid = self.sid, "session has a newer login");
                self.owner.accept_login(now);
            }
            Err(reason) => {
                info!(sid = self.sid, reason, "session was shown a login that is not accepted");
                self.owner.refuse_login(reason, now);
            }
        }
        self.plan_login(now);
        if let Some(credential) = self.logins.next.take() {
            self.judge_login(credential);
        }
    }

    fn renew(&self, grant: &Grant) -> bool {
        let passes = self.links.iter().filter_map(|lane| lane.link.pass.as_deref());
        // All of them, so that the older link does not end the session.
        passes.fold(false, |is_renewed, pass| pass.renew(&self.live, grant) | is_renewed)
    }

    /// When the right by which the session is here ends, if it does.
    fn right_ends_at(&self) -> Option<Instant> {
        let passes = self.links.iter().filter_map(|lane| lane.link.pass.as_deref());
        passes.filter_map(|pass| pass.ends_at(&self.live)).min()
    }

    /// Plans when to ask for the next login. To be called when a link or a login has come.
    pub(super) fn plan_login(&mut self, now: Instant) {
        self.logins.ask_at = self.right_ends_at().map(|ends_at| {
            let left = ends_at.saturating_duration_since(now);
            ends_at - ASKED_BEFORE.min(left / 2)
        });
    }

    /// Asks for a login when the moment has come, if nobody has prolonged the right by other means.
    pub(super) fn want_login(&mut self, now: Instant) {
        if self.logins.ask_at.is_none_or(|at| at > now) {
            return;
        }
        self.logins.ask_at = None;
        let Some(ends_at) = self.right_ends_at() else { return };
        let left = ends_at.saturating_duration_since(now);
        if left > ASKED_BEFORE {
            return self.plan_login(now);
        }
        debug!(sid = self.sid, left_s = left.as_secs_f64(), "session is asked for a newer login");
        self.owner.want_login(left, now);
    }
}
