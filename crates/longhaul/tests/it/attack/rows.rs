//! The attacks, one row each: what is sent, and the answers that are right for it.

/// One request that must not pass: its name, its bytes, the statuses that are right.
pub(super) type Row = (&'static str, &'static str, &'static [u16]);

/// Ambiguous framing (RFC 9112 §6, §7, §11.2): two parsers could see two different requests.
pub(super) const FRAMING: &[Row] = &[
    (
        "both framings",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n",
        &[400],
    ),
    (
        "both framings, chunked first",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n",
        &[400],
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    (
        "chunked as a list",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    ("identity", "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: identity\r\n\r\n", &[400, 501]),
    (
        "gzip, chunked",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    (
        "tab before chunked",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    (
        "chunked in quotes",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    (
        "chunked with a parameter",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    (
        "chunked misspelt",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        &[400, 501],
    ),
    (
        "chunked in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    ("signed length", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: +5\r\n\r\nhello", &[400]),
    ("negative length", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: -5\r\n\r\nhello", &[400]),
    (
        "hexadecimal length",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0x5\r\n\r\nhello",
        &[400],
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        &[400],
    ),
    (
        "the same length twice",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        &[400],
    ),
    ("list of lengths", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5, 5\r\n\r\nhello", &[400]),
    (
        "empty length",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length:\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n",
        &[400],
    ),
    (
        "length beyond 64 bits",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
        &[400],
    ),
    (
        "length beyond 63 bits",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 9223372036854775808\r\n\r\nhello",
        &[400],
    ),
];

/// Chunks that two parsers could read differently (RFC 9112 §7.1); the head alone is in order.
pub(super) const CHUNKS: &[(&str, &str)] = &[
    ("size overflows", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
    ("size with a space", " 5\r\nhello\r\n0\r\n\r\n"),
    ("size empty", "\r\nhello\r\n0\r\n\r\n"),
    ("size with an underscore", "1_0\r\nhellohellohelloh\r\n0\r\n\r\n"),
    ("bare LF after the size", "5\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
    ("bare LF in an extension", "5;a\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
    ("bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("no CRLF after the data", "5\r\nhelloXX0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
    ("bare LF after the data", "5\r\nhello\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
];

/// Syntax (RFC 9112 §2 to §5).
pub(super) const SYNTAX: &[Row] = &[
    ("bare LF after the request line", "GET / HTTP/1.1\nHost: t\r\n\r\n", &[400]),
    ("bare LF between fields", "GET / HTTP/1.1\r\nHost: t\nX: 1\r\n\r\n", &[400]),
    ("bare LFs at the end", "GET / HTTP/1.1\r\nHost: t\n\n", &[400]),
    ("bare CR in a value", "GET / HTTP/1.1\r\nHost: t\r\nX: a\rb\r\n\r\n", &[400]),
    ("NUL in a value", "GET / HTTP/1.1\r\nHost: t\r\nX: a\0b\r\n\r\n", &[400]),
    ("control byte in a value", "GET / HTTP/1.1\r\nHost: t\r\nX: a\x01b\r\n\r\n", &[400]),
    ("folded field", "GET / HTTP/1.1\r\nHost: t\r\nX: a\r\n b\r\n\r\n", &[400]),
    ("space before the colon", "GET / HTTP/1.1\r\nHost : t\r\n\r\n", &[400]),
    ("space in a name", "GET / HTTP/1.1\r\nHost: t\r\nX Y: 1\r\n\r\n", &[400]),
    ("empty name", "GET / HTTP/1.1\r\nHost: t\r\n: 1\r\n\r\n", &[400]),
    ("no colon", "GET / HTTP/1.1\r\nHost: t\r\nnonsense\r\n\r\n", &[400]),
    ("space before the first field", "GET / HTTP/1.1\r\n Host: t\r\n\r\n", &[400]),
    ("no Host", "GET / HTTP/1.1\r\n\r\n", &[400]),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: t\r\nHost: u\r\n\r\n", &[400]),
    ("the same Host twice", "GET / HTTP/1.1\r\nHost: t\r\nHost: t\r\n\r\n", &[400]),
    ("invalid Host", "GET / HTTP/1.1\r\nHost: t/x@y\r\n\r\n", &[400]),
    ("list of Hosts", "GET / HTTP/1.1\r\nHost: t, u\r\n\r\n", &[400]),
    ("HTTP/0.9", "GET /smuggled\r\n\r\n", &[400, 505]),
    ("HTTP/2.0 in a line", "GET / HTTP/2.0\r\nHost: t\r\n\r\n", &[400, 505]),
    ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: t\r\n\r\n", &[400, 505]),
    ("http in lower case", "GET / http/1.1\r\nHost: t\r\n\r\n", &[400, 505]),
    ("two spaces", "GET  / HTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("tab for a space", "GET\t/\tHTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("space in the target", "GET /a b HTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("fragment in the target", "GET /a#b HTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("target without a slash", "GET a HTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("method with a space", "GE T / HTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("method that is no token", "G{}T / HTTP/1.1\r\nHost: t\r\n\r\n", &[400]),
    ("CONNECT", "CONNECT t:443 HTTP/1.1\r\nHost: t:443\r\n\r\n", &[400, 405, 501]),
    ("TRACE", "TRACE / HTTP/1.1\r\nHost: t\r\n\r\n", &[405, 501]),
    ("TLS on a plain port", "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03", &[400]),
    ("SSH", "SSH-2.0-OpenSSH_9.2p1\r\n", &[400]),
];

/// Upgrades that RFC 6455 §4.1 does not allow; what follows them must not become a tunnel.
pub(super) const UPGRADES: &[Row] = &[
    (
        "POST",
        "POST / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 0\r\n\r\n",
        &[400, 405, 426],
    ),
    (
        "with a body",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 5\r\n\r\nhello",
        &[400],
    ),
    (
        "with chunks",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    (
        "no key",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
        &[400],
    ),
    (
        "two keys",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        &[400],
    ),
    (
        "short key",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n\r\n",
        &[400],
    ),
    (
        "key that is not base64",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==\r\n\r\n",
        &[400],
    ),
    (
        "version 8",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        &[426],
    ),
    (
        "no version",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        &[400, 426],
    ),
];

/// What a backend answers to an upgrade, and what the client must get for it.
pub(super) const HANDSHAKES: &[(&str, &str, u16)] = &[
    ("200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
    ("403", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
    (
        "426",
        "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n",
        426,
    ),
    (
        "wrong Accept",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
        502,
    ),
    (
        "no Accept",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        502,
    ),
    (
        "no Upgrade",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        502,
    ),
    (
        "no Connection",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        502,
    ),
    (
        "another protocol",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        502,
    ),
    (
        "a subprotocol nobody offered",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: evil\r\n\r\n",
        502,
    ),
    ("garbage", "\x00\x01\x02 not HTTP at all\r\n\r\n", 502),
    ("HTTP/0.9", "hello", 502),
];
