//! Whole files in, settings or reports out.

use std::time::Duration;

use longhaul_gateway::config::proxy_protocol::Version::{V1, V2};
use longhaul_gateway::config::{Affinity, HostPattern, ReplicaSource, Strategy};

use super::*;

mod admission;
mod store;
mod tls;

/// The report on a text, plain.
#[track_caller]
fn report(text: &str) -> String {
    match load_text("longhaul.toml", text) {
        Ok(loaded) => loaded.report.render(false),
        Err(report) => report.render(false),
    }
}

/// Asserts that the text is refused with all of these words in the report.
#[track_caller]
fn refused(text: &str, words: &[&str]) {
    let report = load_text("longhaul.toml", text).expect_err("it is wrong").render(false);
    for word in words {
        assert!(report.contains(word), "no {word:?} in\n{report}");
    }
}

#[track_caller]
fn settings(text: &str) -> Settings {
    load_text("longhaul.toml", text).unwrap_or_else(|report| panic!("{report}")).settings
}

fn flag(section: &'static str, key: &'static str, name: &'static str, value: &str) -> Override {
    let is_list = ["listen", "replicas", "trusted_proxies"].contains(&key);
    Override { section, key, source: Source::Flag(name), values: vec![value.to_owned()], is_list }
}

fn upstream(address: &str) -> Override {
    flag("upstreams", "replicas", "--upstream", address)
}

const ONE: &str = "[[upstreams]]\nname = \"a\"\nreplicas = [\"127.0.0.1:9000\"]\n";

#[test]
fn one_upstream_needs_no_route() {
    let config = settings(ONE).gateway;
    assert_eq!(config.listeners[0].address, defaults::LISTEN.parse().unwrap());
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.routes[0].upstream, 0);
    assert_eq!(config.timeouts.drain, longhaul_gateway::config::Timeouts::default().drain);
}

#[test]
fn all_problems_are_told_at_once_with_line_value_and_remedy() {
    let text = "[timeouts]\nhead = 5\ndrain = \"25\"\n[limits]\nconnections_max = 0\n[rutes]\n";
    refused(
        text,
        &[
            "timeouts.head = 5 is an integer",
            "longhaul.toml:2:8",
            "write \"5s\" for seconds",
            "timeouts.drain = \"25\" has no unit",
            "longhaul.toml:3:9",
            "limits.connections_max = 0 is too small",
            "use 1 or more, or remove it for the default of 100000",
            "note: too low makes clients wait in the accept queue",
            "unknown section `rutes`",
            "did you mean `routes`?",
            "nothing says where requests go",
        ],
    );
}

#[test]
fn cookies_for_every_origin_are_refused_with_the_reason() {
    let cors = format!("{ONE}[cors]\norigins = \"any\"\ncredentials = true\n");
    refused(
        &cors,
        &["cors.credentials = true with the origin \"any\"", "browsers refuse the pair"],
    );
    let slash = format!("{ONE}[admission]\norigins = [\"same\", \"https://a.example/\"]\n");
    refused(&slash, &["ends with a slash", "write \"https://a.example\""]);
}

#[test]
fn a_route_says_itself_who_may_come_or_takes_it_from_all() {
    let text = format!(
        "{ONE}[admission]\norigins = \"https://a.example\"\n[cors]\norigins = \"https://a.example\"\n\
         [[routes]]\nupstream = \"a\"\n[[routes]]\npath = \"/b\"\nupstream = \"a\"\n\
         [routes.admission]\norigins = \"same\"\n[routes.cors]\n"
    );
    let routes = settings(&text).gateway.routes;
    assert_eq!(routes[0].admission.origins.allow, ["https://a.example".parse().unwrap()]);
    assert_eq!(routes[1].admission.origins, Default::default());
    assert!(routes[0].admission.cors.is_some() && routes[1].admission.cors.is_none());
}

#[test]
fn problems_come_in_the_order_of_the_file() {
    let report = report("[timeouts]\nhead = 1\n[limits]\nconnections_max = 0\n[app]\nready = 1\n");
    let places: Vec<usize> = ["timeouts.head", "limits.connections_max", "app.ready"]
        .iter()
        .map(|key| report.find(key).expect(key))
        .collect();
    assert!(places.is_sorted(), "{report}");
}

#[test]
fn unknown_keys_name_the_nearest_or_where_they_belong() {
    refused(
        &format!("{ONE}[server]\nlisten_on = \"x\"\nping = \"1s\"\n"),
        &[
            "server: unknown key `listen_on`",
            "known here: listen, admin",
            "`ping` belongs under [websocket]",
        ],
    );
    refused(&format!("{ONE}balanse = \"round_robin\"\n"), &["did you mean `balance`?"]);
    refused("listen = \"127.0.0.1:1\"", &["unknown key `listen`", "belongs under [server]"]);
}

#[test]
fn references_name_the_nearest() {
    let routes = "[[routes]]\nupstream = \"chatt\"\nlisteners = \"publik\"\n";
    let text = format!(
        "[server]\nlisten = \"public=127.0.0.1:1\"\n{}{routes}",
        ONE.replace("\"a\"", "\"chat\"")
    );
    refused(&text, &["did you mean \"chat\"?", "did you mean \"public\"?"]);
}

#[test]
fn a_broken_text_is_told_by_its_syntax_errors_alone() {
    refused("[server\n[limits\n", &["longhaul.toml:1:8", "longhaul.toml:2:8", "unclosed table"]);
    refused("[server]\nworkers = 1\nworkers = 2\n", &["duplicate key"]);
    assert!(!report("a = [").contains("nothing says"));
    refused(&"key: value\n".repeat(100), &["more syntax errors; is this a TOML file?"]);
}

#[test]
fn wrong_kinds_of_sections_are_told() {
    refused("server = 3", &["server: expected a table, found an integer"]);
    refused("[upstreams]\nname = \"a\"", &["write [[upstreams]], with two brackets"]);
    refused("upstreams = [1]", &["expected a list of tables, found an integer"]);
    refused(&format!("{ONE}probe = true"), &["expected a table, found a boolean"]);
}

#[test]
fn routes_that_take_the_same_are_told() {
    let twins = "[[routes]]\nname = \"x\"\npath = \"/ws/\"\nupstream = \"a\"\n\
                 [[routes]]\nname = \"y\"\npath = \"/ws\"\nupstream = \"a\"\n";
    refused(&format!("{ONE}{twins}"), &["routes[1] takes the same requests as routes[0]: */ws"]);
    let apart = "[server]\nlisten = [\"p=127.0.0.1:1\", \"q=127.0.0.1:2\"]\n";
    let text = format!("{apart}{ONE}{}", twins.replace("name = \"x\"", "listeners = \"p\""));
    refused(&text, &["takes the same requests"]);
    let text = text.replace("name = \"y\"", "name = \"y\"\nlisteners = \"q\"");
    assert_eq!(settings(&text).gateway.routes.len(), 2);
}

#[test]
fn what_is_there_twice_is_told() {
    refused(&format!("{ONE}{ONE}"), &["is the name of another upstream"]);
    refused(
        "[[upstreams]]\nname = \"a\"\nreplicas = [\"localhost:1\", \"127.0.0.1:1\"]",
        &["is there twice"],
    );
    refused(&format!("[server]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n{ONE}"), &["repeats"]);
    refused(
        &format!("[server]\nlisten = \"p=127.0.0.1:1\"\nadmin = \"127.0.0.1:1\"\n{ONE}"),
        &["is also an address of server.listen"],
    );
}

#[test]
fn several_upstreams_need_routes() {
    let text = format!("{ONE}{}", ONE.replace("\"a\"", "\"b\""));
    refused(&text, &["2 upstreams, and no route tells", "add [[routes]]"]);
}

#[test]
fn dangerous_values_are_legal_and_warned_about() {
    for (text, warning) in [
        ("[websocket]\nping = \"off\"", "dead peers stay unseen"),
        ("[websocket]\nping = \"1m\"", "by Heroku after 55s, AWS ALB, nginx and Fly after 60s"),
        ("[websocket]\nidle = \"5s\"", "nobody spoke for a moment"),
        ("[timeouts]\ndrain = \"0s\"", "in one moment"),
        ("[timeouts]\ndrain = \"40s\"", "longer than most platforms wait"),
        ("[server]\nadmin = \"0.0.0.0:9090\"", "everybody who reaches this address"),
        ("[server]\ntrusted_proxies = \"0.0.0.0/0\"", "can claim to be any other"),
        (
            "[[tcp]]\nlistener = \"127.0.0.1:8080\"\nupstream = \"a\"\nidle = \"1s\"",
            "ends every connection on which nobody spoke",
        ),
    ] {
        let loaded = load_text("f", &format!("{ONE}{text}")).unwrap_or_else(|r| panic!("{r}"));
        let warnings: Vec<String> = loaded.report.warnings().collect();
        assert_eq!(warnings.len(), 1, "{text}: {warnings:?}");
        assert!(warnings[0].contains(warning) && warnings[0].starts_with("f:"), "{warnings:?}");
    }
    assert_eq!(load_text("f", ONE).unwrap().report.warnings().count(), 0);
}

#[test]
fn routes_take_from_the_common_section_what_they_do_not_say() {
    let text = format!(
        "{ONE}[websocket]\nping = \"20s\"\nlinger = \"3s\"\n\
         [[routes]]\nupstream = \"a\"\n[routes.websocket]\nping = \"10s\"\n"
    );
    let websocket = settings(&text).gateway.routes.remove(0).websocket;
    assert_eq!(websocket.ping, Some(Duration::from_secs(10)));
    assert_eq!(websocket.linger, Duration::from_secs(3));
}

#[test]
fn flags_alone_make_one_upstream() {
    let overrides = vec![
        flag("server", "listen", "--listen", "127.0.0.1:0"),
        Override {
            values: vec!["10.0.0.1:1".into(), "http://chat.internal:2".into()],
            ..upstream("")
        },
        flag("upstreams", "balance", "--balance", "round_robin"),
        flag("upstreams", "affinity", "--affinity", "none"),
        flag("limits", "connections_max", "--connections-max", "10"),
    ];
    let loaded =
        load(Sources { overrides, ..Sources::default() }).unwrap_or_else(|r| panic!("{r}"));
    let config = loaded.settings.gateway;
    let upstream = &config.upstreams[0];
    assert!(matches!(upstream.sources[0], ReplicaSource::Static { .. }));
    assert!(matches!(upstream.sources[1], ReplicaSource::Dns { port: 2, .. }));
    assert_eq!(upstream.strategy, Strategy::RoundRobin);
    assert_eq!(upstream.affinity, Affinity::None);
    assert_eq!(config.limits.connections_max, 10);
    assert_eq!(config.routes.len(), 1);
}

#[test]
fn problems_of_flags_name_the_flag() {
    let overrides = vec![upstream("chat"), flag("websocket", "ping", "--ping", "25")];
    let report = load(Sources { overrides, ..Sources::default() }).expect_err("both are wrong");
    let text = report.render(false);
    assert!(text.contains("--upstream: upstreams[0].replicas = \"chat\" has no port"), "{text}");
    assert!(text.contains("--ping: websocket.ping = \"25\" has no unit"), "{text}");
}

#[test]
fn a_flag_replaces_the_replicas_of_the_only_upstream() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let load_with = |text: &str| {
        std::fs::write(file.path(), text).unwrap();
        let file = Some(file.path().to_owned());
        load(Sources { file, overrides: vec![upstream("10.0.0.1:1")], ..Sources::default() })
    };
    let loaded = load_with(ONE).unwrap_or_else(|report| panic!("{report}"));
    let ReplicaSource::Static { address, .. } = loaded.settings.gateway.upstreams[0].sources[0]
    else {
        panic!("not static")
    };
    assert_eq!(address, "10.0.0.1:1".parse().unwrap());
    let two = format!("{ONE}{}", ONE.replace("\"a\"", "\"b\""));
    let report = load_with(&two).expect_err("which one?").render(false);
    assert!(
        report.contains("--upstream: the file has 2 upstreams; which one is meant?"),
        "{report}"
    );
}

#[test]
fn a_program_is_an_upstream_of_its_own() {
    let command = vec!["app".to_owned(), "{port}".to_owned()];
    let sources = || Sources { command: command.clone(), ..Sources::default() };
    let settings = load(sources()).unwrap_or_else(|report| panic!("{report}")).settings;
    let app = settings.app.expect("a program");
    assert_eq!(app.settings.command, command);
    assert_eq!(settings.gateway.upstreams[app.upstream].name, "app");
    assert_eq!(settings.gateway.routes[0].upstream, app.upstream);

    refused(
        "[app]\ncommand = \"chainlit run app.py\"",
        &["no shell takes it apart", "write a list"],
    );
    refused("[app]\ncommand = []", &["names no program"]);

    let both = Sources { overrides: vec![upstream("10.0.0.1:1")], ..sources() };
    let report = load(both).expect_err("where to?").render(false);
    assert!(report.contains("both a program to start and other upstreams"), "{report}");

    let tuned = Sources {
        overrides: vec![flag("upstreams", "affinity", "--affinity", "cookie")],
        ..sources()
    };
    let settings = load(tuned).unwrap_or_else(|report| panic!("{report}")).settings;
    assert_eq!(settings.gateway.upstreams.len(), 1);
    assert!(matches!(settings.gateway.upstreams[0].affinity, Affinity::Cookie { .. }));
}

#[test]
fn port_counts_when_nothing_else_says_where_to_listen() {
    let load_with = |overrides: Vec<Override>, port: &str| {
        load(Sources { overrides, port: Some(port.to_owned()), ..Sources::default() })
    };
    let listen = |loaded: Loaded| loaded.settings.gateway.listeners[0].address;
    let bare = load_with(vec![upstream("10.0.0.1:1")], "8123").unwrap_or_else(|r| panic!("{r}"));
    assert_eq!(listen(bare), "0.0.0.0:8123".parse().unwrap());
    let said = flag("server", "listen", "--listen", "127.0.0.1:7");
    let both = load_with(vec![upstream("10.0.0.1:1"), said], "8123");
    assert_eq!(listen(both.unwrap_or_else(|r| panic!("{r}"))), "127.0.0.1:7".parse().unwrap());
    let wrong = load_with(vec![upstream("10.0.0.1:1")], "http").expect_err("no port");
    assert!(wrong.render(false).contains("PORT: \"http\" is not a port"));
}

#[test]
fn no_report_shows_a_secret() {
    let secret = "5ec3e7".repeat(5);
    for text in [
        format!("[server]\naffinity_key = \"{secret}\"\n"),
        format!("server = {{ affinity_key = \"{secret}\", workers = 0 }}"),
        format!("[server]\naffinity_key = '{secret}' x\n"),
    ] {
        let report = report(&text);
        assert!(!report.contains("5ec3e7"), "{report}");
        assert!(report.contains("affinity_key"), "{report}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    for (path, word) in [("/no/such/file.toml", "No such file"), ("/dev/zero", "longer than 4MiB")]
    {
        let report = load(Sources { file: Some(path.into()), ..Sources::default() });
        let report = report.expect_err("it cannot be read").render(false);
        assert!(report.contains(path) && report.contains(word), "{report}");
    }
}

#[test]
fn hostile_texts_are_refused_without_a_panic() {
    let deep = format!("a = {}", "[".repeat(100_000));
    let wide = "[[upstreams]]\n".repeat(2_000);
    for text in
        ["\u{feff}[server]\n", "\0", "a.b.c.d = 1", "[server]\nlisten = \"é\"", &deep, &wide]
    {
        let report = load_text("f", text).expect_err("it is no configuration");
        assert!(report.has_errors());
        let _ = report.render(false);
    }
}

/// Files that were half written, badly merged or hit by a typing mistake.
#[test]
fn mutilated_files_are_told_and_never_panic() {
    const ROUNDS: u64 = 1_000;
    let sound = reference::all_keys();
    let lines: Vec<&str> = sound.lines().filter(|line| !line.starts_with('#')).collect();
    let mut refused = 0;
    for seed in 1..=ROUNDS {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |bound: usize| {
            // xorshift64: the seed of a failing round is in its message.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % bound as u64).unwrap()
        };
        let mut text: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        for _ in 0..=below(3) {
            let (at, other) = (below(text.len()), below(text.len()));
            match below(5) {
                0 => drop(text.remove(at)),
                1 => text.swap(at, other),
                2 => text.insert(at, text[other].clone()),
                3 => text[at] = text[at].replace(['"', '1', '='], ["", "-1", "[", "é"][below(4)]),
                _ => text[at] = text[at].chars().take(below(20)).collect(),
            }
        }
        let outcome = std::panic::catch_unwind(|| match load_text("f", &text.join("\n")) {
            Ok(loaded) => (false, loaded.report.render(false)),
            Err(report) => (true, report.render(true)),
        });
        let (is_refused, report) = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        assert!(!is_refused || !report.is_empty(), "seed {seed}: refused without a reason");
        refused += u64::from(is_refused);
    }
    assert!(refused > ROUNDS / 2, "most of them are wrong: {refused}");
}

#[test]
fn every_default_is_a_value_that_its_key_takes() {
    for (path, section) in keys::all_sections() {
        for key in section.keys {
            let shown = key.shown();
            assert!(!shown.is_empty(), "{path}.{} has neither default nor example", key.name);
            let parsed = toml::from_str::<toml::Table>(&format!("x = {shown}"));
            assert!(parsed.is_ok(), "{path}.{} = {shown}: {parsed:?}", key.name);
            assert!(!key.what.is_empty() && !key.what.ends_with('.'), "{path}.{}", key.name);
        }
    }
}

/// The root of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_example_is_fine() {
    let mut seen = Vec::new();
    let examples = root().join("examples");
    let files = std::fs::read_dir(&examples).unwrap().map(|entry| entry.unwrap().path());
    for path in files.chain([examples.join("messaging/longhaul.toml")]) {
        if path.extension().is_some_and(|extension| extension == "toml") {
            let loaded = load(Sources { file: Some(path.clone()), ..Sources::default() });
            let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
            let warnings: Vec<String> = loaded.report.warnings().collect();
            assert!(warnings.is_empty(), "{warnings:?}");
            seen.push(path);
        }
    }
    assert!(seen.len() >= 6, "{seen:?}");
}

#[test]
fn listeners_that_take_headers_say_from_whom() {
    let listener = |keys: &str| {
        format!("[[listeners]]\nname = \"lb\"\naddress = \"127.0.0.1:1\"\n{keys}\n{ONE}")
    };
    let required = "proxy_protocol = \"required\"\n";
    let config =
        settings(&listener(&format!("{required}proxy_protocol_from = \"loopback\""))).gateway;
    let [lb] = config.listeners.as_slice() else { panic!("{:?}", config.listeners) };
    assert_eq!((lb.name.as_str(), lb.proxy_senders.as_ref().map(Vec::len)), ("lb", Some(2)));
    assert!(settings(&listener("")).gateway.listeners[0].proxy_senders.is_none());
    refused(&listener(required), &["nothing says who may send", "add proxy_protocol_from"]);
    let nobody = report(&listener("proxy_protocol_from = \"10.0.0.0/8\""));
    assert!(nobody.contains("no effect without proxy_protocol = \"required\""), "{nobody}");
    let everybody = report(&listener(&format!("{required}proxy_protocol_from = \"0.0.0.0/0\"")));
    assert!(everybody.contains("can claim any client address"), "{everybody}");
}

#[test]
fn both_kinds_of_listeners_are_one_list() {
    let two = "[server]\nlisten = \"a=127.0.0.1:1\"\n[[listeners]]\nname = \"b\"\n";
    let config = settings(&format!("{two}address = \"127.0.0.1:2\"\n{ONE}")).gateway;
    let names: Vec<&str> = config.listeners.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    refused(&format!("{two}address = \"127.0.0.1:1\"\n{ONE}"), &["repeats the name or address"]);
}

#[test]
fn tcp_routes_of_one_listener_are_told_apart_by_name() {
    let tcp = |sni: &str| format!("[[tcp]]\nlistener = \"p\"\nupstream = \"a\"\n{sni}\n");
    let text = |routes: &[&str]| {
        let routes: String = routes.iter().map(|sni| tcp(sni)).collect();
        format!("[server]\nlisten = \"p=127.0.0.1:1\"\n{ONE}{routes}")
    };
    let config = settings(&text(&["sni = [\"A.example\", \"*.b.example.\"]", ""])).gateway;
    let names = config.tcp_routes[0].server_names.clone().unwrap();
    let expected = [HostPattern::Exact("a.example".into()), HostPattern::Below("b.example".into())];
    assert_eq!(names, expected);
    assert_eq!(config.tcp_routes[0].name, "a.example");
    assert!(config.tcp_routes[1].server_names.is_none());
    refused(&text(&["", ""]), &["what no other route takes on listener \"p\" goes to tcp[0]"]);
    let twice = ["sni = \"a.example\"", "sni = [\"b.example\", \"A.example\"]"];
    refused(&text(&twice), &["\"a.example\" on listener \"p\" goes to tcp[0] already"]);
    refused(&text(&["sni = \"192.0.2.1\""]), &["is an address, which TLS clients do not send"]);
    refused(&text(&["sni = []"]), &["takes no connection"]);
    let idle = report(&text(&["sni = \"a.example\"\nserver_first = true"]));
    assert!(idle.contains("a TLS client always speaks first"), "{idle}");
}

#[test]
fn routes_without_listeners_leave_raw_ports_alone() {
    let listeners = |listen: &str, sni: &str| {
        let tcp = format!("[[tcp]]\nlistener = \"p\"\nupstream = \"a\"\n{sni}\n");
        let text = format!("[server]\nlisten = {listen}\n{ONE}[[routes]]\nupstream = \"a\"\n{tcp}");
        settings(&text).gateway.routes[0].listeners.clone()
    };
    let two = "[\"p=127.0.0.1:1\", \"q=127.0.0.1:2\"]";
    assert_eq!(listeners(two, ""), [1]);
    assert!(listeners(two, "sni = \"a.example\"").is_empty());
    // Shared, since nothing else would be served by the route.
    assert!(listeners("[\"p=127.0.0.1:1\"]", "").is_empty());
}

#[test]
fn replicas_may_be_told_who_the_client_is() {
    let version = |word: &str| {
        let config = settings(&format!("{ONE}send_proxy_protocol = \"{word}\"")).gateway;
        config.upstreams[0].proxy_protocol
    };
    assert_eq!([version("off"), version("v1"), version("v2")], [None, Some(V1), Some(V2)]);
    refused(&format!("{ONE}send_proxy_protocol = \"2\""), &["\"off\", \"v1\", \"v2\""]);
}

#[test]
fn http2_toward_replicas_is_an_option_with_bounds() {
    let policy = |more: &str| settings(&format!("{ONE}{more}")).gateway.upstreams[0].http2.clone();
    assert!(policy("").is_none());
    let said = policy("http2 = true\nhttp2_streams_max = 7\nhttp2_ping = \"off\"").unwrap();
    assert_eq!((said.streams_max, said.connections_max, said.ping), (7, 8, None));
    let told = report(&format!("{ONE}http2_connections_max = 2"));
    assert!(told.contains("has no effect without `http2 = true`"), "{told}");
    refused(
        &format!("{ONE}http2 = true\nsend_proxy_protocol = \"v2\""),
        &["`http2` and `send_proxy_protocol` together", "X-Forwarded-For"],
    );
}

#[test]
fn what_is_generated_is_checked_in() {
    for (file, generated, command) in [
        ("docs/reference/longhaul.schema.json", schema::text(), "schema"),
        ("docs/reference/config.md", reference::page(), "reference config"),
        ("docs/reference/cli.md", crate::cli::page(), "reference cli"),
        ("examples/all-keys.toml", reference::all_keys(), "reference toml"),
        ("docs/reference/metrics.md", metrics::page(), "reference metrics"),
        ("docs/reference/openapi.json", longhaul_admin::openapi::text(), "reference api"),
    ] {
        let checked_in = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(
            checked_in == generated,
            "{file} is not what the program says; regenerate it with\n\
             cargo run -q -p longhaul -- {command} > {file}"
        );
    }
}
