//! Reads what `[server]` says about the admin API.

use std::path::Path;

use longhaul_admin::{Address, Terms, Token};
use longhaul_gateway::config::Listener;

use crate::config::problem::Problem;
use crate::config::read::Reader;
use crate::config::{AdminSettings, forms};

pub(super) fn read(
    server: &Reader<'_>,
    listeners: &[Listener],
    directory: &Path,
) -> Option<AdminSettings> {
    let token = token(server, directory);
    let hosts = server.parsed_list("admin_hosts", host).unwrap_or_default();
    let hosts: Vec<String> = hosts.into_iter().map(|(host, _)| host).collect();
    if !server.has("admin") {
        for name in ["admin_token", "admin_token_file"] {
            if server.has(name) {
                server.warn(name, "has no effect without server.admin", "set server.admin");
            }
        }
        return None;
    }
    let address = server.parsed("admin", |text| address(text, directory))?;
    if let Address::Tcp(admin) = &address {
        let is_taken = listeners.iter().any(|listener| listener.address == *admin);
        if admin.port() != 0 && is_taken {
            let title = format!("server.admin = \"{admin}\" is also an address of server.listen");
            let problem = Problem::error(server.at_key("admin"), title);
            server.report(problem.remedy("use a port of its own, as in \"127.0.0.1:9090\""));
        }
        if !admin.ip().is_loopback() {
            let danger = "everybody who reaches this address sees health and metrics, and with the \
                          token, sent in plain text, everything";
            server.warn("admin", danger, "keep it on 127.0.0.1 or behind a firewall");
        }
    }
    Some(AdminSettings { address, terms: Terms { token, hosts } })
}

fn address(text: &str, directory: &Path) -> Result<Address, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err("has no path; as in \"unix:/run/longhaul/admin.sock\"".to_owned()),
        Some(path) => Ok(Address::Unix(directory.join(path))),
        None => forms::address(text).map(Address::Tcp),
    }
}

fn host(text: &str) -> Result<String, String> {
    match forms::domain(text) {
        Ok(name) => Ok(name),
        Err(_) => {
            Err("is not a host name; write it without port, as in \"gateway.internal\"".into())
        }
    }
}

fn token(server: &Reader<'_>, directory: &Path) -> Option<Token> {
    let said = server.parsed("admin_token", Token::new);
    let file = server.parsed("admin_token_file", |path| {
        let path = directory.join(path);
        match std::fs::read_to_string(&path) {
            Ok(text) => Token::new(text.trim()),
            Err(error) => Err(format!("cannot be read ({error}); check the path")),
        }
    });
    if said.is_some() && file.is_some() {
        let title = "server.admin_token and server.admin_token_file are both set";
        let problem = Problem::error(server.at_key("admin_token_file"), title);
        server.report(problem.remedy("keep one of them"));
    }
    said.or(file)
}
