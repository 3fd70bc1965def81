//! What every call must satisfy before a service sees it: path, headers, ids, grants, key, encoding.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method};

use super::{
    Shared,
    refusal::{self, Refusal},
    wire,
    world::{Role, Unit},
};
use crate::{
    domain::{Environment, ServiceClass},
    leqi::{self, Sm4Key, catalogue},
};

/// The capability of the sandbox control service, which has none.
const NO_CAPABILITY: &str = "";

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) environment: Environment,
    pub(super) capability: String,
    pub(super) service: String,
}

/// A call that passed the front door.
pub(super) struct Admitted<'w> {
    pub(super) target: Target,
    pub(super) class: ServiceClass,
    pub(super) access: &'w Unit,
    pub(super) using: &'w Unit,
    pub(super) key: Sm4Key,
    /// The request in clear; empty when there was no body.
    pub(super) json: String,
}

/// What the path asks for; the last `/` may be there or not (protocol.md §1).
pub(super) fn target(path: &str) -> Option<Target> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let invoke = |prefix: &str, environment| {
        let (capability, service) = path.strip_prefix(prefix)?.split_once('/')?;
        let whole = !capability.is_empty() && !service.is_empty() && !service.contains('/');
        whole.then(|| Target { environment, capability: capability.to_owned(), service: service.to_owned() })
    };
    let control = || {
        let service = path.strip_prefix("/access/sandbox_kzfw/v1/")?;
        let service = Some(service).filter(|s| !s.is_empty() && !s.contains('/'))?.to_owned();
        Some(Target { environment: Environment::Sandbox, capability: NO_CAPABILITY.to_owned(), service })
    };
    invoke("/access/v2/invoke/", Environment::Production)
        .or_else(|| invoke("/access/sandbox/v2/invoke/", Environment::Sandbox))
        .or_else(|| invoke("/access/newsandbox/v2/invoke/", Environment::Sandbox))
        .or_else(control)
}

/// Lets a call in.
pub(super) fn admit<'w>(
    shared: &'w Shared,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Admitted<'w>, Refusal> {
    let target = target(path).filter(|_| method == Method::POST).ok_or_else(Refusal::not_found)?;
    let known = catalogue::service(&target.service).ok_or(Refusal::front_door(refusal::UNKNOWN_SERVICE))?;
    check_codes(&target, headers)?;
    let (access, using) = units(shared, headers)?;
    check_grant(&target, known.class, access, using)?;
    match target.environment {
        Environment::Production => check_production(headers)?,
        Environment::Sandbox => check_sandbox(shared, &target, access, using, headers)?,
    }
    let key = match target.environment {
        Environment::Production => access.sm4_key.as_deref(),
        Environment::Sandbox => access.sandbox_sm4_key.as_deref(),
    };
    let key =
        key.and_then(|hex| Sm4Key::from_hex(hex).ok()).ok_or(Refusal::front_door(refusal::UNREADABLE))?;
    let json = read(headers, body, &key)?;
    Ok(Admitted { target, class: known.class, access, using, key, json })
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).map_or("", str::trim)
}

/// The codes in the headers may be missing or empty, but not others than in the path.
fn check_codes(target: &Target, headers: &HeaderMap) -> Result<(), Refusal> {
    for (name, code) in [("fwbm", &target.service), ("nlbm", &target.capability)] {
        let sent = header(headers, name);
        if !sent.is_empty() && sent != code {
            return Err(Refusal::front_door(refusal::NOT_TOGETHER));
        }
    }
    Ok(())
}

fn units<'w>(shared: &'w Shared, headers: &HeaderMap) -> Result<(&'w Unit, &'w Unit), Refusal> {
    let world = &shared.world;
    let access = world
        .by_platform_id(header(headers, "jrdwptbh"))
        .filter(|unit| unit.role == Role::Access)
        .ok_or(Refusal::front_door(refusal::UNKNOWN_ACCESS))?;
    let using = world
        .by_platform_id(header(headers, "sydwptbh"))
        .ok_or(Refusal::front_door(refusal::UNKNOWN_USING))?;
    if using.access_platform_id != access.platform_id {
        return Err(Refusal::front_door(refusal::NOT_TOGETHER));
    }
    Ok((access, using))
}

/// The capability has the service, and both units have the capability: the access unit must also grant itself.
fn check_grant(target: &Target, class: ServiceClass, access: &Unit, using: &Unit) -> Result<(), Refusal> {
    if target.capability == NO_CAPABILITY {
        return Ok(());
    }
    if !offers(&target.capability, &target.service, class) {
        return Err(Refusal::front_door(refusal::NO_SUCH_PAIR));
    }
    let withheld = |unit: &Unit| unit.withheld.contains(&target.capability);
    if withheld(access) && access.platform_id == using.platform_id {
        return Err(Refusal::error(refusal::NOT_TOGETHER.0, refusal::CAPABILITY_NOT_GRANTED));
    }
    if withheld(access) || withheld(using) {
        return Err(Refusal::front_door(refusal::NOT_GRANTED));
    }
    Ok(())
}

/// By the catalogue, or because the credit and confirmation services, and with them numbers, results and red-letter
/// confirmations, exist under every invoicing capability (protocol.md §1).
fn offers(capability: &str, service: &str, class: ServiceClass) -> bool {
    if catalogue::is_offered(capability, service) {
        return true;
    }
    let everywhere = match class {
        ServiceClass::IssueResult
        | ServiceClass::Precode
        | ServiceClass::QuotaQuery
        | ServiceClass::QuotaTransfer
        | ServiceClass::QuotaValidity
        | ServiceClass::SummaryQuery
        | ServiceClass::SummaryUpload => true,
        ServiceClass::Issue | ServiceClass::Read | ServiceClass::Write => service.contains("HZQRD"),
    };
    everywhere && capability.starts_with("202") && catalogue::capability_name(capability).is_some()
}

/// In production the sandbox flag must be absent or empty (protocol.md §1).
fn check_production(headers: &HeaderMap) -> Result<(), Refusal> {
    if header(headers, "sxcsbz").is_empty() { Ok(()) } else { Err(Refusal::front_door(refusal::NO_TEST)) }
}

/// Sandbox calls name the access unit twice, carry a use case, and come within 72 hours of the test's start.
fn check_sandbox(
    shared: &Shared,
    target: &Target,
    access: &Unit,
    using: &Unit,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    if access.platform_id != using.platform_id {
        return Err(Refusal::front_door(refusal::NO_SUCH_PAIR));
    }
    if target.capability == NO_CAPABILITY {
        return Ok(());
    }
    let started = shared.books.lock().sandbox.sandbox_tests.get(&access.platform_id.folded()).copied();
    let fresh = started.is_some_and(|at| shared.clock.now().duration_since(at).as_hours() < 72);
    if header(headers, "ylbm").is_empty() || !fresh {
        return Err(Refusal::front_door(refusal::NO_TEST));
    }
    Ok(())
}

/// base64, SM4-ECB, UTF-8, JSON without `\u` escapes. Other content types than JSON's and plain text get the body
/// escaped on the way, so that it cannot be decrypted (protocol.md §1).
fn read(headers: &HeaderMap, body: &[u8], key: &Sm4Key) -> Result<String, Refusal> {
    const UNREADABLE: Refusal = Refusal::front_door(refusal::UNREADABLE);
    let kind =
        header(headers, "content-type").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !matches!(kind.as_str(), "" | "application/json" | "text/plain") {
        return Err(UNREADABLE);
    }
    if body.is_empty() {
        return Ok(String::new());
    }
    let base64: Vec<u8> = body.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let cipher = STANDARD.decode(base64).map_err(|_| UNREADABLE)?;
    let json = leqi::decrypt(key, &cipher).map_err(|_| UNREADABLE)?;
    let json = String::from_utf8(json).map_err(|_| UNREADABLE)?;
    if wire::has_unicode_escape(&json) {
        return Err(Refusal::field("请求报文不允许使用\\u转义字符"));
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_of_the_platform_is_known_with_and_without_its_last_slash() {
        for (path, environment) in [
            ("/access/v2/invoke/202007/QDFPSC", Environment::Production),
            ("/access/v2/invoke/202007/QDFPSC/", Environment::Production),
            ("/access/sandbox/v2/invoke/202007/QDFPSC", Environment::Sandbox),
            ("/access/newsandbox/v2/invoke/202007/QDFPSC/", Environment::Sandbox),
        ] {
            let found = target(path).unwrap();
            assert_eq!((found.environment, found.service.as_str()), (environment, "QDFPSC"), "{path}");
        }
        assert_eq!(target("/access/sandbox_kzfw/v1/LQSX_SWZJ_GT4_QYXXCSH").unwrap().capability, "");
        for path in
            ["/", "/access/v2/invoke/202007", "/access/v2/invoke//QDFPSC", "/leqi-api/access/v2/invoke/1/2"]
        {
            assert!(target(path).is_none(), "{path}");
        }
    }
}
