//! `openapi.json` says what there is.

use std::collections::BTreeSet;

use serde_json::Value;

use super::harness::Api;
use crate::api::routes::{OPENAPI, table};

pub(super) fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn every_route_is_in_the_document_and_the_reverse() {
    let routes: BTreeSet<String> =
        table().paths.iter().map(|(method, path)| format!("{method} {path}")).collect();
    let document = document();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            documented.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert_eq!(routes, documented);
    assert_eq!(document["openapi"], "3.1.0");
}

#[test]
fn every_reference_of_the_document_leads_somewhere_and_operations_have_their_own_names() {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|inner| walk(inner, found));
            }
            Value::Array(list) => list.iter().for_each(|inner| walk(inner, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document();
    let mut references = Vec::new();
    walk(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    let items = document["paths"].as_object().unwrap().values();
    let operations = items.flat_map(|item| item.as_object().unwrap().values());
    let ids: Vec<_> = operations.filter_map(|operation| operation["operationId"].as_str()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
}

#[tokio::test]
async fn the_document_is_served_without_a_token() {
    let api = Api::start().await;
    let answer = api.send(http::Method::GET, "/openapi.json", &[], b"").await;
    assert_eq!(answer.ok(200), document());
}

/// The answer has exactly the fields that the document gives the schema.
#[track_caller]
pub(super) fn assert_shape(shown: &Value, schema: &str) {
    let document = document();
    let properties = &document["components"]["schemas"][schema]["properties"];
    let documented: BTreeSet<_> = properties.as_object().unwrap().keys().cloned().collect();
    let shown: BTreeSet<_> = shown.as_object().unwrap().keys().cloned().collect();
    assert_eq!(shown, documented, "{schema}");
}
