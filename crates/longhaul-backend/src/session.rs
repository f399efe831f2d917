//! What an application holds: messages come out, changes go in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use longhaul_proto::durable::backend::{Backend, Change, Misuse, Output};
use longhaul_proto::durable::{Form, code};
use longhaul_proto::websocket::CloseCode;
use tokio::sync::{Notify, OwnedMutexGuard, mpsc};

use crate::plain::Plain;
use crate::store::{Store, StoreError};

/// Bytes that were sent and wait for the client to make room; then [`Speaker::send`] waits.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// A replica's own fault, as RFC 6455 §7.4.1 has it. The session goes on with another leg.
pub(crate) const OUR_FAULT: CloseCode = CloseCode(1011);

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

/// What came from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// A message.
    Message {
        /// Its number, for [`Speaker::commit`].
        seq: u64,
        /// The message.
        message: Message,
    },
    /// The client has closed. Committed when the handler returns, if not before.
    Closed {
        /// Its number.
        seq: u64,
        /// The client's code; 1005 for none.
        code: u16,
        /// And its reason.
        reason: String,
    },
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The handler should return if the leg is gone: the session goes on in another.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// It was not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One client's session, for as long as one leg carries it. Each leg has a handler of its own, which begins
/// behind what was committed.
#[derive(Debug)]
pub struct Session {
    pub(crate) arrivals: mpsc::UnboundedReceiver<Received>,
    pub(crate) speaker: Speaker,
}

/// The half of a session that speaks; for other tasks, too.
#[derive(Debug, Clone)]
pub struct Speaker {
    pub(crate) shared: Arc<Shared>,
}

/// A change that has its numbers and waits to be stored. Dropped without [`Prepared::apply`] the leg is given up:
/// nobody knows then whether it was stored, but the store.
#[derive(Debug)]
pub struct Prepared {
    change: Option<Change>,
    shared: Arc<Shared>,
    _turn: OwnedMutexGuard<()>,
}

/// What the task of a leg and its application share.
pub(crate) struct Shared {
    machine: Mutex<Machine>,
    /// One change at a time: they are stored and sent in the order of their numbers.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// There is something to send.
    pub(crate) work: Notify,
    /// Something was sent, or never will be.
    pub(crate) room: Notify,
    pub(crate) store: Arc<dyn Store>,
}

/// What numbers and acknowledges, or pretends to.
pub(crate) enum Machine {
    Aware(Box<Backend>),
    Plain(Plain),
}

impl Session {
    /// The next from the client; `None` once the leg is gone, and the handler should return. Takes the next
    /// one before the last is committed, so several may be worked on.
    pub async fn receive(&mut self) -> Option<Received> {
        self.arrivals.recv().await
    }

    /// The half that speaks, for other tasks.
    pub fn speaker(&self) -> Speaker {
        self.speaker.clone()
    }
}

impl std::ops::Deref for Session {
    type Target = Speaker;

    fn deref(&self) -> &Speaker {
        &self.speaker
    }
}

impl Speaker {
    /// Name of the session, the same for each of its legs; `None` on a plain WebSocket.
    pub fn sid(&self) -> Option<String> {
        match &*self.shared.lock() {
            Machine::Aware(backend) => Some(backend.sid().to_owned()),
            Machine::Plain(_) => None,
        }
    }

    /// Stores that everything up to `seq` is dealt with, together with what is said in answer; then says both.
    ///
    /// # Errors
    /// When it was not stored, or the leg is gone: return from the handler.
    pub async fn commit(
        &self,
        seq: u64,
        answers: impl IntoIterator<Item = Message>,
    ) -> Result<(), SessionError> {
        self.store(self.prepare(Some(seq), answers).await?).await
    }

    /// Stores and sends a message that answers nothing. Waits while the client is behind.
    ///
    /// # Errors
    /// When it was not stored, or the leg is gone.
    pub async fn send(&self, message: Message) -> Result<(), SessionError> {
        self.store(self.prepare(None, [message]).await?).await
    }

    /// Closes behind everything that was sent.
    ///
    /// # Errors
    /// When it was not stored, the leg is gone, or it was closed before.
    pub async fn close(&self, code: u16, reason: &str) -> Result<(), SessionError> {
        let turn = self.shared.turn.clone().lock_owned().await;
        let change = self.shared.lock().end(None, CloseCode(code), reason)?;
        self.store(self.shared.prepared(change, turn)).await
    }

    /// Gives numbers to what is to be stored: in the application's own transaction, by
    /// [`Prepared::change`]. Nothing leaves before [`Prepared::apply`].
    ///
    /// # Errors
    /// [`Misuse`]: the leg is gone, a number never came, a message is too big.
    pub async fn prepare(
        &self,
        seq: Option<u64>,
        answers: impl IntoIterator<Item = Message>,
    ) -> Result<Prepared, Misuse> {
        let messages = answers.into_iter().map(|message| match message {
            Message::Text(text) => (Form::Text, text.into()),
            Message::Binary(bytes) => (Form::Binary, bytes),
        });
        let messages = messages.collect();
        let turn = self.shared.turn.clone().lock_owned().await;
        self.shared.has_room().await;
        let change = self.shared.lock().change(seq, messages)?;
        Ok(self.shared.prepared(change, turn))
    }

    /// Asks the gateway to move the session to another replica, before this one goes.
    pub fn drain(&self) {
        self.shared.with(|machine| match machine {
            Machine::Aware(backend) => backend.drain(),
            Machine::Plain(_) => {}
        });
    }

    async fn store(&self, prepared: Prepared) -> Result<(), SessionError> {
        let is_stored = self.shared.store.save(prepared.change()).await;
        match is_stored {
            Ok(()) => Ok(prepared.apply()?),
            Err(error) => {
                prepared.give_up(match error {
                    StoreError::Fenced => code::SUPERSEDED,
                    StoreError::Failed(_) => OUR_FAULT,
                });
                Err(error.into())
            }
        }
    }
}

impl Prepared {
    /// What is to be stored.
    pub fn change(&self) -> &Change {
        self.change.as_ref().expect("it is taken only by those who consume it")
    }

    /// It is stored: acknowledges and sends.
    ///
    /// # Errors
    /// [`Misuse::Detached`], when the leg is gone. What was stored is sent by the next one.
    pub fn apply(mut self) -> Result<(), Misuse> {
        let change = self.change.take().expect("it is taken only by those who consume it");
        self.shared.with(|machine| machine.apply(change))
    }

    fn give_up(mut self, code: CloseCode) {
        self.change = None;
        self.shared.close(code, "the store did not take it");
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if self.change.is_some() {
            self.shared.close(OUR_FAULT, "a change was given up");
        }
    }
}

impl Shared {
    pub(crate) fn new(machine: Machine, store: Arc<dyn Store>) -> Self {
        Self {
            machine: Mutex::new(machine),
            turn: Arc::default(),
            work: Notify::new(),
            room: Notify::new(),
            store,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the machine, and has its task look at what follows.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Machine) -> T) -> T {
        let result = act(&mut self.lock());
        self.work.notify_one();
        result
    }

    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        self.with(|machine| match machine {
            Machine::Aware(backend) => backend.close(code, reason),
            Machine::Plain(plain) => {
                let _ = plain.end(None, code, reason).map(|end| plain.apply(end));
            }
        });
    }

    fn prepared(self: &Arc<Self>, change: Change, turn: OwnedMutexGuard<()>) -> Prepared {
        Prepared { change: Some(change), shared: self.clone(), _turn: turn }
    }

    /// Waits until little enough waits to be sent. Ends with the leg.
    async fn has_room(&self) {
        loop {
            let room = self.room.notified();
            if self.lock().waiting_bytes() < WAITING_BYTES_MAX {
                return;
            }
            room.await;
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Machine {
    pub(crate) fn poll(&mut self) -> Output {
        match self {
            Self::Aware(backend) => backend.poll(),
            Self::Plain(plain) => plain.poll(),
        }
    }

    pub(crate) fn lost(&mut self) {
        match self {
            Self::Aware(backend) => backend.lost(),
            Self::Plain(plain) => plain.is_gone = true,
        }
    }

    fn waiting_bytes(&self) -> usize {
        match self {
            Self::Aware(backend) if backend.is_attached() => backend.waiting_bytes(),
            Self::Plain(plain) if !plain.is_gone => plain.waiting_bytes,
            // What will never be sent holds nobody up.
            Self::Aware(_) | Self::Plain(_) => 0,
        }
    }

    fn change(
        &mut self,
        recv: Option<u64>,
        messages: Vec<(Form, Bytes)>,
    ) -> Result<Change, Misuse> {
        match self {
            Self::Aware(backend) => backend.change(recv, messages),
            Self::Plain(plain) => plain.change(recv, messages),
        }
    }

    fn end(&mut self, recv: Option<u64>, code: CloseCode, reason: &str) -> Result<Change, Misuse> {
        match self {
            Self::Aware(backend) => backend.end(recv, code, reason),
            Self::Plain(plain) => plain.end(recv, code, reason),
        }
    }

    fn apply(&mut self, change: Change) -> Result<(), Misuse> {
        match self {
            Self::Aware(backend) => backend.apply(change),
            Self::Plain(plain) => plain.apply(change),
        }
    }
}
