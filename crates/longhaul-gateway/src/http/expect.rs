//! `Expect: 100-continue`, end to end (RFC 9110 §10.1.1): the client's body is not asked for before
//! the replica asks for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use http::HeaderMap;
use http::header::EXPECT;

/// Holds a request body back until the replica wants it. hyper tells the client 100 when the body
/// is first polled, so opening the gate is what sends it.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_open: AtomicBool,
    waker: AtomicWaker,
}

impl Gate {
    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.is_open.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Whether the client waits for a 100 before it sends its body.
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
