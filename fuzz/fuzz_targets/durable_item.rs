//! Reads an arbitrary message as an item of `longhaul.v1`. What reads as one is written again and must
//! be the same; what does not is refused with 4900; control that reads is written and reads again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longhaul_proto::durable::{Body, Control, Form, Head, Item, Speaker, code};

fuzz_target!(|input: (bool, Vec<u8>)| {
    let (is_text, message) = input;
    let form = if is_text { Form::Text } else { Form::Binary };
    // Text has been found to be UTF-8 before anybody reads it as an item.
    if is_text && std::str::from_utf8(&message).is_err() {
        return;
    }
    match Item::parse(form, &message) {
        Ok(Item::Sequenced { seq, body }) => {
            let (kind, payload) = match body {
                Body::Message(payload) => (b'm', payload),
                Body::Chunk(payload) => (b'n', payload),
                Body::Event(payload) => (b'e', payload),
                Body::End { code, reason } => {
                    assert_eq!(message, format!("x{seq};{code};{reason}").into_bytes());
                    return;
                }
            };
            assert_eq!(message, [Head::sequenced(kind, seq).as_bytes(), payload].concat());
        }
        Ok(Item::Ack(seq)) => assert_eq!(message, Head::ack(seq).as_bytes()),
        Ok(Item::Ping(nonce)) => assert_eq!(message, Head::ping(nonce).as_bytes()),
        Ok(Item::Pong(nonce)) => assert_eq!(message, Head::pong(nonce).as_bytes()),
        Ok(Item::Control(text)) => {
            for speaker in [Speaker::Client, Speaker::Server] {
                if let Ok(control) = Control::parse(speaker, text) {
                    // What was left out may come back longer, but not other.
                    let again = Control::parse(speaker, &control.write());
                    assert!(again == Ok(control) || again == Err(code::FAULT));
                }
            }
        }
        Err(fault) => assert_eq!(fault, code::FAULT),
    }
});
