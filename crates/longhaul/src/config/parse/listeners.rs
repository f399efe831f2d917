//! Reads where clients arrive: `server.listen` and `[[listeners]]`, one list in the end.

use ipnet::IpNet;
use longhaul_gateway::config::Listener;

use super::Sections;
use super::tls::Tls;
use crate::config::problem::{Origin, Problem};
use crate::config::read::Reader;
use crate::config::{defaults, forms};

type Said = (Listener, Origin);

pub(super) fn read(sections: &Sections<'_>, server: &Reader<'_>, tls: &Tls) -> Vec<Listener> {
    let tables = sections.each("listeners");
    let listed = server.parsed_list("listen", forms::listener);
    if listed.as_ref().is_some_and(Vec::is_empty)
        && tables.is_empty()
        && matches!(server.list("listen"), Some([]))
    {
        let problem = Problem::error(server.at_key("listen"), "server.listen = [] serves nobody");
        let remedy = format!("name an address, as in \"{}\"", defaults::LISTEN);
        server.report(problem.remedy(remedy));
    }
    let mut listeners: Vec<Said> = listed.unwrap_or_default();
    for (listener, _) in &mut listeners {
        listener.tls = tls.common();
    }
    listeners.extend(tables.iter().filter_map(|reader| listener(sections, reader, tls)));
    if !server.has("listen") && tables.is_empty() {
        let listener = forms::listener(defaults::LISTEN).expect("the default is an address");
        listeners.push((Listener { tls: tls.common(), ..listener }, Origin::Nowhere));
    }
    report_twins(sections, &listeners);
    listeners.into_iter().map(|(listener, _)| listener).collect()
}

fn listener(sections: &Sections<'_>, reader: &Reader<'_>, tls: &Tls) -> Option<Said> {
    reader.require();
    let name = reader.parsed("name", forms::name);
    let address = reader.parsed("address", forms::address);
    let proxy_senders = proxy_senders(reader);
    let tls = tls.of_listener(sections, reader);
    let (http2, h2c) = (reader.boolean("http2"), reader.boolean("h2c"));
    let listener = Listener::new(name?, address?);
    let (http2, h2c) = (http2.unwrap_or(listener.http2), h2c.unwrap_or(listener.h2c));
    Some((Listener { proxy_senders, tls, http2, h2c, ..listener }, reader.at()))
}

fn proxy_senders(reader: &Reader<'_>) -> Option<Vec<IpNet>> {
    const REMEDY: &str = "name the networks of your load balancer, as in [\"10.0.0.0/8\"]";
    let is_required = reader.choice("proxy_protocol") == Some("required");
    let senders = reader.parsed_list("proxy_protocol_from", forms::networks);
    let at = reader.at_key("proxy_protocol");
    match senders {
        None if is_required && !reader.has("proxy_protocol_from") => {
            let title = format!("{}: nothing says who may send the header", reader.path());
            let remedy = format!("add proxy_protocol_from: {REMEDY}");
            reader.report(Problem::error(at, title).remedy(remedy));
            None
        }
        Some(senders) if is_required => {
            let senders: Vec<IpNet> = senders.into_iter().flat_map(|(nets, _)| nets).collect();
            if senders.iter().any(|network| network.prefix_len() == 0) {
                let danger = "everybody who reaches this listener can claim any client address";
                reader.warn("proxy_protocol_from", danger, REMEDY);
            }
            Some(senders)
        }
        Some(_) => {
            let danger = "has no effect without proxy_protocol = \"required\"";
            reader.warn("proxy_protocol_from", danger, "set proxy_protocol, or remove it");
            None
        }
        None => None,
    }
}

fn report_twins(sections: &Sections<'_>, listeners: &[Said]) {
    for (index, (listener, at)) in listeners.iter().enumerate() {
        let is_same = |(other, _): &&Said| {
            other.name == listener.name
                || (other.address == listener.address && listener.address.port() != 0)
        };
        if let Some((other, _)) = listeners[..index].iter().find(is_same) {
            let title = format!(
                "listener {:?} repeats the name or address of {:?}",
                listener.name, other.name
            );
            sections.report(
                Problem::error(at.clone(), title)
                    .label("said before")
                    .remedy("remove one, or name them apart as in \"public=0.0.0.0:8080\""),
            );
        }
    }
}
