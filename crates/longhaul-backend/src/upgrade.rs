//! Takes a WebSocket handshake in an axum handler, and answers as the gateway asked: with the session
//! protocol on the leg, or plainly.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use longhaul_proto::durable::Window;
use longhaul_proto::durable::backend::{Backend, LEG_HEADER, OFFER_HEADER, WINDOW_DEFAULT};
use longhaul_proto::websocket::handshake;
use tokio_websockets::{Limits, ServerBuilder};
use tracing::debug;

use crate::drive::Drive;
use crate::plain::Plain;
use crate::session::{Machine, Session, Shared};
use crate::store::Store;

/// A WebSocket handshake that is to be answered. An axum extractor.
#[derive(Debug)]
pub struct Upgrade {
    connection: OnUpgrade,
    key: HeaderValue,
    is_offered: bool,
    protocols: Vec<String>,
    protocol: Option<HeaderValue>,
    options: Options,
}

/// Bounds of a leg.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What was received and is not committed. Not less than the gateway's `durable.window_bytes` and
    /// `durable.window_items`. Default: 16 MiB, 16,384 items.
    pub window: Window,
    /// Bytes of one message, or of one item of a message. Default: 1 MiB.
    pub message_bytes_max: usize,
    /// Silence after which the leg is taken to be dead; more than the gateway's interval of pings. Default: 5 min.
    pub silence: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let silence = Duration::from_secs(300);
        Self { window: WINDOW_DEFAULT, message_bytes_max: 1 << 20, silence }
    }
}

/// Why a request is no handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this address takes WebSockets of version 13 only")]
pub struct NoUpgrade;

impl IntoResponse for NoUpgrade {
    fn into_response(self) -> Response {
        let version = [(SEC_WEBSOCKET_VERSION, "13")];
        (StatusCode::UPGRADE_REQUIRED, version, self.to_string()).into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = NoUpgrade;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoUpgrade> {
        let headers = &parts.headers;
        let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(NoUpgrade)?.clone();
        let is_websocket =
            headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let is_version = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        if !is_websocket || !is_version {
            return Err(NoUpgrade);
        }
        let (is_offered, protocols) = (is_offered(headers), protocols(headers));
        let connection = parts.extensions.remove::<OnUpgrade>().ok_or(NoUpgrade)?;
        let options = Options::default();
        Ok(Self { connection, key, is_offered, protocols, protocol: None, options })
    }
}

impl Upgrade {
    /// The subprotocols that the client offers.
    pub fn protocols(&self) -> &[String] {
        &self.protocols
    }

    /// Chooses one of them.
    #[must_use]
    pub fn protocol(mut self, protocol: &str) -> Self {
        self.protocol = HeaderValue::from_str(protocol).ok();
        self
    }

    /// With other bounds.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Whether this is the leg of a durable session.
    pub fn is_durable(&self) -> bool {
        self.is_offered
    }

    /// Answers 101, and has `handler` look after the session while this leg carries it. When it returns, the session
    /// ends with 1000, unless the leg was lost; with 1011 when it panics.
    pub fn on_session<S, H, F>(self, store: Arc<S>, handler: H) -> Response
    where
        S: Store,
        H: FnOnce(Session) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(answer) = self.answer() else { return NoUpgrade.into_response() };
        let machine = if self.is_offered {
            Machine::Aware(Box::new(Backend::new(self.options.window)))
        } else {
            Machine::Plain(Plain::default())
        };
        let shared = Arc::new(Shared::new(machine, store));
        let options = self.options;
        // Ends with the leg, whose deadlines bound it.
        tokio::spawn(async move {
            let connection = match self.connection.await {
                Ok(connection) => TokioIo::new(connection),
                Err(error) => return debug!(%error, "a client left during its handshake"),
            };
            // Room for what stands in front of an item.
            let bytes_max = options.message_bytes_max.saturating_add(32);
            let limits = Limits::default().max_payload_len(Some(bytes_max));
            let socket = ServerBuilder::new().limits(limits).serve(connection);
            let start = Box::new(|session| tokio::spawn(handler(session)));
            Drive::new(socket, shared, start, options.silence).run().await;
        });
        answer
    }

    fn answer(&self) -> Option<Response> {
        let mut answer = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let headers = answer.headers_mut();
        let accept = handshake::accept_key(self.key.as_bytes());
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).ok()?);
        if let Some(protocol) = &self.protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol.clone());
        }
        if self.is_offered {
            let (name, value) = LEG_HEADER;
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Some(answer)
    }
}

/// Whether a gateway asks for the session protocol on this leg.
fn is_offered(headers: &HeaderMap) -> bool {
    let (name, value) = OFFER_HEADER;
    headers.get(name).is_some_and(|offer| offer == value)
}

fn protocols(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let lists = values.filter_map(|value| value.to_str().ok());
    let names = lists.flat_map(|list| list.split(',')).map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
