//! One WebSocket: what a client and the service say to each other, as JSON. The README has the list.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_websockets::{CloseCode, Limits, Message as Frame, ServerBuilder, WebSocketStream};
use tracing::warn;

use crate::hall::{Draft, Hall, Unsaid};
use crate::rooms::{Message, News};

/// The web chat pings every few seconds, once a minute from a tab in the background.
const SILENCE_MAX: Duration = Duration::from_secs(150);

/// How long a client may refuse to read.
const SEND_MAX: Duration = Duration::from_secs(10);

/// The largest thing a client says, in bytes: a text of [`TEXT_CHARS_MAX`] and its wrapping.
const FRAME_BYTES_MAX: usize = 16 * 1024;

const TEXT_CHARS_MAX: usize = 2_000;
const NAME_CHARS_MAX: usize = 40;
const ID_CHARS_MAX: usize = 64;

/// Messages in a welcome.
const WELCOME_COUNT: usize = 50;
/// Messages in one answer to a request for history.
const HISTORY_COUNT: usize = 200;

/// What clients say.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Incoming {
    Say { id: String, from: String, text: String },
    History { after: u64 },
    Ping { sent_at: f64 },
}

/// What clients hear.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Outgoing<'a> {
    Welcome { room: &'a str, replica: &'a str, history: Vec<&'a Message> },
    Said(&'a Message),
    Known(&'a Message),
    History { after: u64, messages: Vec<&'a Message> },
    Pong { sent_at: f64 },
}

/// Talks until the client leaves, falls silent or cannot be reached, or until `stop`.
pub(crate) async fn talk<S>(stream: S, hall: Arc<Hall>, room: String, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = Limits::default().max_payload_len(Some(FRAME_BYTES_MAX));
    let socket = ServerBuilder::new().limits(limits).serve(stream);
    let mut visitor = Visitor { socket, hall, room };
    // How it ended is the client's business.
    if let Err(Over::Stopping) = visitor.run(&stop).await {
        let _ = visitor.leave().await;
    }
}

struct Visitor<S> {
    socket: WebSocketStream<S>,
    hall: Arc<Hall>,
    room: String,
}

/// Why the conversation is over.
enum Over {
    Gone,
    Stopping,
}

impl From<tokio_websockets::Error> for Over {
    fn from(_: tokio_websockets::Error) -> Self {
        Self::Gone
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Visitor<S> {
    async fn run(&mut self, stop: &CancellationToken) -> Result<(), Over> {
        let mut news = self.welcome().await?;
        loop {
            // All arms only wait for the next thing; dropping them loses none.
            tokio::select! {
                frame = timeout(SILENCE_MAX, self.socket.next()) => {
                    let frame = frame.map_err(|_| Over::Gone)?.ok_or(Over::Gone)??;
                    if let Some(answer) = self.hear(&frame).await? {
                        self.send(answer).await?;
                    }
                }
                item = news.recv() => match item {
                    Ok(message) => self.tell(&Outgoing::Said(&message)).await?,
                    // Too far behind: start over from the history.
                    Err(RecvError::Lagged(_)) => news = self.welcome().await?,
                    Err(RecvError::Closed) => return Err(Over::Gone),
                },
                () = stop.cancelled() => return Err(Over::Stopping),
            }
        }
    }

    /// Sends the client elsewhere, and still takes what it says until it has heard that.
    async fn leave(&mut self) -> Result<(), Over> {
        let close = Frame::close(Some(CloseCode::SERVICE_RESTART), "this replica is about to end");
        self.send(close).await?;
        while let Some(frame) =
            timeout(SEND_MAX, self.socket.next()).await.map_err(|_| Over::Gone)?
        {
            self.hear(&frame?).await?;
        }
        Ok(())
    }

    async fn welcome(&mut self) -> Result<News, Over> {
        let Ok((history, news)) = self.hall.join(&self.room, WELCOME_COUNT) else {
            return Err(self.refuse("there are too many rooms").await);
        };
        let (hall, room) = (Arc::clone(&self.hall), self.room.clone());
        let history = history.iter().map(Arc::as_ref).collect();
        self.tell(&Outgoing::Welcome { room: &room, replica: hall.replica(), history }).await?;
        Ok(news)
    }

    /// Does what a client says, and returns what it is answered.
    async fn hear(&mut self, frame: &Frame) -> Result<Option<Frame>, Over> {
        let Some(text) = frame.as_text() else {
            return Ok(None);
        };
        match serde_json::from_str(text) {
            Ok(Incoming::Ping { sent_at }) => Ok(Some(written(&Outgoing::Pong { sent_at }))),
            Ok(Incoming::History { after }) => {
                let messages = self.hall.history(&self.room, after, HISTORY_COUNT);
                let messages = messages.iter().map(Arc::as_ref).collect();
                Ok(Some(written(&Outgoing::History { after, messages })))
            }
            Ok(Incoming::Say { id, from, text }) => self.say(id, &from, &text).await,
            Err(_) => Err(self.refuse("not a message of this service").await),
        }
    }

    async fn say(&mut self, id: String, from: &str, text: &str) -> Result<Option<Frame>, Over> {
        let (from, text) = (from.trim().to_owned(), text.trim().to_owned());
        let is_sound = !text.is_empty()
            && text.chars().count() <= TEXT_CHARS_MAX
            && from.chars().count() <= NAME_CHARS_MAX
            && id.chars().count() <= ID_CHARS_MAX;
        if !is_sound {
            return Err(self.refuse("say needs a text, and names have a limit").await);
        }
        let draft = Draft { room: self.room.clone(), id, from, text };
        match Arc::clone(&self.hall).say(draft).await {
            // Everybody hears it as news, the sender too.
            Ok(None) => Ok(None),
            Ok(Some(known)) => Ok(Some(written(&Outgoing::Known(&known)))),
            Err(Unsaid::Full) => Err(self.refuse("there are too many rooms").await),
            Err(Unsaid::Log(error)) => {
                warn!(%error, "a message could not be written");
                let close = Frame::close(Some(CloseCode::INTERNAL_SERVER_ERROR), "try again");
                self.send(close).await?;
                Err(Over::Gone)
            }
        }
    }

    async fn refuse(&mut self, reason: &str) -> Over {
        let close = Frame::close(Some(CloseCode::POLICY_VIOLATION), reason);
        let _ = self.send(close).await;
        Over::Gone
    }

    async fn tell(&mut self, what: &Outgoing<'_>) -> Result<(), Over> {
        self.send(written(what)).await
    }

    async fn send(&mut self, frame: Frame) -> Result<(), Over> {
        timeout(SEND_MAX, self.socket.send(frame)).await.map_err(|_| Over::Gone)??;
        Ok(())
    }
}

fn written(what: &Outgoing<'_>) -> Frame {
    Frame::text(serde_json::to_string(what).expect("strings and numbers always serialise"))
}
