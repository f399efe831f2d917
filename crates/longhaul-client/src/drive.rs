//! The task of one session: owns its links and the machine that decides.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use longhaul_proto::durable::client::{Client, Output, SendError};
use longhaul_proto::durable::{Form, LinkKey, code};
use longhaul_proto::websocket::CloseCode;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::link::{self, Link, Read};
use crate::options::Options;
use crate::session::{Command, Event, Message};

/// How long a link that was closed may take to be written out.
const FAREWELL: Duration = Duration::from_secs(5);
/// Messages of one link before anything else gets its turn.
const MESSAGES_MAX: usize = 64;

struct Drive {
    options: Arc<Options>,
    client: Client,
    links: Vec<(LinkKey, Link)>,
    opened: mpsc::Sender<(LinkKey, Result<Link, Option<CloseCode>>)>,
    /// What the application has not taken yet.
    events: VecDeque<Event>,
    /// A message that the machine has no room for.
    refused: Option<(Form, Bytes)>,
    /// Links that were closed and wait for the gateway's close frame.
    parting: JoinSet<()>,
    is_over: bool,
}

pub(crate) async fn run(
    options: Options,
    mut orders: mpsc::Receiver<Command>,
    reports: mpsc::Sender<Event>,
) {
    let (opened, mut arrivals) = mpsc::channel(4);
    let mut drive = Drive {
        client: Client::new(options.policy.clone(), fastrand::u64(..), Instant::now()),
        options: Arc::new(options),
        links: Vec::new(),
        opened,
        events: VecDeque::new(),
        refused: None,
        parting: JoinSet::new(),
        is_over: false,
    };
    let mut has_owner = true;
    loop {
        let deadline = drive.settle();
        let far = || Instant::now() + Duration::from_secs(3600);
        let wake = sleep_until(deadline.unwrap_or_else(far).into());
        if drive.is_over && drive.events.len() <= 1 {
            // Before the application hears of the end, after which it may end as well: until the
            // gateway has the last acknowledgement it keeps the session for a client that is gone.
            drive.part().await;
            if let Some(closed) = drive.events.pop_front() {
                // Nobody listens any more.
                let _ = reports.send(closed).await;
            }
            return;
        }
        // Each arm only waits: a dropped one leaves nothing half done.
        tokio::select! {
            permit = reports.reserve(), if !drive.events.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(event) = drive.events.pop_front() {
                        permit.send(event);
                    }
                }
                // Nobody listens any more; the end is still said to the gateway.
                Err(_) => drive.events.clear(),
            },
            command = orders.recv(), if has_owner && drive.refused.is_none() => match command {
                Some(command) => drive.obey(command),
                None => {
                    has_owner = false;
                    drive.client.close(CloseCode::GOING_AWAY, "dropped", Instant::now());
                }
            },
            Some((key, link)) = arrivals.recv() => drive.arrive(key, link),
            () = poll_fn(|cx| drive.poll_links(cx)) => {}
            () = wake => drive.client.deadline_reached(Instant::now()),
        }
    }
}

impl Drive {
    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Send(form, payload) => self.send(form, payload, now),
            Command::Close(code, reason) => self.client.close(code, &reason, now),
            Command::Probe => self.client.probe(now),
            Command::Authenticate(credential) => self.client.authenticate(credential, now),
        }
    }

    fn send(&mut self, form: Form, payload: Bytes, now: Instant) {
        match self.client.send(form, payload.clone(), now) {
            Err(SendError::Full(_)) => self.refused = Some((form, payload)),
            Err(SendError::TooBig { .. }) => {
                // Nobody can be told which message it was, and the next must not take its place.
                self.client.close(CloseCode::TOO_BIG, "a message is too big", now);
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn arrive(&mut self, key: LinkKey, link: Result<Link, Option<CloseCode>>) {
        let now = Instant::now();
        match link {
            Ok(link) => {
                self.links.push((key, link));
                self.client.link_open(key, now);
            }
            Err(closed) => self.client.link_lost(key, closed, now),
        }
    }

    /// Reads and writes the links until nothing moves; ready when something did.
    fn poll_links(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let mut has_moved = false;
        let mut lost = Vec::new();
        // An application that does not listen is not read for either.
        let wants = self.events.len() < MESSAGES_MAX;
        for (key, link) in &mut self.links {
            let was_blocked = link.is_blocked();
            if let Poll::Ready(Err(_)) = link.poll_flush(cx) {
                lost.push((*key, None));
                continue;
            }
            if was_blocked != link.is_blocked() {
                has_moved = true;
            }
            for _ in 0..if wants { MESSAGES_MAX } else { 0 } {
                let Poll::Ready(read) = link.poll_read(cx) else { break };
                has_moved = true;
                match read {
                    Read::Message(form, message) => self.client.receive(*key, form, &message, now),
                    Read::Closed(closed) => {
                        lost.push((*key, closed));
                        break;
                    }
                    Read::Fault(fault) => {
                        let is_big = fault == CloseCode::TOO_BIG;
                        lost.push((*key, Some(if is_big { code::TOO_BIG } else { code::FAULT })));
                        break;
                    }
                }
            }
        }
        for (key, closed) in lost {
            has_moved = true;
            self.links.retain(|(other, _)| *other != key);
            self.client.link_lost(key, closed, now);
        }
        if has_moved { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Does what the machine wants done. Returns when it wants to be looked at.
    fn settle(&mut self) -> Option<Instant> {
        if let Some((form, payload)) = self.refused.take() {
            self.send(form, payload, Instant::now());
        }
        loop {
            for (key, link) in &self.links {
                self.client.note_blocked(*key, link.is_blocked());
            }
            match self.client.poll() {
                Output::Wait(deadline) => return deadline,
                output => self.act(output),
            }
        }
    }

    fn act(&mut self, output: Output) {
        let event = match output {
            Output::Connect { link, .. } => return self.connect(link),
            Output::Send { link, form, head, payload } => {
                if let Some(link) = self.link(link) {
                    link.send(form, &head, &payload);
                }
                return;
            }
            Output::Close { link, code } => {
                if let Some(at) = self.links.iter().position(|(key, _)| *key == link) {
                    let (_, mut link) = self.links.swap_remove(at);
                    link.close(code);
                    while self.parting.try_join_next().is_some() {}
                    self.parting.spawn(see_off(link));
                }
                return;
            }
            Output::Abort(link) => return self.links.retain(|(key, _)| *key != link),
            Output::Wait(_) => return,
            Output::Opened { protocol } => Event::Opened { protocol },
            Output::Interrupted => Event::Interrupted,
            Output::Resumed => Event::Resumed,
            Output::Message { form: Form::Text, payload } => {
                Event::Message(Message::Text(String::from_utf8_lossy(&payload).into_owned()))
            }
            Output::Message { form: Form::Binary, payload } => {
                Event::Message(Message::Binary(payload))
            }
            Output::Event(json) => Event::Told(String::from_utf8_lossy(&json).into_owned()),
            Output::LoginWanted { within } => Event::LoginWanted { within },
            Output::LoginRefused { reason } => Event::LoginRefused { reason },
            Output::Closed { code, reason, was_clean } => {
                self.is_over = true;
                Event::Closed { code: code.0, reason, was_clean }
            }
        };
        self.events.push_back(event);
    }

    fn link(&mut self, key: LinkKey) -> Option<&mut Link> {
        self.links.iter_mut().find(|(other, _)| *other == key).map(|(_, link)| link)
    }

    fn connect(&self, key: LinkKey) {
        let (options, opened, patience) =
            (self.options.clone(), self.opened.clone(), self.options.policy.patience);
        // Ends by its deadline; what it brings then is dropped with the channel.
        tokio::spawn(async move {
            let link = timeout(patience, link::open(options)).await.unwrap_or(Err(None));
            let _ = opened.send((key, link)).await;
        });
    }

    /// The session is over: what the machine still says is written, and the gateway closes.
    async fn part(&mut self) {
        let rest = async {
            loop {
                let deadline = self.settle();
                if self.links.is_empty() {
                    while self.parting.join_next().await.is_some() {}
                    return;
                }
                let wake = sleep_until(deadline.unwrap_or_else(Instant::now).into());
                tokio::select! {
                    () = poll_fn(|cx| self.poll_links(cx)) => {}
                    () = wake => self.client.deadline_reached(Instant::now()),
                }
            }
        };
        let _ = timeout(FAREWELL, rest).await;
    }
}

/// Writes the close frame and waits for the gateway's.
async fn see_off(mut link: Link) {
    let farewell = poll_fn(|cx| {
        if matches!(link.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(());
        }
        match link.poll_read(cx) {
            Poll::Ready(Read::Message(..)) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Read::Closed(_) | Read::Fault(_)) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    });
    let _ = timeout(FAREWELL, farewell).await;
}
