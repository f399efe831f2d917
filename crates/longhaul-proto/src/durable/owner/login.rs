//! A newer login of a session that is open (protocol, section 2: `auth_required`, `auth`). Who judges it
//! is outside.

use std::time::{Duration, Instant};

use super::Owner;
use crate::durable::{Control, code};

impl Owner {
    /// Asks the client for a newer login, to be given within this time.
    pub fn want_login(&mut self, within: Duration, now: Instant) {
        self.now = now;
        let deadline = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        if let Some(key) = self.newest.as_ref().map(|link| link.key) {
            self.say(key, &Control::AuthRequired { deadline });
        }
    }

    /// Notes that a login was accepted: the client gets a new token, which says so.
    pub fn accept_login(&mut self, now: Instant) {
        self.now = now;
        self.renew_token();
    }

    /// Notes that a login was not accepted. The session goes on for as long as the one before is good.
    pub fn refuse_login(&mut self, reason: &str, now: Instant) {
        self.now = now;
        if let Some(key) = self.newest.as_ref().map(|link| link.key) {
            let (code, msg) = (code::LOGIN_REFUSED.0, reason.to_owned());
            self.say(key, &Control::Error { code, msg });
        }
    }
}
