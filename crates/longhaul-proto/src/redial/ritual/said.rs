//! What a packet of Socket.IO says at its start.

/// What a text message says.
pub(super) struct Said<'a> {
    pub(super) kind: u8,
    pub(super) attachments: u32,
    /// Namespace and number, as they stand there.
    pub(super) address: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) has_number: bool,
}

/// Reads the start of a Socket.IO packet: `4`, kind, attachments and a dash, namespace and a comma,
/// number, payload.
pub(super) fn read(packet: &[u8]) -> Option<Said<'_>> {
    let [b'4', kind @ b'0'..=b'6', rest @ ..] = packet else { return None };
    let mut rest = rest;
    let mut attachments = 0;
    if matches!(kind, b'5' | b'6') {
        let dash = rest.iter().position(|byte| *byte == b'-')?;
        // However many are announced: what is held of them is bounded in bytes.
        attachments = str::from_utf8(&rest[..dash]).ok()?.parse().ok()?;
        rest = &rest[dash + 1..];
    }
    let (mut name, mut after) = (&b"/"[..], rest);
    if rest.first() == Some(&b'/') {
        let comma = rest.iter().position(|byte| *byte == b',');
        name = &rest[..comma.unwrap_or(rest.len())];
        after = comma.map_or(&[], |comma| &rest[comma + 1..]);
    }
    let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let address = &rest[..rest.len() - after.len() + digits];
    Some(Said { kind: *kind, attachments, address, name, has_number: digits > 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(packet: &str, kind: u8, attachments: u32, name: &str, address: &str) {
        let said = read(packet.as_bytes()).expect("it is one");
        let read = (said.kind, said.attachments, said.name, said.address);
        assert_eq!(read, (kind, attachments, name.as_bytes(), address.as_bytes()), "{packet}");
    }

    #[test]
    fn packets_of_every_form_are_read() {
        check("40", b'0', 0, "/", "");
        check("40{\"a\":1}", b'0', 0, "/", "");
        check("40/chat,{\"a\":1}", b'0', 0, "/chat", "/chat,");
        check("40/chat", b'0', 0, "/chat", "/chat");
        check("42[\"x\",1]", b'2', 0, "/", "");
        check("4217[\"x\"]", b'2', 0, "/", "17");
        check("43/chat,17[]", b'3', 0, "/chat", "/chat,17");
        check("451-[{}]", b'5', 1, "/", "");
        check("452-/chat,3[{}]", b'5', 2, "/chat", "/chat,3");
        check("41/chat,", b'1', 0, "/chat", "/chat,");
        assert!(read(b"2").is_none() && read(b"3probe").is_none() && read(b"47").is_none());
        assert!(read(b"45x-").is_none());
    }
}
