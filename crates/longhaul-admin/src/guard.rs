//! Refuses requests that a web page of somebody else made a browser send.
//!
//! A page whose name is re-pointed at this machine (DNS rebinding) may read whatever it fetches
//! from "itself". What gives it away is the `Host` it names. An address in `Host` cannot be
//! rebound, whichever it is, and probes of platforms name the address of the container; so names
//! are refused, except those that mean this machine or stand in the configuration, and addresses are
//! let through.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::uri::Authority;
use http::{StatusCode, Version, header};

use crate::api::problem;
use crate::desk::Desk;

/// Passes a request on if it was meant for this machine.
pub(crate) async fn refuse_foreign_hosts(
    State(desk): State<Desk>,
    request: Request,
    next: Next,
) -> Response {
    match judge(&request, &desk.hosts) {
        Verdict::Ours => next.run(request).await,
        Verdict::Foreign => problem(
            StatusCode::FORBIDDEN,
            "the admin API answers to localhost, to addresses and to the names in \
             server.admin_hosts; ask for http://127.0.0.1 or add this name",
        ),
        Verdict::Malformed => {
            problem(StatusCode::BAD_REQUEST, "exactly one valid Host header is needed")
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Ours,
    Foreign,
    Malformed,
}

/// The target's authority, where there is one, replaces `Host` (RFC 9112 §3.2.2).
fn judge<B>(request: &http::Request<B>, names: &[String]) -> Verdict {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) => authority,
            Err(_) => return Verdict::Malformed,
        },
        // Probes that speak HTTP/1.0 send none, and no browser is among them.
        (None, _) if request.version() == Version::HTTP_10 => return Verdict::Ours,
        _ => return Verdict::Malformed,
    };
    let host = request.uri().authority().unwrap_or(&host).host();
    let is_named = names.iter().any(|name| name.eq_ignore_ascii_case(host));
    if is_named || is_this_machine(host) { Verdict::Ours } else { Verdict::Foreign }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(hosts: &[&str], expected: Verdict) {
        let mut request = http::Request::get("/status");
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let names = ["gateway.internal".to_owned()];
        assert_eq!(judge(&request.body(()).unwrap(), &names), expected, "{hosts:?}");
    }

    #[test]
    fn addresses_and_localhost_are_ours() {
        for host in ["127.0.0.1", "127.0.0.1:9090", "LOCALHOST:9090", "[::1]:9090", "10.1.2.3:9090"]
        {
            check(&[host], Verdict::Ours);
        }
    }

    #[test]
    fn names_of_the_configuration_are_ours() {
        check(&["Gateway.internal:9090"], Verdict::Ours);
        check(&["gateway.internal.evil.example"], Verdict::Foreign);
    }

    #[test]
    fn other_names_are_foreign() {
        for host in ["evil.example", "localhost.evil.example:9090", "127.0.0.1.evil.example", "x"] {
            check(&[host], Verdict::Foreign);
        }
    }

    #[test]
    fn no_host_two_hosts_and_garbage_are_malformed() {
        for hosts in [&[][..], &["127.0.0.1", "127.0.0.1"], &["a b"], &[""]] {
            check(hosts, Verdict::Malformed);
        }
    }

    #[test]
    fn the_authority_of_the_target_replaces_host() {
        let request = http::Request::get("http://evil.example/status")
            .header(header::HOST, "127.0.0.1")
            .body(())
            .unwrap();
        assert_eq!(judge(&request, &[]), Verdict::Foreign);
    }

    #[test]
    fn a_probe_that_speaks_http_1_0_needs_no_host() {
        let request = http::Request::get("/health").version(Version::HTTP_10).body(()).unwrap();
        assert_eq!(judge(&request, &[]), Verdict::Ours);
    }
}
