//! `Location` and `Content-Location` of answers, led back through the gateway: a client that follows the platform's own
//! address would leave the gateway, and may not even reach it.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Uri, header, request, uri::Scheme};

use super::Route;

/// How the client addressed the gateway.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// `https` or `http`.
    scheme: Scheme,
    /// Host and port; from the `Host` header, or from the request line where the client named them there.
    authority: Option<HeaderValue>,
}

impl Entrance {
    /// What a request says about it; `tls` tells whether it came over TLS.
    #[must_use]
    pub fn of(head: &request::Parts, tls: bool) -> Self {
        let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
        match head.uri.authority() {
            Some(authority) => Self {
                scheme: head.uri.scheme().cloned().unwrap_or(scheme),
                authority: HeaderValue::from_str(authority.as_str()).ok(),
            },
            None => Self { scheme, authority: head.headers.get(header::HOST).cloned() },
        }
    }

    /// `https://gateway:8443`; nothing when the client did not say whom it called.
    fn base(&self) -> String {
        let authority = self.authority.as_ref().and_then(|authority| authority.to_str().ok());
        authority.map(|authority| format!("{}://{authority}", self.scheme)).unwrap_or_default()
    }
}

/// Leads both headers back to the gateway where they point at the upstream; all others stay as they came.
pub(super) fn lead_back(headers: &mut HeaderMap, route: &Route, entrance: &Entrance) {
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        // asked first, since an entry makes room for itself
        if headers.contains_key(&name)
            && let header::Entry::Occupied(mut found) = headers.entry(name)
        {
            for value in found.iter_mut() {
                let led = std::str::from_utf8(value.as_bytes())
                    .ok()
                    .and_then(|reference| led_back(reference, route, entrance))
                    .and_then(|led| HeaderValue::from_str(&led).ok());
                if let Some(led) = led {
                    *value = led;
                }
            }
        }
    }
}

/// The same place by way of the gateway; `None` when it is not the upstream's, or is the same already.
fn led_back(reference: &str, route: &Route, entrance: &Entrance) -> Option<String> {
    if let Some(path) =
        reference.strip_prefix('/').and_then(|rest| (!rest.starts_with('/')).then_some(reference))
    {
        return translated(path, route).filter(|led| led != path).map(Cow::into_owned);
    }
    let (scheme, rest) = match reference.split_once("//")? {
        ("", rest) => (None, rest),
        (scheme, rest) => (Some(scheme.strip_suffix(':')?), rest),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if !is_of(route, scheme, authority) {
        return None;
    }
    let path = if tail.starts_with('/') { Cow::Borrowed(tail) } else { Cow::Owned(format!("/{tail}")) };
    Some(format!("{}{}", entrance.base(), translated(&path, route)?))
}

/// A path of the upstream as the gateway's clients have to call it, with query and fragment; `None` when no call of this
/// route leads there.
fn translated<'p>(path: &'p str, route: &Route) -> Option<Cow<'p, str>> {
    let rest = path.strip_prefix(route.upstream.base_path())?;
    let rest = match rest.as_bytes().first() {
        Some(b'/') => Cow::Borrowed(rest),
        None | Some(b'?' | b'#') => Cow::Owned(format!("/{rest}")),
        Some(_) => return None,
    };
    match &route.replace {
        None => Some(rest),
        Some(replace) => {
            Some(Cow::Owned(format!("{}{}", route.prefix, rest.strip_prefix(replace.as_str())?)))
        }
    }
}

/// Whether this authority is the upstream's, where the port may go without saying.
fn is_of(route: &Route, scheme: Option<&str>, authority: &str) -> bool {
    let own: Option<Uri> = route.upstream.authority().parse().ok();
    let named: Option<Uri> = authority.parse().ok();
    let (Some(own), Some(named)) = (own, named) else { return false };
    let usual = match scheme {
        None => None,
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => Some(443),
        Some(scheme) if scheme.eq_ignore_ascii_case("http") => Some(80),
        Some(_) => return false,
    };
    let same_host = own.host().zip(named.host()).is_some_and(|(own, named)| own.eq_ignore_ascii_case(named));
    let same_port = match (own.port_u16(), named.port_u16()) {
        (Some(own), Some(named)) => own == named,
        (Some(own), None) => usual == Some(own),
        (None, Some(named)) => usual == Some(named),
        (None, None) => true,
    };
    same_host && same_port && !authority.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Environment,
        proxy::SandboxFlag,
        telemetry::metrics::Metrics,
        upstream::{Config, Upstream, UpstreamMetrics},
    };

    fn route(base_url: &str, prefix: &str, replace: Option<&str>) -> Route {
        let metrics = UpstreamMetrics::register(&Metrics::new().unwrap()).unwrap();
        let mut config = Config::new("leqi".into(), base_url.parse().unwrap());
        config.tls.verify = crate::tls::Verify::Off;
        Route {
            prefix: prefix.into(),
            replace: replace.map(str::to_owned),
            upstream: Upstream::new(config, &metrics).unwrap(),
            environment: Environment::Production,
            sandbox_flag: SandboxFlag::Refuse,
        }
    }

    fn entrance(host: Option<&'static str>) -> Entrance {
        Entrance { scheme: Scheme::HTTPS, authority: host.map(HeaderValue::from_static) }
    }

    fn led(reference: &str, route: &Route) -> String {
        led_back(reference, route, &entrance(Some("gw:8443"))).unwrap_or_else(|| "as it came".to_owned())
    }

    #[tokio::test]
    async fn what_points_at_the_upstream_is_led_back_and_nothing_else() {
        let route = route("https://lqpt.chinatax.gov.cn:8443", "/access/", None);
        for (reference, expected) in [
            ("https://lqpt.chinatax.gov.cn:8443/access/x/?a=1#f", "https://gw:8443/access/x/?a=1#f"),
            ("http://LQPT.chinatax.gov.cn:8443/access/x", "https://gw:8443/access/x"),
            ("//lqpt.chinatax.gov.cn:8443/access/%2Fx", "https://gw:8443/access/%2Fx"),
            ("https://lqpt.chinatax.gov.cn:8443", "https://gw:8443/"),
            ("https://lqpt.chinatax.gov.cn:8443?a", "https://gw:8443/?a"),
            ("/access/x", "as it came"),
            ("x/../y?u=//a", "as it came"),
            ("", "as it came"),
            ("https://lqpt.chinatax.gov.cn/access/x", "as it came"),
            ("https://lqpt.chinatax.gov.cn:8443@evil.example/access/", "as it came"),
            ("https://user@lqpt.chinatax.gov.cn:8443/access/", "as it came"),
            ("https://lqpt.chinatax.gov.cn:8443.evil.example/access/", "as it came"),
            ("ftp://lqpt.chinatax.gov.cn:8443/access/x", "as it came"),
            ("https://other.example/access/x", "as it came"),
        ] {
            assert_eq!(led(reference, &route), expected, "{reference}");
        }
    }

    #[tokio::test]
    async fn a_base_path_is_taken_away_and_a_replaced_prefix_put_back() {
        let route = route("https://relay.example/tax/leqi/", "/leqi-api/", Some("/access/"));
        for (reference, expected) in [
            ("/tax/leqi/access/x?y", "/leqi-api/x?y"),
            ("https://relay.example/tax/leqi/access/x", "https://gw:8443/leqi-api/x"),
            ("https://relay.example:443/tax/leqi/access/", "https://gw:8443/leqi-api/"),
            ("https://relay.example:80/tax/leqi/access/", "as it came"),
            ("https://relay.example/tax/other", "as it came"),
            ("/tax/leqi/other", "as it came"),
            ("/tax/leqibank/access/x", "as it came"),
        ] {
            assert_eq!(led(reference, &route), expected, "{reference}");
        }
    }

    #[tokio::test]
    async fn a_client_that_names_no_host_gets_a_path() {
        let route = route("https://lqpt.chinatax.gov.cn:8443", "/access/", None);
        let reference = "https://lqpt.chinatax.gov.cn:8443/access/x";
        assert_eq!(led_back(reference, &route, &entrance(None)).as_deref(), Some("/access/x"));
    }
}
