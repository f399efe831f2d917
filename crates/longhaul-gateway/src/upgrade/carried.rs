//! The head of a request as it travels to another process.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Uri, Version};
use serde::{Deserialize, Serialize};

use super::spelling::{self, Spelling};

/// A head, with the spelling of its field names. There are credentials in it.
#[derive(Serialize, Deserialize)]
pub(crate) struct CarriedHead {
    method: String,
    target: String,
    is_http2: bool,
    /// Whether names go on as they are spelled here.
    is_spelled: bool,
    /// As a request in origin form.
    #[serde(with = "longhaul_proto::frozen::bytes")]
    fields: Vec<u8>,
}

impl CarriedHead {
    pub(crate) fn of(head: &Parts) -> Self {
        let spelling = head.extensions.get::<Spelling>();
        Self {
            method: head.method.to_string(),
            target: head.uri.to_string(),
            is_http2: head.version == Version::HTTP_2,
            is_spelled: spelling.is_some(),
            fields: spelling::write_request(head, &[], spelling),
        }
    }

    /// `None` for what no request can be.
    pub(crate) fn into_head(self) -> Option<Parts> {
        let mut head = spelling::read_request(Bytes::from(self.fields))?;
        head.method = Method::from_bytes(self.method.as_bytes()).ok()?;
        head.uri = self.target.parse::<Uri>().ok()?;
        if self.is_http2 {
            head.version = Version::HTTP_2;
        }
        if !self.is_spelled {
            head.extensions.remove::<Spelling>();
        }
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn there_and_back(head: &Parts) -> Parts {
        let text = serde_json::to_string(&CarriedHead::of(head)).unwrap();
        serde_json::from_str::<CarriedHead>(&text).unwrap().into_head().unwrap()
    }

    #[test]
    fn a_head_arrives_as_it_was_spelled() {
        let text = "GET /chat?a=%20 HTTP/1.1\r\nHost: a\r\nX-OdD: one\r\nCookie: a=\u{e9}\r\n\r\n";
        let head = spelling::read_request(text.as_bytes().into()).unwrap();
        let moved = there_and_back(&head);
        assert_eq!((&moved.uri, &moved.headers), (&head.uri, &head.headers));
        let spelling = moved.extensions.get::<Spelling>();
        let written = spelling::write_request(&moved, &[], spelling);
        assert_eq!(written, text.as_bytes());
    }

    #[test]
    fn one_of_http2_stays_one() {
        let request = Request::connect("https://chat.example/a?b").version(Version::HTTP_2);
        let head = request.header("x-a", "1").body(()).unwrap().into_parts().0;
        let moved = there_and_back(&head);
        assert_eq!((&moved.method, &moved.uri), (&head.method, &head.uri));
        assert_eq!((moved.version, &moved.headers), (head.version, &head.headers));
        assert!(moved.extensions.get::<Spelling>().is_none());
    }
}
