//! TLS with the platform: what it shows, and whether that is what the configuration asks for.

use std::{io, time::Duration};

use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    network::{Way, dial},
    report::{Finding, Report, Stage},
    target::Target,
};
use crate::{
    cli::presented::presented,
    tls::{
        ClientSettings, Connector, HandshakeError, Session, Verify,
        certificate::{self, Summary},
    },
};

/// Certificates that end sooner are pointed out.
const SOON_DAYS: i64 = 30;

/// What the server shows, described.
#[derive(Debug)]
pub(super) struct Shown {
    /// Its certificates, its own first; those that cannot be read are missing.
    pub(super) chain: Vec<Summary>,
}

impl Shown {
    /// The server's own certificate.
    pub(super) fn own(&self) -> Option<&Summary> {
        self.chain.first()
    }
}

/// A handshake that trusts anybody, so that everything can be looked at.
pub(super) async fn shake(target: &Target, way: &Way) -> (Finding, Option<Shown>) {
    let anybody = ClientSettings { verify: Verify::Off, ..target.upstream.tls.clone() };
    let connector = match anybody.connector() {
        Ok(connector) => connector,
        Err(error) => return (Finding::failed(error.to_string()), None),
    };
    match handshake(target, way, connector).await {
        Ok(made) => {
            let chain = made.chain.iter().filter_map(|der| certificate::describe(der).ok()).collect();
            (Finding::ok(format!("{}  {}", made.version, made.cipher)), Some(Shown { chain }))
        }
        Err(error) => {
            let host = match way {
                Way::Direct(address) => address.to_string(),
                Way::Proxy => format!("{}:{}", target.host(), target.port()),
            };
            let finding = Finding::failed(error.to_string()).advise(
                format!("确认 {host} 就是平台的 HTTPS 端口（生产环境为 8443），中间没有改写 TLS 的防火墙或代理"),
                format!(
                    "make sure that {host} is the platform's HTTPS port (production: 8443) and that no firewall or \
                     proxy in between meddles with TLS"
                ),
            );
            (finding, None)
        }
    }
}

async fn handshake(target: &Target, way: &Way, connector: Connector) -> Result<Session, HandshakeError> {
    let limit = target.upstream.tls_timeout;
    let work = async { presented(dial(target, way).await?, target.host(), connector).await };
    timeout(limit, work).await.unwrap_or_else(|_| Err(too_slow(limit)))
}

fn too_slow(limit: Duration) -> HandshakeError {
    io::Error::new(io::ErrorKind::TimedOut, format!("no handshake within {limit:?} 握手超时")).into()
}

/// Notes what the certificates say; whether that suffices is for [`trust`] to tell.
pub(super) fn describe(target: &Target, shown: &Shown, now: Timestamp, report: &mut Report) {
    report.presented(&shown.chain);
    report.add(Stage::Chain, None, chain(shown));
    let Some(own) = shown.own() else { return };
    report.add(Stage::Names, None, names(target, own));
    report.add(Stage::Expiry, None, expiry(own, now));
    report.add(Stage::Key, None, key(target, own));
}

fn chain(shown: &Shown) -> Finding {
    let mut lines = shown.chain.iter().enumerate().map(|(index, of)| {
        let until = of.not_after.strftime("%Y-%m-%d");
        format!("{}. {}  ← {}  → {until}", index + 1, of.subject, of.issuer)
    });
    match lines.next() {
        Some(first) => lines.fold(Finding::ok(first), Finding::and),
        None => Finding::note("no certificate that can be read 没有可读的证书"),
    }
}

fn names(target: &Target, own: &Summary) -> Finding {
    if own.names.is_empty() {
        return Finding::note("none 证书中没有任何域名");
    }
    let listed = own.names.join(", ");
    if covers(own, target.host()) {
        Finding::ok(listed)
    } else {
        Finding::note(format!("{listed}  ≠ {}", target.host()))
    }
}

/// Whether one of the names is the host's; `*` stands for one label (RFC 6125 §6.4.3).
fn covers(own: &Summary, host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    own.names.iter().any(|name| {
        let tail = |name: &str| name.split_once('.').map(|(_, tail)| tail.to_ascii_lowercase());
        name.eq_ignore_ascii_case(host) || name.starts_with("*.") && tail(name) == tail(host)
    })
}

fn expiry(own: &Summary, now: Timestamp) -> Finding {
    let days = (own.not_after.as_second() - now.as_second()).div_euclid(86_400);
    let valid = format!("{} .. {}", own.not_before.strftime("%Y-%m-%d"), own.not_after.strftime("%Y-%m-%d"));
    if now < own.not_before {
        return Finding::note(format!("{valid}  NOT YET VALID 尚未生效")).advise(
            "证书尚未生效：先核对网关主机的系统时间（timedatectl）",
            "the certificate is not valid yet: check this host's clock first (timedatectl)",
        );
    }
    if days < 0 {
        return Finding::note(format!("{valid}  EXPIRED 已过期"));
    }
    let detail = format!("{valid}  {days} days left 剩余 {days} 天");
    if days < SOON_DAYS { Finding::note(detail) } else { Finding::ok(detail) }
}

fn key(target: &Target, own: &Summary) -> Finding {
    let Verify::Pinned(pins) = &target.upstream.tls.verify else {
        return Finding::ok(own.pin.to_string());
    };
    if pins.contains(&own.pin) {
        return Finding::ok(format!("{}  = pins", own.pin));
    }
    pins.iter().fold(Finding::note(own.pin.to_string()), |finding, pin| {
        finding.and(format!("{pin}  (pins 中配置的公钥 configured)"))
    })
}

/// A handshake that asks of the certificate what the configuration asks.
pub(super) async fn trust(
    target: &Target,
    way: &Way,
    shown: &Shown,
    now: Timestamp,
) -> (Finding, Option<()>) {
    if let Some(reason) = &target.broken_trust {
        return (pin_it(target, Finding::failed(reason)), None);
    }
    let Target { upstream, .. } = target;
    let connector = match upstream.tls.connector() {
        Ok(connector) => connector,
        Err(error) => return (pin_it(target, Finding::failed(error.to_string())), None),
    };
    match handshake(target, way, connector).await {
        Ok(_) if upstream.tls.verify == Verify::Off => {
            let finding = Finding::note("verify = \"off\": NOT VERIFIED 未校验");
            (pin_it(target, finding), Some(()))
        }
        Ok(_) => (Finding::ok(format!("verify = \"{}\"", target.verify())), Some(())),
        Err(error) => (distrusted(target, shown, now, &error), None),
    }
}

fn distrusted(target: &Target, shown: &Shown, now: Timestamp, error: &HandshakeError) -> Finding {
    let finding = Finding::failed(error.to_string());
    if error.pin_mismatch().is_some() {
        return finding.advise(
            "公钥与 pins 不符：平台更换了密钥，或有人在中间冒充。先经其他渠道核对新指纹，确认后才运行 leqi-gateway probe --trust",
            "the key is not the pinned one: the platform has changed it, or somebody stands in between. Compare the new \
             fingerprint over another way, and only then run leqi-gateway probe --trust",
        );
    }
    let Some(own) = shown.own() else { return pin_it(target, finding) };
    if now > own.not_after {
        return pin_it(
            target,
            finding.advise(
                "平台证书已过期：先核对网关主机的系统时间（timedatectl），再询问平台何时换证",
                "the platform's certificate has expired: check this host's clock first (timedatectl), then ask when it \
                 is renewed",
            ),
        );
    }
    if target.upstream.tls.verify == Verify::Full && !covers(own, target.host()) {
        return pin_it(
            target,
            finding.advise(
                "证书不含可用域名（平台已知情况），verify = \"full\" 无法使用",
                "the certificate carries no usable name (known of the platform), so verify = \"full\" cannot work",
            ),
        );
    }
    let finding = finding.advise(
        "签发该证书的 CA 不受信任：取得平台的 CA 证书后填入 ca_file",
        "its authority is not trusted: get the platform's CA certificate and set ca_file",
    );
    pin_it(target, finding)
}

fn pin_it(target: &Target, finding: Finding) -> Finding {
    let name = &target.upstream.name;
    finding.advise(
        format!("经其他渠道核对公钥指纹后，用 leqi-gateway probe --upstream {name} --trust 固定该公钥（verify = \"pinned\"）"),
        format!(
            "compare the key's fingerprint over another way, then pin it: leqi-gateway probe --upstream {name} --trust \
             (verify = \"pinned\")"
        ),
    )
}
