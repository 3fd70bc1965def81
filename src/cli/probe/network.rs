//! The way to the platform's port: its name, its addresses, or the egress proxy.

use std::{io, net::SocketAddr, time::Instant};

use tokio::{net::TcpStream, time::timeout};

use super::{report::Finding, target::Target};

/// Where names are written down by hand (protocol.md §2: the resolver may be a hosts file).
const HOSTS: &str = "/etc/hosts";

/// How the platform's port is reached.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// At this address.
    Direct(SocketAddr),
    /// Through the upstream's egress proxy.
    Proxy,
}

/// Finds the addresses, as the gateway does; none are needed with a proxy.
pub(super) async fn resolve(target: &Target) -> (Finding, Option<Vec<SocketAddr>>) {
    if target.upstream.proxy.is_some() {
        return (Finding::ok("left to the egress proxy 由出口代理解析"), Some(Vec::new()));
    }
    let fixed = &target.upstream.addresses;
    if !fixed.is_empty() {
        let detail = format!("{}  (addresses in [[upstream]], DNS not asked 使用固定地址)", list(fixed));
        return (Finding::ok(detail), Some(fixed.clone()));
    }
    let (host, servers) = (target.host(), &target.upstream.names.servers);
    let upstream = match target.untrusting() {
        Ok(upstream) => upstream,
        Err(error) => return (Finding::failed(error.to_string()), None),
    };
    match upstream.addresses().await {
        Ok(found) if found.is_empty() => (unknown(host, servers, "no address 没有地址"), None),
        Ok(found) => {
            let origin = if is_in_hosts(host) {
                format!("  ({HOSTS})")
            } else if servers.is_empty() {
                String::new()
            } else {
                format!("  (name_servers {})", list(servers))
            };
            (Finding::ok(format!("{host} → {}{origin}", list(&found))), Some(found))
        }
        Err(error) => (unknown(host, servers, &error.source.to_string()), None),
    }
}

fn unknown(host: &str, servers: &[SocketAddr], reason: &str) -> Finding {
    let asked = if servers.is_empty() {
        "/etc/resolv.conf".to_owned()
    } else {
        format!("name_servers {}", list(servers))
    };
    Finding::failed(format!("{host}: {reason}")).advise(
        format!(
            "检查网关主机的 DNS（{asked}）；内网没有 DNS 时，在 {HOSTS} 中加入一行“平台地址 {host}”，或在 [[upstream]] 中填写 addresses"
        ),
        format!(
            "check the host's DNS ({asked}); without DNS add a line \"ADDRESS {host}\" to {HOSTS}, or set addresses in \
             [[upstream]]"
        ),
    )
}

fn is_in_hosts(host: &str) -> bool {
    let text = std::fs::read_to_string(HOSTS).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split('#').next())
        .any(|line| line.split_whitespace().skip(1).any(|name| name.eq_ignore_ascii_case(host)))
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Connects through the proxy, or to every address; gives the first way that works.
pub(super) async fn connect(target: &Target, addresses: &[SocketAddr]) -> (Finding, Option<Way>) {
    if let Some(proxy) = &target.upstream.proxy {
        return match dial(target, &Way::Proxy).await {
            Ok(_) => (Finding::ok(format!("through the proxy 经代理 {}", proxy.url)), Some(Way::Proxy)),
            Err(error) => (proxy_failed(&error), None),
        };
    }
    let mut tried = Vec::new();
    for address in addresses {
        let began = Instant::now();
        let failure = dial(target, &Way::Direct(*address)).await.err();
        tried.push((*address, began.elapsed(), failure));
    }
    let works = tried.iter().find(|(_, _, failure)| failure.is_none()).map(|(address, _, _)| *address);
    let mut details = tried.iter().map(|(address, took, failure)| match failure {
        None => format!("{address}  {} ms", took.as_millis()),
        Some(error) => format!("{address}  {}", describe(error)),
    });
    let first = details.next().unwrap_or_default();
    let all_work = tried.iter().all(|(_, _, failure)| failure.is_none());
    let mut finding = match works {
        Some(_) if all_work => Finding::ok(first),
        Some(_) => Finding::note(first),
        None => Finding::failed(first),
    };
    finding = details.fold(finding, Finding::and);
    for (address, _, failure) in &tried {
        if let Some(error) = failure {
            finding = advise(finding, *address, error);
        }
    }
    (finding, works.map(Way::Direct))
}

fn proxy_failed(error: &io::Error) -> Finding {
    Finding::failed(error.to_string()).advise(
        "核对 [[upstream]] proxy 的地址与账号，并请代理管理员放通平台的域名与端口",
        "check url, username and password_file of proxy in [[upstream]], and have the proxy allow the platform's name and port",
    )
}

/// A connection, within the upstream's limit.
pub(super) async fn dial(target: &Target, way: &Way) -> io::Result<TcpStream> {
    let limit = target.upstream.connect_timeout;
    match way {
        Way::Direct(address) => timeout(limit, TcpStream::connect(address)).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}")))
        }),
        Way::Proxy => {
            let upstream = target.untrusting().map_err(io::Error::other)?;
            upstream.socket().await.map_err(io::Error::other)
        }
    }
}

fn describe(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return "connection refused 连接被拒绝".to_owned();
    }
    if error.kind() == io::ErrorKind::TimedOut {
        return format!("{error} 连接超时");
    }
    error.to_string()
}

fn advise(finding: Finding, address: SocketAddr, error: &io::Error) -> Finding {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return finding.advise(
            format!("{address} 没有服务在监听，或防火墙拒绝：核对 base_url 的端口（生产环境为 8443）"),
            format!("nothing listens at {address}, or a firewall rejects: check the port in base_url (production: 8443)"),
        );
    }
    finding.advise(
        format!("请网络管理员放通：本机 → {address} 出方向 TCP，并检查路由"),
        format!(
            "ask for the firewall to be opened: this host → {address}, outgoing TCP; check the route too"
        ),
    )
}
