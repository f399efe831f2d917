//! Many sessions that send numbered messages to an echo server and note what comes back: `many JSON`, with the keys
//! `address`, `first`, `count`, `messages`, `pause` and `retry` (milliseconds). Prints what it noted, as JSON.
//!
//! It is a load client of `bench/sessions/mixed.mjs`, and shows how a program holds many sessions.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use longhaul_client::machine::Reconnect;
use longhaul_client::{Event, Message, Options, Session, connect};
use tokio::time::{interval, sleep, timeout};

/// Longer than any way back; whoever waits longer waits for what is lost.
const QUIET: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Task {
    address: String,
    first: usize,
    count: usize,
    messages: usize,
    pause: Duration,
    retry: Duration,
}

/// What clients have seen.
#[derive(Default)]
struct Noted {
    lost: usize,
    doubled: usize,
    out_of_order: usize,
    closed: Vec<u16>,
    resumed: Vec<Duration>,
}

#[tokio::main]
async fn main() {
    let task = Task::parse(&std::env::args().nth(1).expect("one argument: the task, as JSON"));
    let clients: Vec<_> = (task.first..task.first + task.count)
        .map(|client| tokio::spawn(Client::open(client, task.clone()).talk()))
        .collect();
    let mut all = Noted::default();
    for client in clients {
        let noted = client.await.expect("a client does not panic");
        all.lost += noted.lost;
        all.doubled += noted.doubled;
        all.out_of_order += noted.out_of_order;
        all.closed.extend(noted.closed);
        all.resumed.extend(noted.resumed);
    }
    let resumed: Vec<f64> = all.resumed.iter().map(|took| took.as_secs_f64() * 1000.0).collect();
    println!(
        "{{\"lost\":{},\"doubled\":{},\"outOfOrder\":{},\"closed\":{:?},\"resumed\":{resumed:?}}}",
        all.lost, all.doubled, all.out_of_order, all.closed
    );
}

/// One session.
struct Client {
    number: usize,
    task: Task,
    session: Session,
    seen: HashSet<usize>,
    last: Option<usize>,
    lost_at: Instant,
    noted: Noted,
}

impl Client {
    fn open(number: usize, task: Task) -> Self {
        let mut options = Options::new(&format!("ws://{}/", task.address)).unwrap();
        let steps = vec![task.retry];
        options.policy.reconnect =
            Reconnect { first: task.retry, steps, tries_max: None, ..Reconnect::default() };
        Self {
            number,
            task,
            session: connect(options),
            seen: HashSet::new(),
            last: None,
            lost_at: Instant::now(),
            noted: Noted::default(),
        }
    }

    async fn talk(mut self) -> Noted {
        let (messages, pause) = (self.task.messages, self.task.pause);
        sleep(pause.mul_f64(fastrand::f64())).await;
        let mut ticks = interval(pause);
        let mut sent = 0;
        while sent < messages && self.noted.closed.is_empty() {
            // Either arm only waits.
            tokio::select! {
                _ = ticks.tick() => {
                    let text = format!("{}:{sent}:{}", self.number, "x".repeat(sent % 100));
                    if self.session.send(Message::Text(text)).await.is_err() {
                        break;
                    }
                    sent += 1;
                }
                event = self.session.next() => self.hear(event),
            }
        }
        while self.seen.len() < messages && self.noted.closed.is_empty() {
            let Ok(event) = timeout(QUIET, self.session.next()).await else { break };
            self.hear(event);
        }
        self.noted.lost = messages - self.seen.len();
        if self.session.close(1000, "").await.is_ok() {
            while self.session.next().await.is_some() {}
        }
        self.noted
    }

    fn hear(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Message(Message::Text(text))) => {
                let number = text.split(':').nth(1).and_then(|number| number.parse().ok()).unwrap();
                if !self.seen.insert(number) {
                    self.noted.doubled += 1;
                } else if self.last.is_some_and(|last| number < last) {
                    self.noted.out_of_order += 1;
                }
                self.last = self.last.max(Some(number));
            }
            Some(Event::Interrupted) => self.lost_at = Instant::now(),
            Some(Event::Resumed) => self.noted.resumed.push(self.lost_at.elapsed()),
            Some(Event::Closed { code, .. }) => self.noted.closed.push(code),
            None => self.noted.closed.push(0),
            Some(_) => {}
        }
    }
}

impl Task {
    /// A flat object of numbers and one text needs no library.
    fn parse(json: &str) -> Self {
        let value = |key: &str| {
            let rest = json.split_once(&format!("\"{key}\":")).map(|(_, rest)| rest);
            let rest = rest.unwrap_or_else(|| panic!("the task has no {key}"));
            rest.split([',', '}']).next().unwrap_or_default().trim_matches('"').to_owned()
        };
        let number =
            |key: &str| value(key).parse::<usize>().unwrap_or_else(|_| panic!("{key}: no number"));
        let ms = |key: &str| Duration::from_millis(number(key) as u64);
        Self {
            address: value("address"),
            first: number("first"),
            count: number("count"),
            messages: number("messages"),
            pause: ms("pause"),
            retry: ms("retry"),
        }
    }
}
