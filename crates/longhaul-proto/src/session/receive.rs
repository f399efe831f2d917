//! What a leg sent: what passes, what is swallowed, what it means for the end.

use std::time::Instant;

use super::ending::begin_closing;
use super::{Cause, Session, Side, State, Step, mask_key};
use crate::websocket::frame::CONTROL_PAYLOAD_BYTES_MAX;
use crate::websocket::{CloseCode, ControlFrame, Found, Opcode};

impl Session {
    /// Takes bytes that `from` sent; call again with what was not consumed. Never called with no
    /// bytes; `now` never goes back.
    pub fn receive<'a>(&'a mut self, from: Side, bytes: &'a [u8], now: Instant) -> Step<'a> {
        self.now = now;
        self.leg_mut(from).keepalive.note_heard(now);
        if self.leg(from).is_dead || self.leg(from).is_garbled {
            return Step { consumed: bytes.len(), forward: &[] };
        }
        if !self.leg(from.other()).takes_bytes() {
            return self.receive_unforwarded(from, bytes);
        }
        // A farewell goes out at the first boundary, so no frame behind it may be begun.
        let bytes = match self.leg(from.other()).farewell {
            Some(_) => &bytes[..self.leg(from).scanner.bytes_to_boundary().min(bytes.len())],
            None => bytes,
        };
        if bytes.is_empty() {
            // At the boundary with a farewell due: `poll` sends it, then the rest is dropped.
            return Step { consumed: 0, forward: &[] };
        }
        let bytes = match &mut self.meter {
            Some(meter) if from == Side::Client => match meter.look(bytes, now) {
                Ok(fine) => &bytes[..fine],
                Err(excess) => {
                    // `poll` ends the session over it.
                    meter.excess = Some(excess);
                    self.client.is_garbled = true;
                    self.rest = None;
                    return Step { consumed: bytes.len(), forward: &[] };
                }
            },
            _ => bytes,
        };
        self.receive_forwarded(from, bytes)
    }

    fn receive_forwarded<'a>(&'a mut self, from: Side, bytes: &'a [u8]) -> Step<'a> {
        let now = self.now;
        let (leg, to) = match from {
            Side::Client => (&mut self.client, &mut self.backend),
            Side::Backend => (&mut self.backend, &mut self.client),
        };
        let meter = self.meter.as_mut().filter(|_| from == Side::Client);
        let note_passed = |count| {
            if let Some(meter) = meter {
                meter.note_passed(count);
            }
        };
        match leg.scanner.next(bytes) {
            Ok(Found::Data(len)) => {
                note_passed(len);
                to.keepalive.note_spoken(now);
                self.data_at = now;
                if let State::Closing { until, is_renewed: true, .. } = &mut self.state {
                    *until = now + self.policy.linger;
                }
                Step { consumed: len, forward: &bytes[..len] }
            }
            Ok(Found::Held) => {
                note_passed(bytes.len());
                Step { consumed: bytes.len(), forward: &[] }
            }
            Ok(Found::Control { frame, consumed }) => {
                note_passed(consumed);
                self.rest = None;
                let opcode = frame.header.opcode;
                let is_own_pong = opcode == Opcode::PONG && carries(&frame, &self.ping_payload);
                // A leg that answers the gateway's own close: only the client is still listened to
                // after it, for what it had begun to say.
                let is_answer = opcode == Opcode::CLOSE && leg.is_dismissed;
                if is_answer {
                    leg.finish.order();
                    to.dismiss(
                        CloseCode::GOING_AWAY,
                        "client left",
                        Some(mask_key(&mut self.random)),
                    );
                }
                if is_own_pong || is_answer {
                    return Step { consumed, forward: &[] };
                }
                to.keepalive.note_spoken(now);
                if opcode == Opcode::CLOSE {
                    leg.has_closed = true;
                    let cause = Cause::Closed { by: from, code: frame.close_code() };
                    let until = now + self.policy.linger;
                    begin_closing(&mut self.state, cause, until, false);
                }
                Step { consumed, forward: frame.wire }
            }
            Err(fault) => {
                // `poll` ends the session over it: here the leg is still lent out.
                self.rest = None;
                leg.is_garbled = true;
                leg.fault = Some(fault);
                Step { consumed: bytes.len(), forward: &[] }
            }
        }
    }

    /// Reads on without passing anything: only a close frame still means something.
    fn receive_unforwarded(&mut self, from: Side, bytes: &[u8]) -> Step<'static> {
        let leg = self.leg_mut(from);
        let consumed = match leg.scanner.next(bytes) {
            Ok(Found::Data(len)) => len,
            Ok(Found::Held) => bytes.len(),
            Ok(Found::Control { frame, consumed }) => {
                // The answer to the gateway's own close: this connection ends now, even if the peer
                // keeps it open (RFC 6455 §7.1.1 has the server close it).
                if frame.header.opcode == Opcode::CLOSE && leg.is_dismissed {
                    leg.finish.order();
                    leg.has_ended = true;
                    self.end_across(from);
                }
                consumed
            }
            Err(_) => {
                leg.is_garbled = true;
                bytes.len()
            }
        };
        Step { consumed, forward: &[] }
    }
}

fn carries(frame: &ControlFrame<'_>, payload: &[u8]) -> bool {
    frame.payload(&mut [0; CONTROL_PAYLOAD_BYTES_MAX]) == payload
}
