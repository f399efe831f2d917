//! What an application holds: events come out, messages go in.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use longhaul_proto::durable::{Credential, Form};
use longhaul_proto::websocket::CloseCode;
use tokio::sync::mpsc;

use crate::drive;
use crate::options::Options;

/// Events that wait for the application; then the gateway is not read.
const EVENTS_MAX: usize = 64;
/// Messages that wait for the session's task; then [`Session::send`] waits.
const COMMANDS_MAX: usize = 64;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

/// What happens to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It is there.
    Opened {
        /// The application's subprotocol, as the replica chose it.
        protocol: Option<String>,
    },
    /// A message came.
    Message(Message),
    /// The link is lost; what is sent waits.
    Interrupted,
    /// It goes on, with nothing missing.
    Resumed,
    /// The gateway tells something at this place of the stream, as JSON.
    Told(String),
    /// The right by which the session is here ends soon: give a newer login by [`Session::authenticate`].
    LoginWanted {
        /// Until then.
        within: Duration,
    },
    /// The gateway did not accept it; the session goes on until the old one ends.
    LoginRefused {
        /// Why.
        reason: String,
    },
    /// It is over. Nothing follows. It comes once the gateway knows as well, for which at most 5 s are waited.
    Closed {
        /// The application's code, or the gateway's.
        code: u16,
        /// Why.
        reason: String,
        /// Whether both ends agreed.
        was_clean: bool,
    },
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is closed")]
pub struct SendError;

/// A durable session. Dropping it closes it with 1001.
#[derive(Debug)]
pub struct Session {
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
}

/// What the session's task is told.
#[derive(Debug)]
pub(crate) enum Command {
    Send(Form, Bytes),
    Close(CloseCode, String),
    Probe,
    Authenticate(Credential),
}

/// Opens a session and keeps it. Must be called inside a tokio runtime, on which its task runs until the
/// session is closed.
///
/// Nothing is waited for: [`Event::Opened`] or [`Event::Closed`] says how it went.
pub fn connect(options: Options) -> Session {
    let (commands, orders) = mpsc::channel(COMMANDS_MAX);
    let (reports, events) = mpsc::channel(EVENTS_MAX);
    // Ends with the session, or when both channels are gone.
    tokio::spawn(drive::run(options, orders, reports));
    Session { commands, events }
}

impl Session {
    /// Sends a message, now or once there is a link. Waits while too much is unacknowledged.
    ///
    /// # Errors
    /// [`SendError`], when the session is closed.
    pub async fn send(&self, message: Message) -> Result<(), SendError> {
        let command = match message {
            Message::Text(text) => Command::Send(Form::Text, text.into()),
            Message::Binary(bytes) => Command::Send(Form::Binary, bytes),
        };
        self.commands.send(command).await.map_err(|_| SendError)
    }

    /// Closes behind everything that was sent. [`Event::Closed`] follows.
    ///
    /// # Errors
    /// [`SendError`], when it is closed already.
    pub async fn close(&self, code: u16, reason: &str) -> Result<(), SendError> {
        let command = Command::Close(CloseCode(code), reason.to_owned());
        self.commands.send(command).await.map_err(|_| SendError)
    }

    /// Says that the network may have changed, or the device slept: a dead link is found soon.
    ///
    /// # Errors
    /// [`SendError`], when the session is closed.
    pub async fn probe(&self) -> Result<(), SendError> {
        self.commands.send(Command::Probe).await.map_err(|_| SendError)
    }

    /// Gives the gateway a newer login: a token such as the one that opened the session. It must be of the
    /// same subject. Sent again until the gateway has answered; [`Event::LoginRefused`] says that it was
    /// not accepted.
    ///
    /// # Errors
    /// [`SendError`], when the session is closed.
    pub async fn authenticate(&self, token: &str) -> Result<(), SendError> {
        let command = Command::Authenticate(Credential::new(token));
        self.commands.send(command).await.map_err(|_| SendError)
    }

    /// The next event; `None` behind [`Event::Closed`].
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Stream for Session {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(cx)
    }
}
