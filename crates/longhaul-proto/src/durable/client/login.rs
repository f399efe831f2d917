//! A newer login, given to the gateway over the link (protocol, section 2: `auth`).

use std::time::Instant;

use super::Client;
use crate::durable::{Control, Credential};

impl Client {
    /// Gives the gateway a newer credential, now or once there is a link, and again on each link until
    /// it has answered.
    pub fn authenticate(&mut self, credential: Credential, now: Instant) {
        self.now = now;
        self.credential = Some(credential);
        self.present();
    }

    /// Sends the credential that the gateway has not answered yet.
    pub(super) fn present(&mut self) {
        let Some(link) = self.current.as_ref().map(|link| link.key) else { return };
        if let Some(credential) = &self.credential {
            let cred = credential.expose().to_owned();
            self.say(link, &Control::Auth { cred });
        }
    }
}
