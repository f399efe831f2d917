//! HTTP/2 connections, judged beside the library that speaks it (RFC 9113).
//!
//! The library refuses what breaks the protocol. What it does not do is tire of frames that are
//! cheap to send and dear to handle: [`Guard`] counts those. [`head`] adds the rules for requests
//! that matter to whoever passes them on as HTTP/1.1, and [`FrameScan`] follows frames without
//! reading them.
//!
//! Start at [`Guard::feed`].

mod allowance;
mod frame;
mod guard;
pub mod head;

pub use frame::{ENHANCE_YOUR_CALM, FrameHead, FrameScan, GOAWAY_BYTES, Kind, goaway};
pub use guard::{Excess, Guard, Waiting};
