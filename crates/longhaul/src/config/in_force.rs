//! The configuration in force, for operators: every key with its value and who said it.
//!
//! Secrets are masked here, by the names in [`SECRETS`]; nobody after this has them to lose.

use serde_json::{Map, Value as Json, json};

use super::keys::{SECTIONS, Section};
use super::problem::Origin;
use super::tree::{Kind, Table, Value};

/// Keys whose values are shown to nobody.
pub(super) const SECRETS: [&str; 5] =
    ["affinity_key", "admin_token", "bypass_key", "password", "secret"];

/// What stands where a secret was said.
const MASK: &str = "***";

/// Every section. A list of tables holds what was said; defaults of its keys are in the reference.
pub(super) fn all(root: &Table) -> Json {
    let one = |section: &&'static Section| {
        let said = root.entries.get(section.name).map(|entry| &entry.value.kind);
        let shown = match said {
            Some(Kind::List(tables)) => Json::Array(tables.iter().map(plain).collect()),
            Some(Kind::Table(table)) => keys(section, Some(table)),
            _ if section.is_list => json!([]),
            _ => keys(section, None),
        };
        (section.name.to_owned(), shown)
    };
    Json::Object(SECTIONS.iter().map(one).collect())
}

fn keys(section: &'static Section, said: Option<&Table>) -> Json {
    let mut shown = Map::new();
    for key in section.keys {
        let value = said.and_then(|table| table.entries.get(key.name)).map(|entry| &entry.value);
        let (value, from) = match value {
            // Headers prove who asks an authentication service.
            Some(_)
                if SECRETS.contains(&key.name)
                    || (section.name, key.name) == ("auth_services", "headers") =>
            {
                (json!(MASK), from(value))
            }
            Some(value) => (plain(value), from(Some(value))),
            None => ((key.default)().map_or(Json::Null, |text| default(&text)), from(None)),
        };
        shown.insert(key.name.to_owned(), json!({ "value": value, "from": from }));
    }
    for child in section.children {
        let said = said.and_then(|table| table.entries.get(child.name));
        let table = said.and_then(|entry| match &entry.value.kind {
            Kind::Table(table) => Some(table),
            _ => None,
        });
        shown.insert(child.name.to_owned(), keys(child, table));
    }
    Json::Object(shown)
}

fn from(value: Option<&Value>) -> String {
    match value.map(|value| &value.at) {
        Some(Origin::Flag(name) | Origin::Env(name)) => (*name).to_owned(),
        Some(Origin::File(_)) => "file".to_owned(),
        Some(Origin::Nowhere) | None => "default".to_owned(),
    }
}

fn plain(value: &Value) -> Json {
    match &value.kind {
        Kind::Text(text) => json!(text),
        Kind::Integer(number) => i64::try_from(*number).map_or(Json::Null, |number| json!(number)),
        Kind::Boolean(is_true) => json!(is_true),
        Kind::List(values) => Json::Array(values.iter().map(plain).collect()),
        Kind::Table(table) => {
            let entry = |(name, entry): (&String, &super::tree::Entry)| {
                let is_secret = SECRETS.contains(&name.as_str());
                (name.clone(), if is_secret { json!(MASK) } else { plain(&entry.value) })
            };
            Json::Object(table.entries.iter().map(entry).collect())
        }
        Kind::Other(_) => Json::Null,
    }
}

/// A default stands in the table of keys as the file would say it.
fn default(text: &str) -> Json {
    let table = Table::parse(&format!("value = {text}"), &mut Vec::new());
    table.entries.get("value").map_or(Json::Null, |entry| plain(&entry.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_shown_with_who_said_it_and_secrets_are_masked() {
        let text = "[server]\nworkers = 3\nadmin_token = \"0123456789abcdef\"\n\
                    affinity_key = \"aa\"\n[[upstreams]]\nname = \"a\"\n";
        let shown = all(&Table::parse(text, &mut Vec::new()));
        assert_eq!(shown["server"]["workers"], json!({ "value": 3, "from": "file" }));
        assert_eq!(shown["timeouts"]["head"], json!({ "value": "5s", "from": "default" }));
        assert_eq!(shown["upstreams"][0]["name"], "a");
        assert_eq!(shown["server"]["admin_token"]["value"], MASK);
        let text = shown.to_string();
        assert!(!text.contains("0123456789abcdef") && !text.contains("\"aa\""), "{text}");
    }
}
