//! A ledger that loses nothing and books nothing twice, whichever of its replicas die: every message is a
//! booking, answered with its place; what is stored of the session is stored with it, in one step.
//!
//! `ledger DIRECTORY [ADDRESS]`, as often as you like on one directory; then a gateway in front:
//! `longhaul run --replica ADDRESS --replica ADDRESS …`. The directory stands for your database: one file
//! for each session, replaced as a whole under a lock.
// An example talks to its terminal.
#![allow(clippy::print_stdout)]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use longhaul_backend::{
    Answer, Change, Form, Kind, Message, Numbered, Received, Saved, Session, Store, StoreError,
    Upgrade,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How often a session is told of its own accord.
const TICK: Duration = Duration::from_millis(20);

#[allow(dead_code, reason = "stories include this file and start the replica by themselves")]
#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory =
        arguments.next().ok_or_else(|| io::Error::other("ledger DIRECTORY [ADDRESS]"))?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    serve(Path::new(&directory), &address).await
}

/// Serves `/ws` until the process ends.
pub(crate) async fn serve(directory: &Path, address: &str) -> io::Result<()> {
    let ledger = Arc::new(Ledger { directory: directory.to_owned() });
    let listener = TcpListener::bind(address).await?;
    println!("listening {}", listener.local_addr()?.port());
    axum::serve(listener, Router::new().route("/ws", get(open)).with_state(ledger)).await
}

async fn open(State(ledger): State<Arc<Ledger>>, upgrade: Upgrade) -> Response {
    upgrade.on_session(ledger.clone(), |session| async move {
        // Where the leg is gone, the next one goes on.
        let _ = book(session, &ledger).await;
    })
}

/// Books what comes, and says so; and ticks.
async fn book(mut session: Session, ledger: &Ledger) -> Result<(), Box<dyn std::error::Error>> {
    let sid = session.sid();
    let page = ledger.read(sid.as_deref())?;
    let (mut bookings, mut ticks) = (count(&page, "bookings"), count(&page, "ticks"));
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            received = session.receive() => match received {
                Some(Received::Message { seq, message }) => {
                    bookings += 1;
                    let answer = match message {
                        Message::Text(text) if text == "drain" => {
                            session.drain();
                            Message::Text(format!("{bookings} drain {}", std::process::id()))
                        }
                        Message::Text(text) => Message::Text(format!("{bookings} {text}")),
                        binary @ Message::Binary(_) => binary,
                    };
                    let prepared = session.prepare(Some(seq), [answer]).await?;
                    // The booking and the session, in one step.
                    ledger.write(prepared.change(), |page| page["bookings"] = json!(bookings))?;
                    prepared.apply()?;
                }
                _ => return Ok(()),
            },
            _ = tick.tick() => {
                ticks += 1;
                let prepared = session.prepare(None, [Message::Text(format!("tick {ticks}"))]).await?;
                ledger.write(prepared.change(), |page| page["ticks"] = json!(ticks))?;
                prepared.apply()?;
            }
        }
    }
}

/// A directory with a page for each session.
#[derive(Debug)]
struct Ledger {
    directory: PathBuf,
}

impl Ledger {
    /// A page as it is; one that nobody has written is empty.
    fn read(&self, sid: Option<&str>) -> io::Result<Value> {
        let Some(sid) = sid else { return Ok(json!({})) };
        match fs::read(self.page(sid)?) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(json!({})),
            Err(error) => Err(error),
        }
    }

    /// Where a page lies. Names come from the network; a gateway's are hexadecimal.
    fn page(&self, sid: &str) -> io::Result<PathBuf> {
        if sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            Ok(self.directory.join(sid))
        } else {
            Err(io::Error::other("a name that no gateway gives"))
        }
    }

    /// Changes a page as a whole, for this leg or a later one, while nobody else does.
    fn replace(
        &self,
        sid: &str,
        (leg, is_claim): (u64, bool),
        change: impl FnOnce(&mut Value),
    ) -> Result<Value, StoreError> {
        let lock = File::create(self.directory.join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut page = self.read(Some(sid)).map_err(failed)?;
        let fence = page["leg"].as_u64();
        // Only claims begin a page, or turn it to another leg.
        if is_claim && fence.is_some_and(|fence| fence > leg) || !is_claim && fence != Some(leg) {
            return Err(StoreError::Fenced);
        }
        page["leg"] = json!(leg);
        change(&mut page);
        let path = self.page(sid).map_err(failed)?;
        let new = path.with_extension("new");
        fs::write(&new, page.to_string()).map_err(failed)?;
        fs::rename(new, path).map_err(failed)?;
        Ok(page)
    }

    /// Stores a change of a session together with its effect.
    fn write(&self, change: &Change, effect: impl FnOnce(&mut Value)) -> Result<(), StoreError> {
        let Some(sid) = &change.sid else { return Ok(()) };
        self.replace(sid, (change.leg, false), |page| {
            page["recv"] = json!(change.recv);
            page["sent"] = json!(change.sent);
            let kept = page["unacked"].as_array().cloned().unwrap_or_default();
            let kept = kept.into_iter().filter(|item| count(item, "seq") > change.acked);
            page["unacked"] = kept.chain(change.items.iter().map(to_json)).collect();
            effect(page);
        })?;
        Ok(())
    }
}

impl Store for Ledger {
    fn claim<'a>(&'a self, sid: &'a str, leg: u64) -> Answer<'a, Saved> {
        Box::pin(async move {
            let page = self.replace(sid, (leg, true), |_| {})?;
            let unacked = page["unacked"].as_array().cloned().unwrap_or_default();
            Ok(Saved {
                recv: page["recv"].as_u64(),
                sent: count(&page, "sent"),
                unacked: unacked.iter().map(from_json).collect(),
            })
        })
    }

    fn save<'a>(&'a self, change: &'a Change) -> Answer<'a, ()> {
        Box::pin(async move { self.write(change, |_| {}) })
    }

    fn forget<'a>(&'a self, sid: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { self.page(sid).and_then(fs::remove_file).map_err(failed) })
    }
}

fn failed(error: io::Error) -> StoreError {
    StoreError::Failed(error.into())
}

fn count(page: &Value, name: &str) -> u64 {
    page[name].as_u64().unwrap_or(0)
}

fn to_json(item: &Numbered) -> Value {
    let kind = char::from(item.kind.letter()).to_string();
    let payload = match item.form {
        Form::Text => json!(String::from_utf8_lossy(&item.payload)),
        Form::Binary => json!(item.payload.to_vec()),
    };
    json!({"seq": item.seq, "kind": kind, "payload": payload})
}

fn from_json(item: &Value) -> Numbered {
    let (form, payload) = match &item["payload"] {
        Value::String(text) => (Form::Text, text.clone().into_bytes()),
        bytes => {
            let bytes = bytes.as_array().into_iter().flatten();
            (Form::Binary, bytes.map(|byte| byte.as_u64().unwrap_or(0) as u8).collect())
        }
    };
    let letter = item["kind"].as_str().and_then(|kind| kind.bytes().next());
    Numbered {
        seq: count(item, "seq"),
        kind: letter.and_then(Kind::of).unwrap_or(Kind::Message),
        form,
        payload: payload.into(),
    }
}
