//! Reads the first message of a link and brings the link where it belongs: to a new session, or to
//! the one that it resumes.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use longhaul_policy::forwarded::Client;
use longhaul_proto::durable::{
    CONTROL_BYTES_MAX, Control, Form, Head, Item, Reset, Sizes, Speaker, code,
};
use longhaul_proto::websocket::CloseCode;
use tokio::time::timeout;
use tracing::debug;

use super::sessions::{Astray, Link};
use super::wire::{Read, Wire};
use super::{leg, session};
use crate::admission::Pass;
use crate::connection::Connection;
use crate::http::http2::OpenStream;
use crate::relay::stream::with_scratch;
use crate::upgrade::{ClientLeg, client_leg};

/// How long the first message may take.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);
/// How long a client may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(5);
/// When a client that finds no room shall come back, on average.
const RETRY: Duration = Duration::from_millis(2_500);

/// Who asks for a session.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) connection: Connection,
    /// Its request, as it goes to a replica.
    pub(super) head: Parts,
    /// Index into the config's routes.
    pub(super) route: usize,
    pub(super) client: Client,
    pub(super) subject: [u8; 32],
}

/// What waits for a client behind its 101.
#[derive(Debug)]
pub(crate) struct Reception {
    connection: Connection,
    stream: Option<OpenStream>,
    pass: Option<Box<Pass>>,
    /// Who it is, or why it is turned away.
    caller: Result<Box<Caller>, CloseCode>,
}

impl Reception {
    pub(super) fn of(
        caller: Box<Caller>,
        stream: Option<OpenStream>,
        pass: Option<Box<Pass>>,
    ) -> Self {
        Self { connection: caller.connection.clone(), stream, pass, caller: Ok(caller) }
    }

    pub(super) fn turning_away(
        connection: Connection,
        stream: Option<OpenStream>,
        code: CloseCode,
    ) -> Self {
        Self { connection, stream, pass: None, caller: Err(code) }
    }

    /// Receives a client once the library has answered it.
    pub(crate) async fn receive_behind(self, client: OnUpgrade) {
        if let Ok(Ok(client)) = timeout(FIRST_MESSAGE, client).await {
            self.receive(client_leg(client)).await;
        }
    }

    /// Receives a client: reads its first message, or turns it away. Ends by its deadlines, or when a
    /// session's task has the link.
    pub(crate) async fn receive(self, leg: ClientLeg) {
        let Self { connection, stream, pass, caller } = self;
        let sizes = connection.shared.sessions.policy.sizes;
        let wire = Wire::link(leg, link_bytes_max(sizes));
        let (peer, place) = (connection.peer, connection.place.clone());
        let link = Link { wire, peer, _place: place, _stream: stream, pass };
        match caller {
            Ok(caller) => receive(link, caller, true).await,
            Err(code::BUSY) => later(link, RETRY.mul_f64(0.5 + fastrand::f64())).await,
            Err(code) => close(link, code).await,
        }
    }
}

/// The largest that a link may carry: control, or a chunk behind the longest head.
pub(super) fn link_bytes_max(sizes: Sizes) -> usize {
    CONTROL_BYTES_MAX.max(sizes.chunk_bytes_max + 32)
}

/// Reads the first message, or the `hello` behind a reset, and does what it asks for. Boxed, since a
/// session's task sends links that it refuses back here.
pub(super) fn receive(
    mut link: Link,
    caller: Box<Caller>,
    is_first: bool,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let control = match timeout(FIRST_MESSAGE, first_control(&mut link.wire, is_first)).await {
            Ok(Ok(control)) => control,
            Ok(Err(Some(fault))) => return close(link, fault).await,
            Ok(Err(None)) => return,
            Err(_) => return close(link, code::LATE_HELLO).await,
        };
        match control {
            Control::Hello { win, .. } => greet(link, caller, win.into()).await,
            Control::Resume(resume) if is_first => {
                let shared = caller.connection.shared.clone();
                let sessions = &shared.sessions;
                let Err(stray) = sessions.bring(link, caller, resume) else { return };
                let is_leaving = shared.readiness.is_leaving();
                match *stray {
                    // Another process has it, or will say that nobody does.
                    (link, _, Astray::Reset(_)) if is_leaving => later(link, Duration::ZERO).await,
                    (link, caller, Astray::Reset(reset)) => say_reset(link, caller, reset).await,
                    (link, _, Astray::Foreign) => close(link, code::LOGIN_REFUSED).await,
                    (link, _, Astray::Later(wait)) => later(link, wait).await,
                }
            }
            _ => close(link, code::FAULT).await,
        }
    })
}

/// Tells a link that its session is over. It may ask for a new one.
pub(super) async fn say_reset(mut link: Link, caller: Box<Caller>, reset: Reset) {
    caller.connection.shared.sessions.counters.resets.fetch_add(1, Ordering::Relaxed);
    say(&mut link.wire, &Control::Reset(reset));
    receive(link, caller, false).await;
}

/// Opens a session for a client that has none.
async fn greet(link: Link, caller: Box<Caller>, window: longhaul_proto::durable::Window) {
    match leg::dial(&caller).await {
        Ok(leg) => session::open(link, leg, caller, window),
        Err(leg::Undialled::Refused(code)) => close(link, code).await,
        Err(leg::Undialled::Later) => later(link, RETRY.mul_f64(0.5 + fastrand::f64())).await,
    }
}

/// Reads up to the first control object; behind a reset, whatever comes before a `hello` is discarded.
async fn first_control(wire: &mut Wire, is_first: bool) -> Result<Control, Option<CloseCode>> {
    loop {
        let read = poll_fn(|cx| {
            // What a reset left to be written goes out while the client thinks.
            let _ = wire.flush(cx);
            with_scratch(CONTROL_BYTES_MAX, |scratch| wire.poll_one(cx, scratch))
        });
        let (form, message) = match read.await {
            Read::Message(form, letter) => (form, letter.into_message()),
            Read::Pieces(form, pieces) => (form, pieces.to_bytes()),
            Read::Close(..) | Read::End => return Err(None),
            Read::Fault(CloseCode::TOO_BIG) => return Err(Some(code::TOO_BIG)),
            Read::Fault(_) => return Err(Some(code::FAULT)),
        };
        let control = Item::parse(form, &message).and_then(|item| match item {
            Item::Control(text) => Control::parse(Speaker::Client, text),
            _ => Err(code::FAULT),
        });
        match control {
            Ok(control @ Control::Hello { .. }) => return Ok(control),
            Ok(control) if is_first => return Ok(control),
            Err(fault) if is_first => return Err(Some(fault)),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Asks a client to come back.
pub(super) async fn later(mut link: Link, wait: Duration) {
    say(&mut link.wire, &Control::Goaway { retry: wait.as_millis() as u64 });
    close(link, code::BUSY).await;
}

/// Sends a client to the process that has its session now. It closes this link when it is there.
pub(super) async fn send_over(mut link: Link, within: Duration) {
    let deadline = within.as_millis() as u64;
    say(&mut link.wire, &Control::Migrate { url: None, delay: 0, deadline });
    let parted = timeout(within, poll_fn(|cx| link.wire.poll_parting(cx))).await;
    if parted.is_err() {
        close(link, CloseCode::SERVICE_RESTART).await;
    }
}

/// Closes a link and waits until its client has, so that nothing takes the code away from it.
pub(super) async fn close(mut link: Link, code: CloseCode) {
    debug!(peer = %link.peer, %code, "link closed");
    link.wire.close(Some(code), "");
    let _ = timeout(FAREWELL, poll_fn(|cx| link.wire.poll_parting(cx))).await;
}

fn say(wire: &mut Wire, control: &Control) {
    wire.send(Form::Text, &Head::none(), Bytes::from(control.write()));
}
