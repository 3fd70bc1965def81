//! A pin in the configuration file: only the two keys are touched, every comment stays.

use anyhow::Context;
use toml_edit::{Array, DocumentMut, Item, TableLike, Value};

use crate::tls::Pin;

/// Makes the upstream at this place trust this key and nothing else.
///
/// # Errors
/// When the file has no such upstream: it comes from the environment.
pub(super) fn pin(document: &mut DocumentMut, index: usize, pin: Pin) -> anyhow::Result<()> {
    let upstream = upstream(document, index).with_context(|| {
        format!(
            "upstream[{index}] is not in the file but in the environment; set its VERIFY to pinned and its PINS to {pin} \
             there"
        )
    })?;
    set(upstream, "verify", "pinned".into());
    set(upstream, "pins", Value::Array(Array::from_iter([pin.to_string()])));
    Ok(())
}

/// Makes the upstream at this place trust anybody.
pub(super) fn distrust(document: &mut DocumentMut, index: usize) {
    if let Some(upstream) = upstream(document, index) {
        upstream.remove("pins");
        set(upstream, "verify", "off".into());
    }
}

fn upstream(document: &mut DocumentMut, index: usize) -> Option<&mut dyn TableLike> {
    match document.get_mut("upstream")? {
        Item::ArrayOfTables(tables) => tables.get_mut(index).map(|table| table as &mut dyn TableLike),
        Item::Value(Value::Array(tables)) => {
            tables.get_mut(index)?.as_inline_table_mut().map(|table| table as &mut dyn TableLike)
        }
        Item::None | Item::Table(_) | Item::Value(_) => None,
    }
}

/// Sets a key; the comment behind its old value stays.
fn set(table: &mut dyn TableLike, key: &str, mut value: Value) {
    match table.get_mut(key) {
        Some(Item::Value(old)) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        Some(_) | None => {
            table.insert(key, Item::Value(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn pinned(text: &str, index: usize) -> String {
        let mut document: DocumentMut = text.parse().unwrap();
        pin(&mut document, index, PIN.parse().unwrap()).unwrap();
        document.to_string()
    }

    #[test]
    fn only_the_two_keys_of_that_upstream_change() {
        let text = "# 注释\n[[upstream]] # one\nname = \"a\"\nverify = \"off\"\n\n[[upstream]]\nname = \"b\"\n# before\n\
                    verify = \"full\"   # behind\n# pins = []\nconnect_timeout = \"5s\"\n\n# routes\n[[route]]\n";
        let expected =
            text.replace("verify = \"full\"   # behind", "verify = \"pinned\"   # behind").replace(
                "connect_timeout = \"5s\"\n",
                &format!("connect_timeout = \"5s\"\npins = [\"{PIN}\"]\n"),
            );
        assert_eq!(pinned(text, 1), expected);
    }

    #[test]
    fn a_missing_verify_is_added_and_an_old_pin_replaced() {
        let text = "upstream = [{ name = \"a\", pins = [\"old\"] }]\n";
        assert_eq!(
            pinned(text, 0),
            format!("upstream = [{{ name = \"a\", pins = [\"{PIN}\"] , verify = \"pinned\" }}]\n")
        );
    }

    #[test]
    fn an_upstream_of_the_environment_is_none_of_the_file() {
        let mut document: DocumentMut = "[[upstream]]\nname = \"a\"\n".parse().unwrap();
        let error = pin(&mut document, 1, PIN.parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("environment"), "{error}");
    }
}
