//! The platform's catalogues, embedded: services and their classes, capabilities, provinces, and what refusals mean.
//!
//! Never complete: an unknown service is forwarded (protocol.md §5).

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use crate::domain::ServiceClass;

/// A service of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// How its calls are treated.
    pub class: ServiceClass,
    /// Its official name, Chinese.
    pub name: &'static str,
}

/// What a refusal means and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// In Chinese.
    pub zh: &'static str,
    /// In English.
    pub en: &'static str,
}

/// A row of `refusals.csv`.
struct Refusal {
    code: &'static str,
    text: &'static str,
    /// The text's fixed parts, blanks removed, between its placeholders.
    fragments: Vec<String>,
    explanation: Explanation,
}

struct Services {
    by_code: HashMap<&'static str, Service>,
    order: Vec<&'static str>,
    offered: HashSet<(&'static str, &'static str)>,
}

static SERVICES: LazyLock<Services> = LazyLock::new(load_services);
static CAPABILITIES: LazyLock<Vec<[&'static str; 2]>> =
    LazyLock::new(|| rows(include_str!("data/capabilities.csv")).collect());
static PROVINCES: LazyLock<Vec<[&'static str; 2]>> =
    LazyLock::new(|| rows(include_str!("data/provinces.csv")).collect());
static REFUSALS: LazyLock<Vec<Refusal>> = LazyLock::new(load_refusals);

/// The service of that code, whatever the capability: the class depends on the service alone.
#[must_use]
pub fn service(code: &str) -> Option<&'static Service> {
    SERVICES.by_code.get(code)
}

/// Every known service with its code, in the order of the catalogue.
pub fn services() -> impl Iterator<Item = (&'static str, &'static Service)> {
    SERVICES.order.iter().filter_map(|code| SERVICES.by_code.get(code).map(|service| (*code, service)))
}

/// Whether the catalogue lists the service under the capability.
#[must_use]
pub fn is_offered(capability: &str, service: &str) -> bool {
    SERVICES.offered.contains(&(capability, service))
}

/// The name of a provincial tax authority.
#[must_use]
pub fn province_name(code: &str) -> Option<&'static str> {
    name_in(&PROVINCES, code)
}

/// The name of a capability.
#[must_use]
pub fn capability_name(code: &str) -> Option<&'static str> {
    name_in(&CAPABILITIES, code)
}

/// What a refusal means: by its code, else by its text, whose template may stand anywhere in it.
#[must_use]
pub fn explain(code: &str, text: &str) -> Option<&'static Explanation> {
    let by_code = REFUSALS.iter().find(|refusal| !refusal.code.is_empty() && refusal.code == code.trim());
    by_code.or_else(|| explain_text(text)).map(|refusal| &refusal.explanation)
}

/// The platform's own text for a code, as the simulator answers it.
#[must_use]
pub fn refusal_text(code: &str) -> Option<&'static str> {
    REFUSALS.iter().find(|refusal| refusal.code == code).map(|refusal| refusal.text)
}

/// Whether the code is one that the platform's front door or a service is known to refuse with.
#[must_use]
pub fn is_refusal_code(code: &str) -> bool {
    !code.is_empty() && REFUSALS.iter().any(|refusal| refusal.code == code)
}

fn explain_text(text: &str) -> Option<&'static Refusal> {
    let text = squeezed(text);
    REFUSALS.iter().find(|refusal| {
        let mut rest = text.as_str();
        !text.is_empty()
            && refusal.fragments.iter().all(|fragment| match rest.find(fragment.as_str()) {
                Some(at) => {
                    rest = &rest[at + fragment.len()..];
                    true
                }
                None => false,
            })
    })
}

fn load_services() -> Services {
    let mut services = Services { by_code: HashMap::new(), order: Vec::new(), offered: HashSet::new() };
    for [capability, code, class, name] in rows(include_str!("data/services.csv")) {
        // a test reads every row, so that none is passed over here
        let Ok(class) = ServiceClass::parse(class) else { continue };
        services.offered.insert((capability, code));
        services.by_code.entry(code).or_insert_with(|| {
            services.order.push(code);
            Service { class, name }
        });
    }
    services
}

fn load_refusals() -> Vec<Refusal> {
    rows(include_str!("data/refusals.csv"))
        .map(|[code, text, zh, en]| Refusal {
            code,
            text,
            fragments: fragments(text),
            explanation: Explanation { zh, en },
        })
        .collect()
}

/// The words that every difference of totals has; which figure differs (count, net, tax; blue, red) varies.
const DIFFERENCE: &str = "与局端不一致";

/// Cuts a template at its placeholders: `XXX` and `[*****]`.
fn fragments(template: &str) -> Vec<String> {
    if template.contains(DIFFERENCE) {
        return vec![DIFFERENCE.to_owned()];
    }
    let parts = template.split("XXX").flat_map(|part| part.split("*****"));
    parts.map(squeezed).filter(|part| !part.is_empty()).collect()
}

/// Without blanks, and with Chinese punctuation as ASCII, since clients and the platform mix them.
fn squeezed(text: &str) -> String {
    let folded = text.chars().map(|c| match c {
        '，' => ',',
        '；' => ';',
        '：' => ':',
        '【' => '[',
        '】' => ']',
        other => other,
    });
    folded.filter(|c| !c.is_whitespace()).collect()
}

fn name_in(table: &[[&'static str; 2]], code: &str) -> Option<&'static str> {
    table.iter().find(|[known, _]| *known == code).map(|[_, name]| *name)
}

/// The rows of an embedded table after its header. The texts live as long as the process and are built once, so
/// they are leaked instead of counted.
fn rows<const N: usize>(table: &'static str) -> impl Iterator<Item = [&'static str; N]> {
    let reader = csv::Reader::from_reader(table.as_bytes());
    reader.into_records().filter_map(|record| {
        let record = record.ok()?;
        let fields: Vec<&'static str> = record.iter().map(|field| &*field.to_owned().leak()).collect();
        fields.try_into().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_tables_is_read() {
        assert_eq!(rows::<4>(include_str!("data/services.csv")).count(), 341);
        assert_eq!(services().count(), 189);
        for (table, columns) in [
            (include_str!("data/services.csv"), 4),
            (include_str!("data/refusals.csv"), 4),
            (include_str!("data/capabilities.csv"), 2),
            (include_str!("data/provinces.csv"), 2),
        ] {
            for record in csv::Reader::from_reader(table.as_bytes()).records() {
                assert_eq!(record.unwrap().len(), columns);
            }
        }
        for [_, code, class, _] in rows(include_str!("data/services.csv")) {
            assert_eq!(service(code).unwrap().class.as_str(), class, "{code}: one class per service");
        }
    }

    #[test]
    fn codes_have_their_classes_and_names() {
        assert_eq!(service("QDFPSC").unwrap().class, ServiceClass::Issue);
        assert_eq!(service("CXSXED").unwrap().name, "查询授信额度");
        assert!(service("UNKNOWN").is_none());
        assert!(is_offered("202007", "QDFPSC") && !is_offered("203059", "QDFPSC"));
        assert_eq!(province_name("14403000000"), Some("深圳"));
        assert_eq!(capability_name("202007"), Some("数电票（基础版）自用"));
        assert!(province_name("").is_none());
    }

    #[test]
    fn refusals_are_explained_by_code_and_by_text_with_its_placeholders_filled() {
        assert!(explain("4067", "").unwrap().zh.contains("出口地址"));
        assert_eq!(refusal_text("4057"), Some("报文解密失败"));
        for (text, part) in [
            ("发票号码为[26312000000000000001]在数据库中已存在", "already uploaded"),
            (
                "乐企返回错误，错误信息【当前比对结果，红字金额与局端不一致，局端金额 -3.00，上传确认金额-4.00】",
                "totals differ",
            ),
            ("开票预扣授信额度失败，授信额度不足", "not enough"),
            ("使用单位未授权此能力", "granted"),
            ("错误：授信额度不在有效期内。", "validity"),
            ("403 Forbidden", "egress"),
        ] {
            let found = explain("99", text).unwrap_or_else(|| panic!("{text}"));
            assert!(found.en.contains(part), "{text}: {}", found.en);
        }
        assert!(explain("99", "别的什么").is_none());
        assert!(explain("", "").is_none());
    }
}
