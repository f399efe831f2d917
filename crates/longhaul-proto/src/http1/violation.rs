//! What can be wrong with a request, and what the client is told about it.

use crate::websocket::handshake::HandshakeFault;

/// Why a request was refused before any parser saw it. The connection ends with the answer:
/// after a framing fault nobody can say where the next request would begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A TLS handshake arrived where plain text is expected.
    #[error("this port speaks plain HTTP, but a TLS handshake arrived; use http:// or ws://")]
    TlsOnPlainPort,
    /// The preface of HTTP/2 arrived where HTTP/1.1 is expected.
    #[error("this port speaks HTTP/1.1, but HTTP/2 without negotiation arrived")]
    Http2OnHttp1Port,
    /// An SSH client said hello.
    #[error("this port speaks HTTP, but an SSH client arrived")]
    SshOnHttpPort,
    /// The request line is not `method SP target SP version`.
    #[error("the request line must be a method, a target and a version, with one space between")]
    RequestLine,
    /// A request line without a version.
    #[error("HTTP/0.9 requests are not served; send HTTP/1.1")]
    Http09,
    /// Well formed, but neither 1.0 nor 1.1.
    #[error("this HTTP version is not supported; send HTTP/1.1")]
    Version,
    /// CONNECT would turn the gateway into a tunnel to anywhere.
    #[error("CONNECT is not served")]
    Connect,
    /// TRACE would show the client what proxies added to its request.
    #[error("TRACE is not served")]
    Trace,
    /// The target has a form or a byte that no request may have.
    #[error("the request target is malformed; percent-encode unusual bytes")]
    Target,
    /// A fragment never leaves a browser.
    #[error("the request target must not have a fragment")]
    Fragment,
    /// The request line alone is longer than a head may be.
    #[error("the request target is too long")]
    TargetTooLong,
    /// The head is longer than the limit.
    #[error("the request head is too long")]
    HeadTooLong,
    /// The head has more fields than the limit.
    #[error("the request has too many header fields")]
    TooManyFields,
    /// The head did not arrive in time.
    #[error("the request head took too long to arrive")]
    HeadTimeout,
    /// The body stopped arriving.
    #[error("the request body stopped arriving")]
    BodyTimeout,
    /// A line that ends with LF alone.
    #[error("lines must end with CR LF, not with LF alone")]
    BareLf,
    /// A CR inside a line.
    #[error("a carriage return must be followed by a line feed")]
    BareCr,
    /// A line that goes on with white space, or starts the fields with it.
    #[error("header lines must not begin with white space")]
    LeadingWhitespace,
    /// White space between name and colon.
    #[error("header names must not be followed by white space")]
    SpaceBeforeColon,
    /// No colon, an empty name, or a name that is no token.
    #[error("a header line is malformed")]
    FieldName,
    /// NUL or another control byte in a value.
    #[error("a header value has a control character")]
    FieldValue,
    /// HTTP/1.1 without Host.
    #[error("the Host header is missing")]
    HostMissing,
    /// More than one Host.
    #[error("the Host header is there more than once")]
    HostRepeated,
    /// A Host that names no host.
    #[error("the Host header is malformed")]
    HostMalformed,
    /// Content-Length and Transfer-Encoding in one request: the mark of request smuggling.
    #[error("Content-Length and Transfer-Encoding must not be sent together")]
    LengthAndEncoding,
    /// Content-Length is not one number in range.
    #[error("Content-Length must be there once, as one number")]
    ContentLength,
    /// Transfer-Encoding is anything but one `chunked`.
    #[error("Transfer-Encoding must be exactly \"chunked\"")]
    TransferEncoding,
    /// A transfer coding before `chunked`.
    #[error("no transfer coding but \"chunked\" is supported")]
    TransferCoding,
    /// Transfer-Encoding in HTTP/1.0.
    #[error("HTTP/1.0 has no Transfer-Encoding")]
    EncodingInHttp10,
    /// The size line of a chunk is malformed or too large.
    #[error("a chunk size is malformed")]
    ChunkSize,
    /// A chunk extension is malformed or over 256 bytes, or all of them outweigh the data.
    #[error("a chunk extension is malformed or too long")]
    ChunkExtension,
    /// A chunk is not followed by CR LF.
    #[error("a chunk must be followed by CR LF")]
    ChunkEnd,
    /// A trailer is malformed.
    #[error("a trailer is malformed")]
    Trailer,
    /// Trailers over the limits of a head.
    #[error("the trailers are too long")]
    TrailersTooLong,
    /// HTTP/2: `:authority` and `host` name two hosts.
    #[error(":authority and Host must name the same host")]
    HostDisagrees,
    /// HTTP/2: a field value begins or ends with white space.
    #[error("a field value must not begin or end with white space")]
    PaddedValue,
    /// HTTP/2: an extended CONNECT for anything but a WebSocket.
    #[error("no :protocol but \"websocket\" is supported")]
    ConnectProtocol,
    /// A WebSocket upgrade that is none.
    #[error(transparent)]
    Handshake(#[from] HandshakeFault),
}

impl Violation {
    /// Status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Connect | Self::Trace => 405,
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::TargetTooLong => 414,
            Self::Handshake(fault) => fault.status(),
            Self::HeadTooLong | Self::TooManyFields | Self::TrailersTooLong => 431,
            Self::TransferCoding | Self::ConnectProtocol => 501,
            Self::Version | Self::Http2OnHttp1Port => 505,
            Self::TlsOnPlainPort
            | Self::SshOnHttpPort
            | Self::RequestLine
            | Self::Http09
            | Self::Target
            | Self::Fragment
            | Self::BareLf
            | Self::BareCr
            | Self::LeadingWhitespace
            | Self::SpaceBeforeColon
            | Self::FieldName
            | Self::FieldValue
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostMalformed
            | Self::LengthAndEncoding
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::EncodingInHttp10
            | Self::ChunkSize
            | Self::ChunkExtension
            | Self::ChunkEnd
            | Self::Trailer
            | Self::HostDisagrees
            | Self::PaddedValue => 400,
        }
    }

    /// A field the answer must carry besides the usual ones.
    pub fn extra_field(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Connect | Self::Trace => {
                Some(("allow", "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"))
            }
            Self::Handshake(HandshakeFault::Version) => Some(("sec-websocket-version", "13")),
            _ => None,
        }
    }

    /// The section that the request breaks, for logs and for the people who wrote the client.
    pub fn section(self) -> &'static str {
        match self {
            Self::TlsOnPlainPort | Self::SshOnHttpPort | Self::RequestLine => "RFC 9112 §3",
            Self::Http2OnHttp1Port => "RFC 9113 §3.3",
            Self::Http09 | Self::Version => "RFC 9112 §2.3",
            Self::Connect => "RFC 9110 §9.3.6",
            Self::Trace => "RFC 9110 §9.3.8",
            Self::Target | Self::Fragment => "RFC 9112 §3.2",
            Self::TargetTooLong => "RFC 9110 §15.5.15",
            Self::HeadTooLong | Self::TooManyFields => "RFC 6585 §5",
            Self::HeadTimeout | Self::BodyTimeout => "RFC 9110 §15.5.9",
            Self::BareLf | Self::BareCr | Self::LeadingWhitespace => "RFC 9112 §2.2",
            Self::SpaceBeforeColon => "RFC 9112 §5.1",
            Self::FieldName => "RFC 9110 §5.1",
            Self::FieldValue => "RFC 9110 §5.5",
            Self::HostMissing | Self::HostRepeated | Self::HostMalformed => "RFC 9112 §3.2",
            Self::LengthAndEncoding | Self::TransferEncoding | Self::EncodingInHttp10 => {
                "RFC 9112 §6.1"
            }
            Self::TransferCoding => "RFC 9112 §7",
            Self::ContentLength => "RFC 9110 §8.6",
            Self::ChunkSize | Self::ChunkEnd => "RFC 9112 §7.1",
            Self::ChunkExtension => "RFC 9112 §7.1.1",
            Self::Trailer | Self::TrailersTooLong => "RFC 9112 §7.1.2",
            Self::HostDisagrees => "RFC 9113 §8.3.1",
            Self::PaddedValue => "RFC 9113 §8.2.1",
            Self::ConnectProtocol => "RFC 9220 §3",
            Self::Handshake(fault) => fault.section(),
        }
    }
}
