//! The same session over a WebSocket that nobody resumes: numbers count what comes, and a commit only
//! sends its answers.

use std::collections::VecDeque;

use bytes::Bytes;
use longhaul_proto::durable::Form;
use longhaul_proto::durable::backend::{Change, Kind, Misuse, Numbered, Output};
use longhaul_proto::durable::{Head, code};
use longhaul_proto::websocket::CloseCode;

/// What takes the machine's place.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    received: u64,
    numbered: u64,
    pub(crate) waiting_bytes: usize,
    outbox: VecDeque<Output>,
    has_ended: bool,
    pub(crate) is_gone: bool,
}

impl Plain {
    pub(crate) fn receive(&mut self, form: Form, payload: Bytes) {
        self.received += 1;
        self.outbox.push_back(Output::Message { seq: self.received, form, payload });
    }

    /// The client has closed.
    pub(crate) fn ended(&mut self, code: CloseCode, reason: String) {
        self.received += 1;
        self.outbox.push_back(Output::End { seq: self.received, code, reason });
    }

    pub(crate) fn change(
        &mut self,
        recv: Option<u64>,
        messages: Vec<(Form, Bytes)>,
    ) -> Result<Change, Misuse> {
        self.check(recv)?;
        let items = messages.into_iter().map(|(form, payload)| {
            self.numbered += 1;
            Numbered { seq: self.numbered, kind: Kind::Message, form, payload }
        });
        let items = items.collect();
        Ok(self.changed(recv, items))
    }

    pub(crate) fn end(
        &mut self,
        recv: Option<u64>,
        code: CloseCode,
        reason: &str,
    ) -> Result<Change, Misuse> {
        self.check(recv)?;
        self.has_ended = true;
        self.numbered += 1;
        let payload = format!("{};{reason}", code.0).into();
        let end = Numbered { seq: self.numbered, kind: Kind::End, form: Form::Text, payload };
        Ok(self.changed(recv, vec![end]))
    }

    pub(crate) fn apply(&mut self, change: Change) -> Result<(), Misuse> {
        if self.is_gone {
            return Err(Misuse::Detached);
        }
        for item in change.items {
            self.waiting_bytes += item.payload.len();
            self.outbox.push_back(match item.kind {
                Kind::Message | Kind::Chunk => {
                    Output::Send { form: item.form, head: Head::none(), payload: item.payload }
                }
                Kind::End => closing(&item.payload),
            });
        }
        Ok(())
    }

    pub(crate) fn poll(&mut self) -> Output {
        let output = self.outbox.pop_front().unwrap_or(Output::Idle);
        if let Output::Send { payload, .. } = &output {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(payload.len());
        }
        output
    }

    fn check(&self, recv: Option<u64>) -> Result<(), Misuse> {
        if self.is_gone {
            return Err(Misuse::Detached);
        }
        if self.has_ended {
            return Err(Misuse::Ended);
        }
        match recv.filter(|&recv| recv > self.received) {
            Some(recv) => Err(Misuse::NotReceived(recv)),
            None => Ok(()),
        }
    }

    fn changed(&self, recv: Option<u64>, items: Vec<Numbered>) -> Change {
        let recv = recv.unwrap_or(0);
        Change { sid: None, leg: 0, recv, sent: self.numbered, items, acked: 0 }
    }
}

/// The close frame that an end item stands for.
fn closing(payload: &[u8]) -> Output {
    let text = String::from_utf8_lossy(payload);
    let (code, reason) = text.split_once(';').unwrap_or(("1005", ""));
    let code = code.parse().map_or(code::NO_STATUS, CloseCode);
    Output::Close { code, reason: reason.to_owned() }
}
