//! Reads `[store]`.

use longhaul_gateway::config::{Password, StoreAddress, StoreConfig};

use super::{Sections, tokens};
use crate::config::problem::{Origin, Problem};
use crate::config::read::Reader;
use crate::config::{defaults, forms};

/// `None` without a URL.
pub(super) fn read(sections: &Sections<'_>, has_tickets: bool) -> Option<StoreConfig> {
    let reader = sections.one("store");
    let prefix = reader.parsed("prefix", forms::key_prefix);
    let password = reader.parsed("password", |text| forms::secret(text, sections.directory));
    let connect_timeout =
        reader.duration("connect_timeout").unwrap_or(defaults::STORE_CONNECT_TIMEOUT);
    let answer = reader.duration("answer").unwrap_or(defaults::STORE_ANSWER);
    let is_required = reader.boolean("required").unwrap_or(true);
    if !reader.has("url") {
        for key in ["password", "ca"] {
            if reader.has(key) {
                reader.warn(key, "has no effect", "say with `url` where the store is");
            }
        }
        return None;
    }
    let url = url(sections, &reader)?;
    if !has_tickets {
        let danger = "there is nothing to share: only tickets are, and nobody gets one";
        reader.warn("url", danger, "set tickets.path, or remove [store]");
    }
    if url.password.is_some() && password.is_some() {
        reader.warn("password", "counts, and not the one in the URL", "remove one of them");
    }
    Some(StoreConfig {
        address: address(sections, &reader, &url)?,
        user: url.user,
        password: password.or(url.password).map(Password::new),
        database: url.database,
        prefix: prefix.unwrap_or_else(|| defaults::STORE_PREFIX.to_owned()),
        connect_timeout,
        answer,
        is_required,
    })
}

/// What the URL says, wherever it is. `None`: what is wrong was reported.
fn url(sections: &Sections<'_>, reader: &Reader<'_>) -> Option<forms::StoreUrl> {
    // What is wrong with such a one must not be said with the line that it is in.
    let has_password = reader.parsed("url", |text| Ok(forms::has_password(text)))?;
    if has_password {
        let title = "store.url has a password in it, which does not belong into this file";
        let problem = Problem::error(Origin::Nowhere, title);
        reader.report(problem.remedy(
            "leave it out and name it with `password = \"env:NAME\"`, or have `url = \"env:NAME\"` for all of it",
        ));
        return None;
    }
    reader.parsed("url", |text| match forms::is_elsewhere(text) {
        true => forms::store_url(&forms::secret(text, sections.directory)?),
        false => forms::store_url(text),
    })
}

fn address(
    sections: &Sections<'_>,
    reader: &Reader<'_>,
    url: &forms::StoreUrl,
) -> Option<StoreAddress> {
    let (host, port, is_secure) = match &url.place {
        forms::StorePlace::Unix(path) => return Some(StoreAddress::Unix(path.clone())),
        forms::StorePlace::Tcp { host, port, is_secure } => (host.clone(), *port, *is_secure),
    };
    let tls = match is_secure {
        true => Some(tokens::tls(sections, reader, "url", &host)?),
        false => None,
    };
    if !is_secure && !forms::is_loopback(&host) {
        let danger = "whoever stands between can read passwords, and let themselves in";
        reader.warn("url", danger, "use rediss://, or a network that only gateways are in");
    }
    Some(StoreAddress::Tcp { host, port, tls })
}
