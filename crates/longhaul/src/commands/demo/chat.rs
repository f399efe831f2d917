//! One visitor's WebSocket: what the page and the chat service say to each other, as JSON.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tokio_websockets::{CloseCode, Limits, Message as Frame, ServerBuilder, WebSocketStream};

use super::replica::{ReplicaSummary, Visit};
use super::room::{Message, News};

/// The page says hello every few seconds, once a minute from a tab in the background.
const SILENCE_MAX: Duration = Duration::from_secs(150);

/// How long a page may refuse to read.
const SEND_MAX: Duration = Duration::from_secs(10);

/// The largest thing a page says, in bytes: a text of [`TEXT_CHARS_MAX`] and its wrapping.
const FRAME_BYTES_MAX: usize = 16 * 1024;

const TEXT_CHARS_MAX: usize = 2_000;
const NAME_CHARS_MAX: usize = 40;
const ID_CHARS_MAX: usize = 64;

/// What the page says.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Incoming {
    Say { id: String, from: String, text: String },
    Ping { sent_at: f64 },
}

/// What the page hears.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Outgoing<'a> {
    Welcome {
        room: u64,
        replica: &'static str,
        history: Vec<&'a Message>,
        replicas: Vec<ReplicaSummary>,
    },
    Said(&'a Message),
    Replicas {
        replicas: Vec<ReplicaSummary>,
    },
    Pong {
        sent_at: f64,
    },
}

/// Talks until the visitor leaves, falls silent or cannot be reached. Dropped midway, it cuts the
/// connection as a crash would: no close frame.
pub(super) async fn talk<S>(stream: S, visit: Visit)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = Limits::default().max_payload_len(Some(FRAME_BYTES_MAX));
    let socket = ServerBuilder::new().limits(limits).serve(stream);
    // How it ended is the visitor's business; the gateway logs it.
    let _ = Visitor { socket, visit }.run().await;
}

struct Visitor<S> {
    socket: WebSocketStream<S>,
    visit: Visit,
}

/// The conversation is over, for whichever reason.
struct Over;

impl From<tokio_websockets::Error> for Over {
    fn from(_: tokio_websockets::Error) -> Self {
        Self
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Visitor<S> {
    async fn run(&mut self) -> Result<(), Over> {
        let mut news = self.welcome().await?;
        loop {
            // Both arms only wait for the next item; dropping either loses none.
            tokio::select! {
                frame = timeout(SILENCE_MAX, self.socket.next()) => {
                    let frame = frame.map_err(|_| Over)?.ok_or(Over)??;
                    self.hear(frame).await?;
                }
                item = news.recv() => match item {
                    Ok(News::Said(message)) => self.tell(&Outgoing::Said(&message)).await?,
                    Ok(News::ReplicasChanged) => {
                        let replicas = self.visit.cluster().summary();
                        self.tell(&Outgoing::Replicas { replicas }).await?;
                    }
                    // Too far behind: start over from the history.
                    Err(RecvError::Lagged(_)) => news = self.welcome().await?,
                    Err(RecvError::Closed) => return Err(Over),
                },
            }
        }
    }

    async fn welcome(&mut self) -> Result<tokio::sync::broadcast::Receiver<News>, Over> {
        let (history, news) = self.visit.cluster().room().join();
        let welcome = Outgoing::Welcome {
            room: self.visit.cluster().room().id(),
            replica: self.visit.replica_name(),
            history: history.iter().map(Arc::as_ref).collect(),
            replicas: self.visit.cluster().summary(),
        };
        self.tell(&welcome).await?;
        Ok(news)
    }

    async fn hear(&mut self, frame: Frame) -> Result<(), Over> {
        let Some(text) = frame.as_text() else {
            return Ok(());
        };
        match serde_json::from_str(text) {
            Ok(Incoming::Ping { sent_at }) => self.tell(&Outgoing::Pong { sent_at }).await,
            Ok(Incoming::Say { id, from, text }) => {
                let (from, text) = (from.trim().to_owned(), text.trim().to_owned());
                let is_sound = !text.is_empty()
                    && text.chars().count() <= TEXT_CHARS_MAX
                    && from.chars().count() <= NAME_CHARS_MAX
                    && id.chars().count() <= ID_CHARS_MAX;
                if !is_sound {
                    return self.refuse("say needs a text, and names have a limit").await;
                }
                match self.visit.cluster().room().say(id, from, text, self.visit.replica_name()) {
                    // Everybody hears it as news, the sender too.
                    None => Ok(()),
                    Some(known) => self.tell(&Outgoing::Said(&known)).await,
                }
            }
            Err(_) => self.refuse("not a message of this chat").await,
        }
    }

    async fn refuse(&mut self, reason: &str) -> Result<(), Over> {
        let close = Frame::close(Some(CloseCode::POLICY_VIOLATION), reason);
        timeout(SEND_MAX, self.socket.send(close)).await.map_err(|_| Over)??;
        Err(Over)
    }

    async fn tell(&mut self, what: &Outgoing<'_>) -> Result<(), Over> {
        let text = serde_json::to_string(what).expect("strings and numbers always serialise");
        timeout(SEND_MAX, self.socket.send(Frame::text(text))).await.map_err(|_| Over)??;
        Ok(())
    }
}
