//! Control objects: what the ends of a link tell each other about it, as JSON.

use serde::{Deserialize, Serialize};

use super::{SEQ_MAX, Window, code};
use crate::websocket::CloseCode;

/// Longest control object.
pub const CONTROL_BYTES_MAX: usize = 8 << 10;
const VERSION: u64 = 1;

/// Who speaks on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The client.
    Client,
    /// The gateway.
    Server,
    /// A replica that acknowledges messages itself.
    Replica,
}

/// One control object. Fields that are not listed are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Control {
    /// Asks for a new session.
    Hello {
        /// Version of the protocol.
        v: u64,
        /// Which client library.
        #[serde(default)]
        sdk: String,
        /// What may be unacknowledged toward the client: bytes, items.
        win: [u64; 2],
    },
    /// Gives a new session.
    Welcome(Welcome),
    /// Asks to go on.
    Resume(Resume),
    /// Goes on.
    Resumed(Resumed),
    /// Asks for another link beside this one.
    Migrate {
        /// Where to; the same place when absent.
        #[serde(default)]
        url: Option<String>,
        /// How long to wait before.
        delay: u64,
        /// When this link closes.
        deadline: u64,
    },
    /// This link closes now; the session lives.
    Goaway {
        /// When to come back.
        retry: u64,
    },
    /// The session is over.
    Reset(Reset),
    /// A newer token.
    Token {
        /// For the next resume.
        token: String,
    },
    /// Something unnumbered that the gateway tells.
    Event {},
    /// A new login.
    Auth {
        /// The credential.
        cred: String,
    },
    /// Asks for a new login.
    AuthRequired {
        /// By when.
        deadline: u64,
    },
    /// Says why the link will be closed, for people.
    Error {
        /// The code of the close.
        code: u16,
        /// Why.
        #[serde(default)]
        msg: String,
    },
}

/// What a new session is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Its name, for logs.
    pub sid: String,
    /// What resumes it.
    pub token: String,
    /// Number of this link.
    pub link: u64,
    /// The application's subprotocol, as the replica chose it.
    #[serde(default)]
    pub protocol: Option<String>,
    /// What may be unacknowledged from the client: bytes, items.
    pub win: [u64; 2],
    /// Bytes of a message.
    pub max_msg: u64,
    /// Payload bytes of one item.
    pub chunk: u64,
    /// Interval of pings.
    pub hb: u64,
    /// How long the session lives without a link.
    pub grace: u64,
    /// What may die without loss.
    #[serde(default)]
    pub class: String,
    /// Where to resume; the same place when absent.
    #[serde(default)]
    pub resume_url: Option<String>,
}

/// Where a client stands that wants to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// Version of the protocol.
    pub v: u64,
    /// What it was given.
    pub token: String,
    /// Number of this link.
    pub link: u64,
    /// The last item it has.
    pub recv: u64,
    /// The first item it still holds.
    pub lo: u64,
    /// The last item it still holds.
    pub hi: u64,
}

/// Where an owner stands that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// What resumes the session next time.
    pub token: String,
    /// Number of this link.
    pub link: u64,
    /// The last item it has.
    pub recv: u64,
    /// The first item it still holds.
    pub lo: u64,
    /// The last item it still holds.
    pub hi: u64,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// Why.
    pub code: u16,
    /// The last item that the replica was handed, if it is known.
    #[serde(default)]
    pub recv: Option<u64>,
}

impl Control {
    /// Reads an object that `speaker` sent.
    ///
    /// # Errors
    /// The code to close the link with: 4900.
    pub fn parse(speaker: Speaker, text: &[u8]) -> Result<Self, CloseCode> {
        if text.len() > CONTROL_BYTES_MAX {
            return Err(code::FAULT);
        }
        let control: Self = serde_json::from_slice(text).map_err(|_| code::FAULT)?;
        let is_good = control.speaker() == speaker && control.is_in_range();
        if is_good { Ok(control) } else { Err(code::FAULT) }
    }

    /// As JSON.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and nothing that can fail")
    }

    fn speaker(&self) -> Speaker {
        match self {
            Self::Hello { .. } | Self::Resume(_) | Self::Auth { .. } => Speaker::Client,
            Self::Welcome(_)
            | Self::Resumed(_)
            | Self::Migrate { .. }
            | Self::Goaway { .. }
            | Self::Reset(_)
            | Self::Token { .. }
            | Self::Event {}
            | Self::AuthRequired { .. }
            | Self::Error { .. } => Speaker::Server,
        }
    }

    /// Whether every number can be told apart by every JSON reader, and the version is ours.
    fn is_in_range(&self) -> bool {
        let fits = |numbers: &[u64]| numbers.iter().all(|&number| number <= SEQ_MAX);
        match self {
            Self::Hello { v, win, .. } => *v == VERSION && fits(win),
            Self::Resume(it) => it.v == VERSION && fits(&[it.link, it.recv, it.lo, it.hi]),
            Self::Welcome(it) => {
                fits(&it.win) && fits(&[it.link, it.max_msg, it.chunk, it.hb, it.grace])
            }
            Self::Resumed(it) => fits(&[it.link, it.recv, it.lo, it.hi]),
            Self::Migrate { delay, deadline, .. } => fits(&[*delay, *deadline]),
            Self::Goaway { retry } => fits(&[*retry]),
            Self::Reset(it) => fits(&[it.recv.unwrap_or(0)]),
            Self::AuthRequired { deadline } => fits(&[*deadline]),
            Self::Token { .. } | Self::Event {} | Self::Auth { .. } | Self::Error { .. } => true,
        }
    }
}

impl From<[u64; 2]> for Window {
    fn from([bytes, items]: [u64; 2]) -> Self {
        Self { bytes, items }
    }
}

impl From<Window> for [u64; 2] {
    fn from(window: Window) -> Self {
        [window.bytes, window.items]
    }
}
