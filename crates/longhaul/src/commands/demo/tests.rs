//! What can be said of the demo without starting it; the rest is in `tests/it`.

use super::*;

#[tokio::test]
async fn a_taken_default_moves_on_and_a_taken_wish_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let place = first_free(address).await.unwrap();
    assert!(place.address.port() > address.port());
    assert_eq!(place.instead_of, Some(address));
    let error = asked_for(address).await.unwrap_err().to_string();
    assert!(error.contains("--listen"), "{error}");
}

#[test]
fn addresses_to_open_are_addresses_one_can_go_to() {
    let check = |bound: &str, shown: &str| {
        assert_eq!(reachable(bound.parse().unwrap()), shown.parse().unwrap());
    };
    check("0.0.0.0:8080", "127.0.0.1:8080");
    check("[::]:8080", "[::1]:8080");
    check("192.0.2.1:80", "192.0.2.1:80");
}

#[test]
fn the_settings_of_the_demo_are_accepted_without_a_warning() {
    let [gateway, amber, teal, stage] =
        [1, 2, 3, 4].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000 + port)));
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let text = gateway::settings(gateway, "unix:/tmp/admin", &[amber, teal], stage);
    std::fs::write(file.path(), text).unwrap();
    let sources = crate::config::Sources { file: Some(file.path().into()), ..Default::default() };
    let loaded = crate::config::load(sources).map_err(|report| report.render(false)).unwrap();
    assert_eq!(loaded.report.warnings().collect::<Vec<_>>(), [""; 0]);
    let upstreams = &loaded.settings.gateway.upstreams;
    assert_eq!((upstreams.len(), upstreams[0].sources.len()), (2, 2));
}

#[test]
fn the_page_of_the_demo_has_everything_in_it() {
    let page = stage::page();
    for part in ["demo.css", "demo.js", "id=\"upgrade\"", "Try this", "<title>Longhaul demo"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<!-- "), "every place of the service's page is filled");
}
