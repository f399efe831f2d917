//! A ticket as the store keeps it, for whichever gateway it is shown to.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use longhaul_policy::token::Grant;
use serde::{Deserialize, Serialize};

use super::Ticket;

/// The form below. Gateways of two versions may share a store: what one cannot read is no ticket to it.
const FORM: u32 = 1;

/// Clocks of gateways may differ by what they differ; a grant ends by the clock that judges it.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    form: u32,
    authority: Box<str>,
    subject: Option<Arc<str>>,
    token_id: Option<Arc<str>>,
    /// Since the epoch.
    issued: Option<Duration>,
    /// Since the epoch.
    expires: Option<Duration>,
    /// Names, and values in base64.
    headers: Vec<(String, String)>,
}

pub(super) fn write(ticket: &Ticket) -> Vec<u8> {
    let Ticket { grant, authority } = ticket;
    let since_epoch = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let headers = grant.headers.iter();
    let written = Written {
        form: FORM,
        authority: authority.clone(),
        subject: grant.subject.clone(),
        token_id: grant.token_id.clone(),
        issued: grant.issued.map(since_epoch),
        expires: grant.expires.map(since_epoch),
        headers: headers
            .map(|(name, value)| (name.to_string(), STANDARD.encode(value.as_bytes())))
            .collect(),
    };
    serde_json::to_vec(&written).expect("texts and numbers can always be written")
}

/// `None`: nobody of this version wrote it.
pub(super) fn read(bytes: &[u8]) -> Option<Ticket> {
    let written: Written = serde_json::from_slice(bytes).ok()?;
    if written.form != FORM {
        return None;
    }
    let moment = |since: Duration| UNIX_EPOCH.checked_add(since);
    let headers = written.headers.iter().map(|(name, value)| {
        let value = STANDARD.decode(value).ok()?;
        Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(&value).ok()?))
    });
    let grant = Grant {
        subject: written.subject,
        token_id: written.token_id,
        issued: written.issued.and_then(moment),
        // An end that is no moment must not become none.
        expires: match written.expires {
            Some(since) => Some(moment(since)?),
            None => None,
        },
        headers: headers.collect::<Option<_>>()?,
    };
    Some(Ticket { grant, authority: written.authority })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_as_it_was_written_and_nothing_else_is_one() {
        let at = UNIX_EPOCH + Duration::new(1_800_000_000, 5);
        let header = |name: &'static str, value: &[u8]| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
        };
        let grant = Grant {
            subject: Some("ann".into()),
            token_id: Some("token-1".into()),
            issued: Some(at),
            expires: Some(at + Duration::from_secs(60)),
            headers: vec![header("x-user", b"ann"), header("x-name", b"\xe4nn")],
        };
        let ticket = Ticket { grant, authority: "users".into() };
        let written = write(&ticket);
        assert_eq!(read(&written), Some(ticket));
        let text = String::from_utf8(written).unwrap();
        for (part, other) in [
            ("\"form\":1", "\"form\":2"),
            ("\"x-user\"", "\"x user\""),
            ("{\"secs\":1800000060", "{\"secs\":18446744073709551615"),
            ("\"authority\"", "\"authorities\""),
        ] {
            assert!(text.contains(part), "{text}");
            assert_eq!(read(text.replace(part, other).as_bytes()), None, "{other}");
        }
        assert_eq!(read(b""), None);
    }
}
