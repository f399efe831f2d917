//! The task of one leg: owns its socket, asks the store, and runs the application's handler.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use longhaul_proto::durable::backend::Output;
use longhaul_proto::durable::{Attach, Form, code};
use longhaul_proto::websocket::CloseCode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_websockets::{Message as Frame, WebSocketStream};
use tracing::{debug, warn};

use crate::session::{Machine, Message, OUR_FAULT, Received, Session, Shared, Speaker};
use crate::store::StoreError;

/// How long what is written may wait for the gateway, which reads its legs always.
const WRITE: Duration = Duration::from_secs(60);
/// How long a peer may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(5);

/// What starts the application's handler.
pub(crate) type Start = Box<dyn FnOnce(Session) -> JoinHandle<()> + Send>;

pub(crate) struct Drive<T> {
    pub(crate) socket: WebSocketStream<T>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) start: Option<Start>,
    /// Silence after which the leg is taken to be dead: the gateway pings.
    pub(crate) silence: Duration,
    handler: Option<(JoinHandle<()>, mpsc::UnboundedSender<Received>)>,
    /// The client has closed with this item.
    ended: Option<u64>,
}

/// Why the leg is done.
enum Done {
    /// Nothing more can be said on it.
    Gone,
    /// It is to be closed.
    Close(CloseCode, String),
}

impl<T: AsyncRead + AsyncWrite + Unpin> Drive<T> {
    pub(crate) fn new(
        socket: WebSocketStream<T>,
        shared: Arc<Shared>,
        start: Start,
        silence: Duration,
    ) -> Self {
        Self { socket, shared, start: Some(start), silence, handler: None, ended: None }
    }

    /// Goes on until the leg is gone. The handler is told, and not waited for.
    pub(crate) async fn run(mut self) {
        if matches!(&*self.shared.lock(), Machine::Plain(_)) {
            self.begin();
        }
        let done = loop {
            if let Err(done) = self.settle().await {
                break done;
            }
            let shared = self.shared.clone();
            // Each arm only waits: a dropped one leaves nothing half done.
            tokio::select! {
                read = timeout(self.silence, self.socket.next()) => {
                    if let Err(done) = self.take(read.ok().flatten()) {
                        break done;
                    }
                }
                () = shared.work.notified() => {}
                finished = finished(&mut self.handler) => self.finish(finished),
            }
        };
        self.shared.lock().lost();
        self.shared.room.notify_waiters();
        let closing = async {
            if let Done::Close(code, reason) = done {
                let code = tokio_websockets::CloseCode::try_from(code.0).ok();
                let _ = self.socket.send(Frame::close(code, &reason)).await;
            }
            // Also answers a close of the peer's.
            let _ = self.socket.close().await;
        };
        let _ = timeout(FAREWELL, closing).await;
    }

    /// Does what the machine wants done.
    async fn settle(&mut self) -> Result<(), Done> {
        loop {
            let output = self.shared.lock().poll();
            match output {
                Output::Idle => break,
                Output::Send { form, head, payload } => {
                    let bytes = [head.as_bytes(), &payload].concat();
                    let frame = match form {
                        Form::Text => Frame::text(bytes),
                        Form::Binary => Frame::binary(bytes),
                    };
                    let written = timeout(WRITE, self.socket.feed(frame)).await;
                    written.ok().and_then(Result::ok).ok_or(Done::Gone)?;
                    self.shared.room.notify_waiters();
                }
                Output::Attach(attach) => self.attach(attach).await,
                Output::Message { seq, form, payload } => {
                    let message = match form {
                        Form::Text => Message::Text(String::from_utf8_lossy(&payload).into_owned()),
                        Form::Binary => Message::Binary(payload),
                    };
                    self.hand_over(Received::Message { seq, message });
                }
                Output::End { seq, code, reason } => {
                    self.ended = Some(seq);
                    self.hand_over(Received::Closed { seq, code: code.0, reason });
                    if self.handler.is_none() {
                        self.finish(true);
                    }
                }
                Output::Close { code, reason } => return Err(Done::Close(code, reason)),
                Output::Over(code) => {
                    self.forget(code);
                    return Err(Done::Close(CloseCode::NORMAL, String::new()));
                }
            }
        }
        let written = timeout(WRITE, self.socket.flush()).await;
        written.ok().and_then(Result::ok).ok_or(Done::Gone)
    }

    async fn attach(&mut self, attach: Attach) {
        let claimed = self.shared.store.claim(&attach.sid, attach.leg).await;
        let mut has_ended = true;
        self.shared.with(|machine| match (machine, claimed) {
            (Machine::Aware(backend), Ok(saved)) => {
                backend.attach(saved);
                has_ended = backend.has_ended();
            }
            (Machine::Aware(backend), Err(StoreError::Fenced)) => {
                backend.close(code::SUPERSEDED, "another replica has the session");
            }
            (Machine::Aware(backend), Err(error)) => {
                warn!(sid = attach.sid, %error, "a session could not be taken over");
                backend.close(OUR_FAULT, "the store did not answer");
            }
            (Machine::Plain(_), _) => {}
        });
        // Where the application has closed already, only the client's answer is waited for.
        if !has_ended {
            self.begin();
        }
    }

    fn begin(&mut self) {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let speaker = Speaker { shared: self.shared.clone() };
        if let Some(start) = self.start.take() {
            self.handler = Some((start(Session { arrivals, speaker }), arrived));
        }
    }

    /// Unbounded, but for the window: what is not committed the gateway does not go beyond.
    fn hand_over(&self, received: Received) {
        if let Some((_, arrived)) = &self.handler {
            // A handler that has returned wants nothing more.
            let _ = arrived.send(received);
        }
    }

    /// The handler has returned, in good order or not: the session ends as it would have wanted.
    fn finish(&mut self, is_well: bool) {
        self.handler = None;
        let speaker = Speaker { shared: self.shared.clone() };
        let ended = self.ended;
        // Ends with the store's answer; what it leaves undone the next leg does again.
        tokio::spawn(async move {
            let done = match ended {
                Some(seq) if is_well => speaker.commit(seq, []).await,
                _ if is_well => speaker.close(1000, "").await,
                _ => speaker.close(OUR_FAULT.0, "the handler failed").await,
            };
            if let Err(error) = done {
                debug!(%error, "a session was not ended");
            }
        });
    }

    fn forget(&self, code: CloseCode) {
        let Machine::Aware(backend) = &*self.shared.lock() else { return };
        let sid = backend.sid().to_owned();
        let store = self.shared.store.clone();
        // A store that forgets later is no reason to keep the leg.
        tokio::spawn(async move {
            if let Err(error) = store.forget(&sid).await {
                warn!(sid, %error, "a session that is over was not forgotten");
            }
        });
        debug!(%code, "session over");
    }

    fn take(&mut self, read: Option<Result<Frame, tokio_websockets::Error>>) -> Result<(), Done> {
        let Some(Ok(frame)) = read else { return Err(Done::Gone) };
        if let Some((code, reason)) = frame.as_close() {
            return self.take_close(CloseCode(code.into()), reason);
        }
        let form = if frame.is_text() { Form::Text } else { Form::Binary };
        if frame.is_text() || frame.is_binary() {
            let bytes = bytes::Bytes::from(frame.into_payload());
            match &mut *self.shared.lock() {
                Machine::Aware(backend) => backend.receive(form, &bytes),
                Machine::Plain(plain) => plain.receive(form, bytes),
            }
        }
        Ok(())
    }

    /// A plain client's close is its last word; any other leg is closed by the gateway, and its session lives.
    fn take_close(&mut self, code: CloseCode, reason: &str) -> Result<(), Done> {
        if let Machine::Plain(plain) = &mut *self.shared.lock() {
            plain.ended(code, reason.to_owned());
        }
        let mut machine = self.shared.lock();
        while let Output::End { seq, code, reason } = machine.poll() {
            self.hand_over(Received::Closed { seq, code: code.0, reason });
        }
        Err(Done::Gone)
    }
}

/// Waits for the handler, and says whether it ended well. A panic of the application's is its own.
async fn finished<A>(handler: &mut Option<(JoinHandle<()>, A)>) -> bool {
    match handler {
        Some((handler, _)) => handler.await.is_ok(),
        None => std::future::pending().await,
    }
}
