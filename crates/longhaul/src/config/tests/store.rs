//! What gateways share, as the file says it.

use longhaul_gateway::config::StoreConfig;

use super::*;

const TICKETS: &str = "[tickets]\npath = \"/ticket\"\n";

fn store(more: &str) -> Option<StoreConfig> {
    settings(&format!("{ONE}{TICKETS}[store]\n{more}")).gateway.store
}

#[test]
fn a_store_has_defaults_and_none_is_there_unasked() {
    assert!(store("").is_none());
    let plain = store("url = \"redis://localhost\"").unwrap();
    assert_eq!(plain.address.to_string(), "redis://localhost:6379");
    assert_eq!((plain.database, plain.prefix.as_str()), (0, "longhaul:"));
    assert!(plain.is_required && plain.user.is_none() && plain.password.is_none());
    assert!(plain.answer < settings(ONE).gateway.routes[0].admission.deadline);
    let socket = store("url = \"unix:/run/redis.sock\"\nrequired = false").unwrap();
    assert_eq!(
        (socket.address.to_string().as_str(), socket.is_required),
        ("unix:/run/redis.sock", false)
    );
}

#[test]
fn a_password_is_elsewhere_and_told_to_nobody() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "redis://ann:hunter2@localhost/3\n").unwrap();
    let said = store(&format!("url = \"file:{}\"", file.path().display())).unwrap();
    assert_eq!((said.user.as_deref(), said.database), (Some("ann"), 3));
    assert!(said.password.is_some() && !format!("{said:?}").contains("hunter2"));
    std::fs::write(file.path(), "hunter2\n").unwrap();
    let password = format!("password = \"file:{}\"\n", file.path().display());
    let said = store(&format!("url = \"redis://ann@localhost\"\n{password}")).unwrap();
    assert!(said.password.is_some() && !format!("{said:?}").contains("hunter2"));

    for url in
        ["redis://ann:hunter2@localhost", "redis://:hunter2@localhost/x", "http://a:hunter2@b"]
    {
        let told = report(&format!("{ONE}{TICKETS}[store]\nurl = \"{url}\"\n"));
        assert!(
            told.contains("store.url has a password in it") && told.contains("env:NAME"),
            "{told}"
        );
        assert!(!told.contains("hunter2"), "{told}");
    }
    let told =
        report(&format!("{ONE}{TICKETS}[store]\nurl = \"redis://a\"\npassword = \"hunter2\"\n"));
    assert!(told.contains("no place of a secret"), "{told}");
}

#[test]
fn what_is_wrong_with_a_store_is_said_before_it_is_asked() {
    let refusal =
        |more: &str, words: &[&str]| refused(&format!("{ONE}{TICKETS}[store]\n{more}"), words);
    refusal("url = \"store:6379\"", &["is not the URL of a store"]);
    refusal(
        "url = \"env:LONGHAUL_THERE_IS_NO_SUCH_VARIABLE\"",
        &["names a variable that is not set"],
    );
    refusal("url = \"redis://localhost/0\"\nprefix = \"a b\"", &["store.prefix", "longhaul:"]);
    refusal("url = \"redis://localhost/0\"\nanswer = \"1m\"", &["is too long"]);
    refusal("url = \"rediss://localhost\"\nca = \"/there/is/none.pem\"", &["store.ca"]);
    let told = |text: &str| report(&format!("{ONE}{text}"));
    let nothing = told("[store]\nurl = \"redis://localhost\"\n");
    assert!(nothing.contains("there is nothing to share"), "{nothing}");
    let open = told(&format!("{TICKETS}[store]\nurl = \"redis://store.internal\"\n"));
    assert!(open.contains("use rediss://"), "{open}");
    let useless = told("[store]\npassword = \"env:HOME\"\n");
    assert!(useless.contains("store.password") && useless.contains("has no effect"), "{useless}");
}
