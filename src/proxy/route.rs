//! From a path to an upstream, a service and a treatment.

use std::{borrow::Cow, sync::Arc};

use http::{Uri, request, uri::PathAndQuery};

use super::{Config, GatewayError, location::Entrance, path};
use crate::{
    domain::{CapabilityCode, Environment, ServiceClass, ServiceCode},
    leqi,
    upstream::Upstream,
};

/// What is done with a call on a production route whose `sxcsbz` (sandbox flag) is not empty: the platform would
/// take it for a sandbox test, so the invoicing system is set up wrongly (protocol.md §1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SandboxFlag {
    /// It goes on as it came.
    Pass,
    /// It is refused with a sentence that says which setting to delete.
    #[default]
    Refuse,
    /// The header is taken away and the call goes on.
    Strip,
}

/// One `[[route]]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// Paths that start with this take the route; the longest prefix wins.
    pub prefix: String,
    /// What the prefix is replaced by; as it came when `None`.
    pub replace: Option<String>,
    /// Where the calls go.
    pub upstream: Arc<Upstream>,
    /// Which of the platform's worlds that is.
    pub environment: Environment,
    /// What is done with a sandbox flag on a production route.
    pub sandbox_flag: SandboxFlag,
}

/// Where calls go and within which limits: what a reload replaces as a whole.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    config: Config,
    /// Longest prefix first.
    routes: Vec<Arc<Route>>,
}

/// Where a call goes and what it is.
#[derive(Clone, Debug)]
pub struct Call {
    /// The route taken.
    pub route: Arc<Route>,
    /// The limits and policies when the call began.
    pub config: Config,
    /// Path and query that are sent upstream.
    pub target: PathAndQuery,
    /// The service named by the path, when the path names one.
    pub service: Option<ServiceCode>,
    /// The capability named by the path, when the path names one.
    pub capability: Option<CapabilityCode>,
    /// The class of the service; `None` for a service that no table knows.
    pub class: Option<ServiceClass>,
    /// How the client addressed the gateway.
    pub entrance: Entrance,
}

impl Plan {
    /// A plan of these limits and routes.
    #[must_use]
    pub fn new(config: Config, routes: Vec<Route>) -> Self {
        let mut routes: Vec<_> = routes.into_iter().map(Arc::new).collect();
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        Self { config, routes }
    }

    /// The call that a request makes; `tls` tells whether it came over TLS.
    ///
    /// # Errors
    /// When no route takes its path, or the platform may take the path for one of another route.
    pub fn resolve(&self, head: &request::Parts, tls: bool) -> Result<Call, GatewayError> {
        let path = head.uri.path();
        let route = self.of(path).ok_or(GatewayError::NoRoute)?;
        if !path::is_plain(path) && path::readings(path).any(|read| !self.leads(&read, route)) {
            return Err(GatewayError::PathAmbiguous);
        }
        let target = target(route, &head.uri).ok_or(GatewayError::NoRoute)?;
        let (capability, service) = codes(path);
        let class = service
            .as_ref()
            .and_then(|code| leqi::catalogue::service(code.as_str()))
            .map(|service| service.class);
        let entrance = Entrance::of(head, tls);
        Ok(Call {
            route: Arc::clone(route),
            config: self.config,
            target,
            service,
            capability,
            class,
            entrance,
        })
    }

    /// The route that takes a path.
    fn of(&self, path: &str) -> Option<&Arc<Route>> {
        self.routes.iter().find(|route| path.starts_with(&route.prefix))
    }

    /// Whether a path takes this route.
    fn leads(&self, path: &str, route: &Arc<Route>) -> bool {
        self.of(path).is_some_and(|found| Arc::ptr_eq(found, route))
    }
}

impl Call {
    /// The class that the call is treated as: an unknown service is a `read` until its body says otherwise.
    #[must_use]
    pub fn class(&self) -> ServiceClass {
        self.class.unwrap_or(ServiceClass::Read)
    }

    /// Whether the ledger and the confirmations apply.
    #[must_use]
    pub fn is_production(&self) -> bool {
        self.route.environment == Environment::Production
    }
}

/// Path and query for the upstream: as they came, with the upstream's base path before and the prefix replaced.
fn target(route: &Route, uri: &Uri) -> Option<PathAndQuery> {
    let came = uri.path_and_query()?;
    let base = route.upstream.base_path().trim_end_matches('/');
    if base.is_empty() && route.replace.is_none() {
        return Some(came.clone());
    }
    let (prefix, rest) = match &route.replace {
        Some(replace) => (replace.as_str(), came.as_str().get(route.prefix.len()..)?),
        None => ("", came.as_str()),
    };
    let slash = if base.is_empty() && prefix.is_empty() && !rest.starts_with('/') { "/" } else { "" };
    format!("{base}{slash}{prefix}{rest}").parse().ok()
}

/// The codes in a path: `…/invoke/{capability}/{service}[/]`, else the last segment as the service (the sandbox
/// control service has no capability). Percent-encoded segments are decoded, since the platform decodes them too.
fn codes(path: &str) -> (Option<CapabilityCode>, Option<ServiceCode>) {
    let mut segments = path.rsplit('/').filter(|segment| !segment.is_empty()).map(percent_decoded);
    let service = segments.next();
    let capability = segments.next();
    let invoked = segments.next().is_some_and(|segment| segment == "invoke");
    let service = service.and_then(|code| ServiceCode::parse(&code).ok());
    let capability = capability.filter(|_| invoked).and_then(|code| CapabilityCode::parse(&code).ok());
    (capability, service)
}

fn percent_decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    String::from_utf8(path::decoded(segment)).map_or(Cow::Borrowed(segment), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes_of(path: &str) -> (String, String) {
        let (capability, service) = codes(path);
        (
            capability.map(|c| c.to_string()).unwrap_or_default(),
            service.map(|s| s.to_string()).unwrap_or_default(),
        )
    }

    #[test]
    fn capability_and_service_are_read_from_the_path_in_every_form() {
        for path in [
            "/access/v2/invoke/202007/QDFPSC",
            "/access/v2/invoke/202007/QDFPSC/",
            "/leqi-api/access/sandbox/v2/invoke//202007/QDFPSC/",
            "/access/v2/invoke/202007/QDFPS%43",
        ] {
            assert_eq!(codes_of(path), ("202007".to_owned(), "QDFPSC".to_owned()), "{path}");
        }
        let control = "/access/sandbox_kzfw/v1/LQSX_SWZJ_GT4_CXXNQYXX";
        assert_eq!(codes_of(control), (String::new(), "LQSX_SWZJ_GT4_CXXNQYXX".to_owned()));
        assert_eq!(codes_of("/"), (String::new(), String::new()));
        assert_eq!(codes_of("/access/v2/invoke/202007/%"), ("202007".to_owned(), String::new()));
    }
}
