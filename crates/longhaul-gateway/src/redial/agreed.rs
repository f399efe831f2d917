//! What a client and its first replica agreed on, by which each later replica is measured: the
//! client cannot be asked again.

use http::header::{SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue};
use longhaul_proto::durable::backend::LEG_HEADER;

/// The one extension whose state can be kept from outlasting a replica.
const DEFLATE: &str = "permessage-deflate";
/// RFC 7692 §7.1.1.2: the client forgets, after each message, what it compressed before.
const CLIENT_FORGETS: &str = "client_no_context_takeover";

/// Subprotocol and extensions of a handshake's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreed {
    subprotocol: Option<HeaderValue>,
    extensions: Vec<String>,
    /// Whether the replica acknowledges messages itself.
    is_aware: bool,
}

impl Agreed {
    /// Reads the answer of a replica.
    pub(crate) fn of(answer: &HeaderMap) -> Self {
        let subprotocol = answer.get(SEC_WEBSOCKET_PROTOCOL).cloned();
        Self { subprotocol, extensions: extensions(answer), is_aware: speaks_items(answer) }
    }

    pub(super) fn from_parts(
        subprotocol: Option<HeaderValue>,
        extensions: Vec<String>,
        is_aware: bool,
    ) -> Self {
        Self { subprotocol, extensions, is_aware }
    }

    pub(super) fn parts(&self) -> (Option<&HeaderValue>, &[String], bool) {
        (self.subprotocol.as_ref(), &self.extensions, self.is_aware)
    }
}

/// Whether a replica answered that it speaks the session protocol on this leg.
pub(crate) fn speaks_items(answer: &HeaderMap) -> bool {
    let (name, value) = LEG_HEADER;
    answer.get(name).is_some_and(|said| said == value)
}

/// Leaves only those extensions in a client's offer that outlast a replica.
pub(crate) fn restrict_offer(head: &mut HeaderMap) {
    let kept: Vec<String> =
        extensions(head).into_iter().filter(|offer| is_deflate(offer)).collect();
    set_extensions(head, &kept);
}

/// Has the client compress each message by itself, in the answer that goes to it: the next replica
/// cannot know what the client's compressor remembers. A server may impose that, asked or not, and
/// whoever inflates need not know.
pub(crate) fn impose_forgetting(answer: &mut HeaderMap) {
    let agreed = extensions(answer).into_iter().map(|mut extension| {
        let forgets = parameters(&extension).any(|parameter| parameter == CLIENT_FORGETS);
        if is_deflate(&extension) && !forgets {
            extension.push_str("; ");
            extension.push_str(CLIENT_FORGETS);
        }
        extension
    });
    let agreed: Vec<String> = agreed.collect();
    set_extensions(answer, &agreed);
}

fn is_deflate(extension: &str) -> bool {
    extension.split(';').next().is_some_and(|name| name.trim() == DEFLATE)
}

fn parameters(extension: &str) -> impl Iterator<Item = &str> {
    extension.split(';').skip(1).map(str::trim)
}

/// Each member of the list, with white space as we write it. Of the registered extensions none has
/// a comma in a parameter.
fn extensions(headers: &HeaderMap) -> Vec<String> {
    let members = headers
        .get_all(SEC_WEBSOCKET_EXTENSIONS)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    members
        .map(|member| member.split(';').map(str::trim).collect::<Vec<_>>().join("; "))
        .filter(|member| !member.is_empty())
        .collect()
}

fn set_extensions(headers: &mut HeaderMap, extensions: &[String]) {
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    if !extensions.is_empty()
        && let Ok(value) = HeaderValue::try_from(extensions.join(", "))
    {
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(extensions: &[&'static str]) -> HeaderMap {
        let named =
            |value: &&'static str| (SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(value));
        extensions.iter().map(named).collect()
    }

    fn said(headers: &HeaderMap) -> Option<&str> {
        headers.get(SEC_WEBSOCKET_EXTENSIONS).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn only_deflate_is_offered() {
        let mut offer = headers(&["x-private;a=1, permessage-deflate;client_max_window_bits"]);
        restrict_offer(&mut offer);
        assert_eq!(said(&offer), Some("permessage-deflate; client_max_window_bits"));
        let mut offer = headers(&["x-private"]);
        restrict_offer(&mut offer);
        assert_eq!(said(&offer), None);
    }

    #[test]
    fn the_client_is_told_to_forget_once() {
        let mut answer = headers(&["permessage-deflate; server_max_window_bits=12"]);
        impose_forgetting(&mut answer);
        let told = "permessage-deflate; server_max_window_bits=12; client_no_context_takeover";
        assert_eq!(said(&answer), Some(told));
        impose_forgetting(&mut answer);
        assert_eq!(said(&answer), Some(told));
        let mut none = HeaderMap::new();
        impose_forgetting(&mut none);
        assert_eq!(said(&none), None);
    }

    #[test]
    fn another_window_is_another_agreement() {
        let agreed = |extension| Agreed::of(&headers(&[extension]));
        let first = agreed("permessage-deflate; server_max_window_bits=12");
        assert_eq!(first, agreed("permessage-deflate;server_max_window_bits=12"));
        assert_ne!(first, agreed("permessage-deflate"));
    }
}
