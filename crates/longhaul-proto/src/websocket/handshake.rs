//! The opening handshake of a WebSocket, seen from both ends (RFC 6455 §4).
//!
//! Headers are shown as pairs of name and value, whatever type holds them. What the parties agree
//! on (subprotocol, extensions) is theirs; here it is only checked that they did agree.
//!
//! Start at [`validate_request`] and [`validate_response`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// Proves that the server understood the handshake and did not just echo (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a key before base64 (RFC 6455 §4.1).
const KEY_BYTES: usize = 16;

/// What is wrong with a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeFault {
    /// An upgrade by another method than GET.
    #[error("a WebSocket upgrade must be a GET request")]
    Method,
    /// An upgrade with a body.
    #[error("a WebSocket upgrade must not have a body")]
    Body,
    /// `Upgrade` does not name websocket.
    #[error("the Upgrade header must name websocket")]
    Upgrade,
    /// `Connection` does not name upgrade: mostly the work of a proxy that strips it.
    #[error(
        "the Connection header must name Upgrade; a proxy in front that drops it must be told to \
         pass WebSocket upgrades"
    )]
    Connection,
    /// The key is missing, repeated, or not 16 bytes in base64.
    #[error("Sec-WebSocket-Key must be there once, as 16 bytes in base64")]
    Key,
    /// Another version than 13, or none.
    #[error("Sec-WebSocket-Version must be 13")]
    Version,
    /// A subprotocol is offered twice.
    #[error("Sec-WebSocket-Protocol must not list a name twice")]
    Subprotocols,
    /// The answer is not 101.
    #[error("the answer to the upgrade is not 101")]
    Status,
    /// The answer's `Sec-WebSocket-Accept` is missing, repeated, or does not match the key.
    #[error("Sec-WebSocket-Accept does not match the key")]
    Accept,
    /// The answer chose a subprotocol that was not offered, or several.
    #[error("the answer chose a subprotocol that was not offered")]
    SubprotocolNotOffered,
    /// The answer uses an extension that was not offered.
    #[error("the answer uses an extension that was not offered")]
    ExtensionNotOffered,
}

impl HandshakeFault {
    /// Status for whoever sent it: the client for a bad request, 502 for a bad answer of a replica.
    pub fn status(self) -> u16 {
        match self {
            Self::Version => 426,
            Self::Method
            | Self::Body
            | Self::Upgrade
            | Self::Connection
            | Self::Key
            | Self::Subprotocols => 400,
            Self::Status
            | Self::Accept
            | Self::SubprotocolNotOffered
            | Self::ExtensionNotOffered => 502,
        }
    }

    /// The section that is broken.
    pub fn section(self) -> &'static str {
        match self {
            Self::Version => "RFC 6455 §4.4",
            Self::Body => "RFC 9110 §7.8",
            Self::Method | Self::Upgrade | Self::Connection | Self::Key | Self::Subprotocols => {
                "RFC 6455 §4.2.1"
            }
            Self::Status
            | Self::Accept
            | Self::SubprotocolNotOffered
            | Self::ExtensionNotOffered => "RFC 6455 §4.1",
        }
    }
}

/// What a client asks for: the part of its request that the answer is measured by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Value of `Sec-WebSocket-Key`.
    pub key: &'a [u8],
    /// Subprotocols in the client's order; none twice.
    pub subprotocols: Vec<&'a [u8]>,
    /// Names of the extensions, without parameters; may repeat.
    pub extensions: Vec<&'a [u8]>,
}

impl<'a> Offer<'a> {
    /// An offer without subprotocols and extensions, as a probe makes it.
    pub fn plain(key: &'a [u8]) -> Self {
        Self { key, subprotocols: Vec::new(), extensions: Vec::new() }
    }

    /// Reads the offer of a request that [`validate_request`] has passed. `None` without its key.
    pub fn of(fields: impl Iterator<Item = (impl AsRef<[u8]>, &'a [u8])> + Clone) -> Option<Self> {
        Some(Self {
            key: values(&fields, "sec-websocket-key").next()?,
            subprotocols: list(&fields, "sec-websocket-protocol").collect(),
            extensions: extensions(&fields).collect(),
        })
    }
}

/// Judges an HTTP/1.1 request that names websocket in `Upgrade`.
///
/// Values must come without white space around them.
///
/// # Errors
/// The first rule of RFC 6455 §4.2.1 that it breaks, in the order of [`HandshakeFault`].
pub fn validate_request<'a>(
    method: &[u8],
    fields: impl Iterator<Item = (impl AsRef<[u8]>, &'a [u8])> + Clone,
) -> Result<Offer<'a>, HandshakeFault> {
    if method != b"GET" {
        return Err(HandshakeFault::Method);
    }
    let has_length = values(&fields, "content-length").any(|value| value != b"0");
    if has_length || values(&fields, "transfer-encoding").next().is_some() {
        return Err(HandshakeFault::Body);
    }
    require_upgrade(&fields)?;
    if !only(values(&fields, "sec-websocket-key")).is_some_and(is_key) {
        return Err(HandshakeFault::Key);
    }
    if only(values(&fields, "sec-websocket-version")) != Some(b"13") {
        return Err(HandshakeFault::Version);
    }
    let offer = Offer::of(fields).ok_or(HandshakeFault::Key)?;
    let subprotocols = &offer.subprotocols;
    if subprotocols.iter().enumerate().any(|(index, name)| subprotocols[..index].contains(name)) {
        return Err(HandshakeFault::Subprotocols);
    }
    Ok(offer)
}

/// Judges a server's answer to an offer. Only an answer that passes may become a tunnel.
///
/// Gives the subprotocol that the server chose. Values must come without white space around them.
///
/// # Errors
/// The first rule of RFC 6455 §4.1 that it breaks.
pub fn validate_response<'a>(
    status: u16,
    fields: impl Iterator<Item = (impl AsRef<[u8]>, &'a [u8])> + Clone,
    offer: &Offer<'_>,
) -> Result<Option<&'a [u8]>, HandshakeFault> {
    if status != 101 {
        return Err(HandshakeFault::Status);
    }
    // In an answer the protocol is a decision, not a list of wishes.
    let upgrade = only(values(&fields, "upgrade")).ok_or(HandshakeFault::Upgrade)?;
    if !upgrade.eq_ignore_ascii_case(b"websocket") {
        return Err(HandshakeFault::Upgrade);
    }
    require_upgrade(&fields)?;
    if only(values(&fields, "sec-websocket-accept")) != Some(accept_key(offer.key).as_bytes()) {
        return Err(HandshakeFault::Accept);
    }
    let mut chosen = values(&fields, "sec-websocket-protocol");
    let subprotocol = chosen.next();
    let was_offered = subprotocol.is_none_or(|name| offer.subprotocols.contains(&name));
    if !was_offered || chosen.next().is_some() {
        return Err(HandshakeFault::SubprotocolNotOffered);
    }
    if !extensions(&fields).all(|name| offer.extensions.contains(&name)) {
        return Err(HandshakeFault::ExtensionNotOffered);
    }
    Ok(subprotocol)
}

/// The `Sec-WebSocket-Accept` that answers this key (RFC 6455 §4.2.2).
pub fn accept_key(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// A `Sec-WebSocket-Key` from bytes that the caller drew at random for this one handshake.
pub fn new_key(random: [u8; KEY_BYTES]) -> String {
    STANDARD.encode(random)
}

fn is_key(value: &[u8]) -> bool {
    STANDARD.decode(value).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

fn require_upgrade<'a>(
    fields: &(impl Iterator<Item = (impl AsRef<[u8]>, &'a [u8])> + Clone),
) -> Result<(), HandshakeFault> {
    let names = |field, token: &[u8]| list(fields, field).any(|it| it.eq_ignore_ascii_case(token));
    if !names("upgrade", b"websocket") {
        return Err(HandshakeFault::Upgrade);
    }
    if !names("connection", b"upgrade") {
        return Err(HandshakeFault::Connection);
    }
    Ok(())
}

fn values<'a>(
    fields: &(impl Iterator<Item = (impl AsRef<[u8]>, &'a [u8])> + Clone),
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> {
    fields
        .clone()
        .filter(move |(field, _)| field.as_ref().eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value)
}

/// The members of a comma-separated list, over all fields of this name.
fn list<'a>(
    fields: &(impl Iterator<Item = (impl AsRef<[u8]>, &'a [u8])> + Clone),
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> {
    values(fields, name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Names of extensions. A comma inside a quoted parameter would cut it in two, and the second half
/// would count as a name that nobody offered: no registered extension has one.
fn extensions<'a>(
    fields: &(impl Iterator<Item = (impl AsRef<[u8]>, &'a [u8])> + Clone),
) -> impl Iterator<Item = &'a [u8]> {
    list(fields, "sec-websocket-extensions").map(|member| {
        let end = member.iter().position(|&byte| byte == b';').unwrap_or(member.len());
        member[..end].trim_ascii_end()
    })
}

fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    type Fields = Vec<(&'static str, &'static str)>;

    fn view(fields: &Fields) -> impl Iterator<Item = (&str, &[u8])> + Clone {
        fields.iter().map(|(name, value)| (*name, value.as_bytes()))
    }

    fn request() -> Fields {
        vec![
            ("Host", "a"),
            ("Upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Version", "13"),
        ]
    }

    fn response() -> Fields {
        vec![("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", ACCEPT)]
    }

    fn changed(mut fields: Fields, name: &str, value: Option<&'static str>) -> Fields {
        fields.retain_mut(|field| {
            if field.0.eq_ignore_ascii_case(name) {
                field.1 = value.unwrap_or_default();
                return value.is_some();
            }
            true
        });
        fields
    }

    fn with(mut fields: Fields, name: &'static str, value: &'static str) -> Fields {
        fields.push((name, value));
        fields
    }

    #[track_caller]
    fn asks(fields: Fields, expected: HandshakeFault) {
        assert_eq!(validate_request(b"GET", view(&fields)), Err(expected), "{fields:?}");
    }

    #[track_caller]
    fn answers(fields: Fields, expected: Result<Option<&str>, HandshakeFault>) {
        let offer = Offer {
            key: KEY.as_bytes(),
            subprotocols: vec![b"chat", b"superchat"],
            extensions: vec![b"permessage-deflate"],
        };
        let answer = validate_response(101, view(&fields), &offer);
        assert_eq!(answer, expected.map(|name| name.map(str::as_bytes)), "{fields:?}");
    }

    #[test]
    fn the_accept_of_the_rfc_example_is_right() {
        assert_eq!(accept_key(KEY.as_bytes()), ACCEPT);
        assert_eq!(new_key(*b"the sample nonce"), KEY);
    }

    #[test]
    fn an_offer_lists_what_the_client_asks_for() {
        let fields = with(request(), "Sec-WebSocket-Protocol", "chat, superchat");
        let fields = with(fields, "Sec-WebSocket-Protocol", "v2");
        let fields = with(fields, "sec-websocket-extensions", "permessage-deflate; a=1, x");
        let offer = validate_request(b"GET", view(&fields)).unwrap();
        assert_eq!(offer.key, KEY.as_bytes());
        assert_eq!(offer.subprotocols, [&b"chat"[..], b"superchat", b"v2"]);
        assert_eq!(offer.extensions, [&b"permessage-deflate"[..], b"x"]);
    }

    #[test]
    fn each_broken_rule_of_a_request_is_named() {
        assert_eq!(validate_request(b"POST", view(&request())), Err(HandshakeFault::Method));
        asks(with(request(), "Content-Length", "3"), HandshakeFault::Body);
        asks(with(request(), "Transfer-Encoding", "chunked"), HandshakeFault::Body);
        asks(changed(request(), "Upgrade", None), HandshakeFault::Upgrade);
        asks(changed(request(), "Upgrade", Some("websockets")), HandshakeFault::Upgrade);
        asks(changed(request(), "Connection", None), HandshakeFault::Connection);
        asks(changed(request(), "Connection", Some("close")), HandshakeFault::Connection);
        asks(changed(request(), "Sec-WebSocket-Key", None), HandshakeFault::Key);
        asks(with(request(), "Sec-WebSocket-Key", KEY), HandshakeFault::Key);
        for bad in ["", "SGVsbG8=", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSE=", "*"] {
            asks(changed(request(), "Sec-WebSocket-Key", Some(bad)), HandshakeFault::Key);
        }
        asks(changed(request(), "Sec-WebSocket-Version", None), HandshakeFault::Version);
        asks(changed(request(), "Sec-WebSocket-Version", Some("8")), HandshakeFault::Version);
        asks(with(request(), "Sec-WebSocket-Version", "13"), HandshakeFault::Version);
        asks(with(request(), "Sec-WebSocket-Protocol", "a, b, a"), HandshakeFault::Subprotocols);
    }

    #[test]
    fn each_broken_rule_of_an_answer_is_named() {
        let chose = |value| with(response(), "Sec-WebSocket-Protocol", value);
        answers(response(), Ok(None));
        answers(chose("superchat"), Ok(Some("superchat")));
        answers(chose("other"), Err(HandshakeFault::SubprotocolNotOffered));
        answers(chose("chat, superchat"), Err(HandshakeFault::SubprotocolNotOffered));
        answers(chose("Chat"), Err(HandshakeFault::SubprotocolNotOffered));
        answers(
            with(chose("chat"), "Sec-WebSocket-Protocol", "chat"),
            Err(HandshakeFault::SubprotocolNotOffered),
        );
        let uses = |value| with(response(), "Sec-WebSocket-Extensions", value);
        answers(uses("permessage-deflate; server_max_window_bits=10"), Ok(None));
        answers(uses("x-webkit-deflate-frame"), Err(HandshakeFault::ExtensionNotOffered));
        answers(changed(response(), "Upgrade", None), Err(HandshakeFault::Upgrade));
        answers(changed(response(), "Upgrade", Some("h2c")), Err(HandshakeFault::Upgrade));
        answers(with(response(), "Upgrade", "websocket"), Err(HandshakeFault::Upgrade));
        answers(changed(response(), "Connection", Some("close")), Err(HandshakeFault::Connection));
        let accept = "Sec-WebSocket-Accept";
        answers(changed(response(), accept, None), Err(HandshakeFault::Accept));
        answers(changed(response(), accept, Some(KEY)), Err(HandshakeFault::Accept));
        answers(with(response(), accept, ACCEPT), Err(HandshakeFault::Accept));
        let (fields, offer) = (response(), Offer::plain(KEY.as_bytes()));
        assert_eq!(validate_response(200, view(&fields), &offer), Err(HandshakeFault::Status));
    }
}
