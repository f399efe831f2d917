//! Reads and writes single elements of `X-Forwarded-For` and `Forwarded` (RFC 7239 §4).

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;

use super::Scheme;

/// Splits one field value at its commas; a comma inside a quoted string is text. A value that is
/// not visible ASCII is one unreadable element.
pub(super) fn elements(value: &HeaderValue) -> Vec<&str> {
    let Ok(text) = value.to_str() else { return vec![""] };
    split_unquoted(text, ',').map(str::trim).collect()
}

/// Reads the address of one element: the whole of it, or its `for` parameter.
pub(super) fn address_of(element: &str, is_x: bool) -> Option<IpAddr> {
    if is_x {
        return node_address(element);
    }
    let mut nodes = split_unquoted(element, ';').filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    });
    let node = nodes.next()?;
    // Twice in one element is against RFC 7239 §4, and which one counts is anybody's guess.
    nodes.next().is_none().then(|| node_address(node)).flatten()
}

/// Writes one element, for a hop with this address. The client's own also names how it spoke, and to
/// which host.
pub(super) fn write_element(
    out: &mut String,
    address: &str,
    spoken: Option<(Scheme, Option<&HeaderValue>)>,
) {
    let is_v6 = address.contains(':');
    let (before, behind) = if is_v6 { ("for=\"[", "]\"") } else { ("for=", "") };
    out.extend([before, address, behind]);
    if let Some((scheme, host)) = spoken {
        if let Some(host) = host.and_then(|host| host.to_str().ok()).filter(|host| is_plain(host)) {
            out.extend([";host=\"", host, "\""]);
        }
        out.extend([";proto=", scheme.name()]);
    }
}

/// Whether a host can stand between quotes as it is. One that cannot is no host.
fn is_plain(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:80`, in
/// quotes or not.
fn node_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
        .map(|address| address.to_canonical())
}

fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    text.split(move |character| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        match character {
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        character == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(element: &str, is_x: bool, expected: Option<&str>) {
        let expected = expected.map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(address_of(element, is_x), expected, "{element}");
    }

    #[test]
    fn addresses_are_read_in_every_common_form() {
        for text in ["192.0.2.1", " 192.0.2.1 ", "192.0.2.1:8080", "::ffff:192.0.2.1"] {
            check(text, true, Some("192.0.2.1"));
        }
        for text in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443", "\"[2001:db8::1]:443\""] {
            check(text, true, Some("2001:db8::1"));
        }
        for text in ["", "unknown", "_hidden", "192.0.2.1, x", "192.0.2.999", "[", "\""] {
            check(text, true, None);
        }
    }

    #[test]
    fn the_for_parameter_of_an_element_counts() {
        check("for=192.0.2.1;proto=http;by=203.0.113.4", false, Some("192.0.2.1"));
        check("proto=http; FOR=\"[2001:db8::1]:80\"", false, Some("2001:db8::1"));
        check("host=\"a;for=192.0.2.9\"", false, None);
        check("for=192.0.2.1;for=192.0.2.2", false, None);
        check("for=unknown", false, None);
    }

    #[test]
    fn a_comma_in_quotes_separates_nothing() {
        let value = HeaderValue::from_static("host=\"a,\\\"b\";for=192.0.2.1, for=192.0.2.2");
        assert_eq!(elements(&value), ["host=\"a,\\\"b\";for=192.0.2.1", "for=192.0.2.2"]);
    }
}
