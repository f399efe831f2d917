//! STUB of the lead's, to be overwritten by the proto room.
#![allow(missing_docs)]
pub enum Protocol { NeedMore, Http1, Raw }
pub fn classify(bytes: &[u8]) -> Protocol { match bytes.first() { None => Protocol::NeedMore, Some(b'A'..=b'Z') => Protocol::Http1, _ => Protocol::Raw } }
