//! What one client may send: so large a message, so many a second, so many bytes a second.
//!
//! It follows frame headers by itself, ahead of what is passed on: a frame that is too much is not
//! begun. Sessions without limits have none of this.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::frozen::{age, ago};
use crate::websocket::frame::{HEADER_BYTES_MAX, Header};

/// Bounds on what a client sends. All unset: no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Payload bytes of one message, over all its fragments, as they are on the wire.
    pub message_bytes_max: Option<u64>,
    /// Messages each second; pings and pongs count as such.
    pub messages_per_second: Option<u32>,
    /// Payload bytes each second.
    pub bytes_per_second: Option<u64>,
}

impl Bounds {
    /// Whether there is nothing to watch.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// Which bound a client broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// One message is too large.
    Message,
    /// Too many messages within a second.
    Messages,
    /// Too many bytes within a second.
    Bytes,
}

#[derive(Debug)]
pub(super) struct Meter {
    bounds: Bounds,
    /// Bytes of the stream that were looked at and not yet passed on.
    ahead: usize,
    /// Payload of the current frame still to come.
    payload_rest: u64,
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    message_bytes: u64,
    messages: Level,
    bytes: Level,
    /// What was broken, until the session has dealt with it.
    pub(super) excess: Option<Excess>,
}

/// What a client has sent lately, as another process can take it up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct FrozenMeter {
    ahead: usize,
    payload_rest: u64,
    /// The start of a header that was split by a read.
    header: Vec<u8>,
    message_bytes: u64,
    messages: f64,
    messages_us: u64,
    bytes: f64,
    bytes_us: u64,
}

impl Meter {
    pub(super) fn new(bounds: Bounds, now: Instant) -> Self {
        Self {
            bounds,
            ahead: 0,
            payload_rest: 0,
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            message_bytes: 0,
            messages: Level { amount: 0.0, at: now },
            bytes: Level { amount: 0.0, at: now },
            excess: None,
        }
    }

    pub(super) fn freeze(&self, now: Instant) -> FrozenMeter {
        FrozenMeter {
            ahead: self.ahead,
            payload_rest: self.payload_rest,
            header: self.header[..self.header_len].to_vec(),
            message_bytes: self.message_bytes,
            messages: self.messages.amount,
            messages_us: age(self.messages.at, now),
            bytes: self.bytes.amount,
            bytes_us: age(self.bytes.at, now),
        }
    }

    /// `None` for what no meter can be in.
    pub(super) fn thaw(bounds: Bounds, frozen: &FrozenMeter, now: Instant) -> Option<Self> {
        let mut meter = Self::new(bounds, now);
        meter.header.get_mut(..frozen.header.len())?.copy_from_slice(&frozen.header);
        meter.header_len = frozen.header.len();
        meter.ahead = frozen.ahead;
        meter.payload_rest = frozen.payload_rest;
        meter.message_bytes = frozen.message_bytes;
        meter.messages = Level { amount: frozen.messages, at: ago(frozen.messages_us, now) };
        meter.bytes = Level { amount: frozen.bytes, at: ago(frozen.bytes_us, now) };
        Some(meter)
    }

    /// How many of these bytes, which follow on those said to be passed, may be.
    ///
    /// # Errors
    /// The bound that the next frame would break.
    pub(super) fn look(&mut self, bytes: &[u8], now: Instant) -> Result<usize, Excess> {
        while self.ahead < bytes.len() {
            let rest = &bytes[self.ahead..];
            if self.payload_rest > 0 {
                let here = usize::try_from(self.payload_rest).unwrap_or(usize::MAX).min(rest.len());
                self.payload_rest -= here as u64;
                self.ahead += here;
                continue;
            }
            let kept = self.header_len;
            let added = rest.len().min(HEADER_BYTES_MAX - kept);
            self.header[kept..kept + added].copy_from_slice(&rest[..added]);
            match Header::parse(&self.header[..kept + added]) {
                Ok(Some(header)) => {
                    // Not the frame's first byte is passed on when it is too much.
                    if let Err(excess) = self.weigh(&header, now) {
                        return if self.ahead == 0 { Err(excess) } else { Ok(self.ahead) };
                    }
                    self.header_len = 0;
                    self.payload_rest = header.payload_len;
                    self.ahead += header.len - kept;
                }
                Ok(None) => {
                    self.header_len = kept + added;
                    self.ahead += added;
                }
                // The scanner finds the same fault and says what follows from it.
                Err(_) => return Ok(bytes.len()),
            }
        }
        Ok(bytes.len())
    }

    /// Takes note of bytes that were passed on.
    pub(super) fn note_passed(&mut self, count: usize) {
        self.ahead = self.ahead.saturating_sub(count);
    }

    fn weigh(&mut self, header: &Header, now: Instant) -> Result<(), Excess> {
        let is_control = header.opcode.is_control();
        let message = if is_control { 0 } else { self.message_bytes } + header.payload_len;
        if !is_control && self.bounds.message_bytes_max.is_some_and(|max| message > max) {
            return Err(Excess::Message);
        }
        if self.bounds.messages_per_second.is_some_and(|max| self.messages.is_full(max.into(), now))
        {
            return Err(Excess::Messages);
        }
        if self.bounds.bytes_per_second.is_some_and(|max| self.bytes.is_full(max, now)) {
            return Err(Excess::Bytes);
        }
        self.bytes.amount += header.payload_len as f64;
        if header.is_final {
            self.messages.amount += 1.0;
        }
        if !is_control {
            self.message_bytes = if header.is_final { 0 } else { message };
        }
        Ok(())
    }
}

/// What was sent lately. It drains at the allowed rate and is full at one second's worth, so that
/// after a pause one large message passes whatever the rate.
#[derive(Debug)]
struct Level {
    amount: f64,
    at: Instant,
}

impl Level {
    fn is_full(&mut self, per_second: u64, now: Instant) -> bool {
        let per_second = per_second as f64;
        let drained = now.saturating_duration_since(self.at).as_secs_f64() * per_second;
        self.amount = (self.amount - drained).max(0.0);
        self.at = now;
        self.amount >= per_second
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        if payload < 126 {
            bytes.push(0x80 | payload as u8);
        } else {
            bytes.push(0x80 | 126);
            bytes.extend((payload as u16).to_be_bytes());
        }
        bytes.extend([1, 2, 3, 4]);
        bytes.resize(bytes.len() + payload, 0);
        bytes
    }

    /// How many bytes pass before a bound is broken, and which.
    fn run(bounds: Bounds, pieces: &[&[u8]], step: Duration) -> (usize, Option<Excess>) {
        let mut now = Instant::now();
        let (mut meter, mut passed) = (Meter::new(bounds, now), 0);
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                match meter.look(rest, now) {
                    Ok(count) => {
                        meter.note_passed(count);
                        passed += count;
                        rest = &rest[count..];
                    }
                    Err(excess) => return (passed, Some(excess)),
                }
            }
            now += step;
        }
        (passed, None)
    }

    #[test]
    fn a_message_counts_over_its_fragments_and_pings_do_not() {
        let bounds = Bounds { message_bytes_max: Some(100), ..Bounds::default() };
        let whole = frame(0x82, 100);
        assert_eq!(run(bounds, &[&whole], Duration::ZERO), (whole.len(), None));
        let pieces = [frame(0x02, 60), frame(0x89, 50), frame(0x00, 40), frame(0x80, 1)];
        let all = pieces.concat();
        let fine = all.len() - pieces[3].len();
        assert_eq!(run(bounds, &[&all], Duration::ZERO), (fine, Some(Excess::Message)));
        let two = [frame(0x82, 100), frame(0x82, 100)].concat();
        assert_eq!(run(bounds, &[&two], Duration::ZERO), (two.len(), None));
    }

    #[test]
    fn a_second_holds_so_many_messages_and_bytes() {
        let bounds = Bounds { messages_per_second: Some(5), ..Bounds::default() };
        let one = frame(0x81, 1);
        let six = [&one[..]; 6];
        assert_eq!(run(bounds, &six, Duration::ZERO).1, Some(Excess::Messages));
        assert_eq!(run(bounds, &six, Duration::from_millis(200)).1, None);
        let bounds = Bounds { bytes_per_second: Some(1000), ..Bounds::default() };
        let (large, small) = (frame(0x82, 5000), frame(0x81, 1));
        let large = [&large[..], &small];
        assert_eq!(run(bounds, &large, Duration::from_secs(3)).1, Some(Excess::Bytes));
        assert_eq!(run(bounds, &large, Duration::from_secs(6)).1, None);
    }

    proptest! {
        #[test]
        fn where_reads_cut_the_stream_does_not_matter(
            sizes in prop::collection::vec(0usize..300, 1..10),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bounds = Bounds { message_bytes_max: Some(250), ..Bounds::default() };
            let stream: Vec<u8> = sizes.iter().flat_map(|&size| frame(0x82, size)).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let (whole, excess) = run(bounds, &[&stream], Duration::ZERO);
            let (cut, excess_cut) = run(bounds, &pieces, Duration::ZERO);
            prop_assert_eq!(excess, excess_cut);
            // A header that was cut has begun to pass; no payload behind it has.
            prop_assert!((whole..whole + HEADER_BYTES_MAX).contains(&cut));
        }
    }
}
