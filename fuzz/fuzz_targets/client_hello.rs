//! The ClientHello reader beside that of rustls, and beside itself on every shorter input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longhaul_proto::client_hello::{self, HELLO_BYTES_MAX, Hello};
use longhaul_proto::detect::{self, Protocol};
use rustls::server::Acceptor;

fuzz_target!(|bytes: &[u8]| {
    let verdict = client_hello::read(bytes);
    for len in (0..bytes.len()).step_by(bytes.len() / 64 + 1) {
        let earlier = client_hello::read(&bytes[..len]);
        assert!(earlier == Ok(Hello::Partial) || earlier == verdict, "{earlier:?} at {len}");
    }
    if let Ok(Hello::Whole { server_name }) = &verdict {
        assert_eq!(detect::classify(bytes), Protocol::Tls);
        if let Some(name) = server_name {
            assert!(!name.is_empty() && name.len() <= 253 && !name.contains(char::is_uppercase));
            assert!(bytes.to_ascii_lowercase().windows(name.len()).any(|it| it == name.as_bytes()));
        }
    }
    // Where rustls finds a name, so must we: else a connection could be routed past a policy.
    if bytes.len() < HELLO_BYTES_MAX
        && let Some(name) = rustls_server_name(bytes)
    {
        assert_eq!(verdict, Ok(Hello::Whole { server_name: Some(name) }));
    }
});

fn rustls_server_name(mut bytes: &[u8]) -> Option<String> {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            return accepted.client_hello().server_name().map(str::to_ascii_lowercase);
        }
    }
    None
}
