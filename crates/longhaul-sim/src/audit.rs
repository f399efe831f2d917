//! What must hold of what arrives: each message once, in order, and as it was sent.

use bytes::Bytes;
use longhaul_proto::durable::Form;

/// What one end receives in one direction.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub(crate) received: u64,
}

/// Message `index` of a direction: its number, and filler that depends on it.
pub(crate) fn message(session: u64, index: u64, bytes_max: usize) -> (Form, Bytes) {
    let form = if index % 3 == 2 { Form::Binary } else { Form::Text };
    let mut text = format!("{session}:{index}:");
    // Different sizes, some of them empty of filler and some of many chunks.
    let len = (index as usize * 7919 + 13) % (bytes_max + 1);
    while text.len() < len {
        text.push(if text.len() + 3 <= bytes_max && index.is_multiple_of(2) { '€' } else { 'x' });
    }
    (form, Bytes::from(text))
}

impl Audit {
    /// Takes the next message.
    ///
    /// # Errors
    /// When it is not the one that comes next.
    pub(crate) fn take(
        &mut self,
        session: u64,
        form: Form,
        payload: &Bytes,
        bytes_max: usize,
    ) -> Result<(), String> {
        let expected = message(session, self.received, bytes_max);
        if (form, payload) != (expected.0, &expected.1) {
            return Err(format!(
                "expected message {} ({:?}), got {form:?} {:?}",
                self.received,
                expected.1,
                String::from_utf8_lossy(payload)
            ));
        }
        self.received += 1;
        Ok(())
    }
}
