//! Addresses in text, as the standard library writes them.
//!
//! The library's own way goes through its machinery for numbers of any width: 1,500 instructions for
//! an IPv4 address, of which every WebSocket wants five.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Shows an address: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
#[derive(Debug, Clone, Copy)]
pub struct Shown<A>(pub A);

impl fmt::Display for Shown<IpAddr> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => f.write_str(Text::of(address).as_str()),
            IpAddr::V6(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Shown<SocketAddr> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SocketAddr::V4(address) => {
                let mut text = Text::of(*address.ip());
                text.push(b':');
                text.push_number(address.port());
                f.write_str(text.as_str())
            }
            SocketAddr::V6(address) => address.fmt(f),
        }
    }
}

/// The longest is `255.255.255.255:65535`.
#[derive(Default)]
struct Text {
    bytes: [u8; 21],
    len: usize,
}

impl Text {
    fn of(address: Ipv4Addr) -> Self {
        let mut text = Self::default();
        for (at, octet) in address.octets().into_iter().enumerate() {
            if at > 0 {
                text.push(b'.');
            }
            text.push_number(octet.into());
        }
        text
    }

    fn push_number(&mut self, number: u16) {
        if number >= 10 {
            self.push_number(number / 10);
        }
        self.push(b'0' + (number % 10) as u8);
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("only digits and marks were pushed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_standard_library_shows() {
        let octets = |number: u32| IpAddr::from(number.wrapping_mul(2_654_435_761).to_be_bytes());
        let some = (0..5000).map(octets);
        let edges =
            ["0.0.0.0", "9.10.99.100", "255.255.255.255", "::", "2001:db8::1", "::ffff:1.2.3.4"];
        let edges = edges.map(|address| address.parse().unwrap());
        for (port, address) in
            (0..=u16::MAX).step_by(13).chain([9, 10, u16::MAX]).zip(some.chain(edges))
        {
            assert_eq!(Shown(address).to_string(), address.to_string());
            let address = SocketAddr::new(address, port);
            assert_eq!(Shown(address).to_string(), address.to_string());
        }
        let last = SocketAddr::from(([255; 4], u16::MAX));
        assert_eq!(Shown(last).to_string(), "255.255.255.255:65535");
    }
}
