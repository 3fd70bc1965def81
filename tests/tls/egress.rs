//! The way out through a company's proxy: HTTP `CONNECT` and SOCKS5, with and without name and password.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use leqi_gateway::{
    tls::Verify,
    upstream::{Config, Credentials, Phase, Proxy},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    certificates::{Server, authority, other_authority},
    platform::{Platform, read_message},
    pool::{Watched, assert_figure},
};

/// What a proxy does with a request to connect.
#[derive(Clone, Debug)]
enum Does {
    /// Connects to this address, whatever was asked for.
    Connect(SocketAddr),
    /// Answers this instead.
    Say(&'static [u8]),
    /// Nothing.
    Nothing,
}

/// A proxy on loopback that notes what it was asked; it ends when dropped.
struct EgressProxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl EgressProxy {
    async fn start(socks: bool, does: Does) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = socket.accept().await.unwrap();
                let (noted, does) = (Arc::clone(&noted), does.clone());
                tokio::spawn(async move {
                    // the gateway closing the connection ends it, and the test looks at what was noted
                    let _ = if socks {
                        socks5(client, &noted, does).await
                    } else {
                        http(client, &noted, does).await
                    };
                });
            }
        });
        Self { address, asked, task }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for EgressProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn http(mut client: TcpStream, noted: &Mutex<Vec<String>>, does: Does) -> std::io::Result<()> {
    let Some(head) = read_message(&mut client).await else { return Ok(()) };
    noted.lock().unwrap().push(head);
    finish(client, does, b"HTTP/1.1 200 Connection established\r\n\r\n").await
}

/// Notes `name:password host:port`.
async fn socks5(mut client: TcpStream, noted: &Mutex<Vec<String>>, does: Does) -> std::io::Result<()> {
    let methods = field(&mut client, 1).await?;
    let mut said = String::new();
    if methods.contains(&2) {
        client.write_all(&[5, 2]).await?;
        let name = field(&mut client, 1).await?;
        let password = field(&mut client, 0).await?;
        said = format!("{}:{} ", String::from_utf8_lossy(&name), String::from_utf8_lossy(&password));
        if password != b"geheim" {
            noted.lock().unwrap().push(said);
            return client.write_all(&[1, 1]).await;
        }
        client.write_all(&[1, 0]).await?;
    } else {
        client.write_all(&[5, 0]).await?;
    }
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    let host = match head[3] {
        1 => {
            let mut ip = [0; 4];
            client.read_exact(&mut ip).await?;
            std::net::Ipv4Addr::from(ip).to_string()
        }
        3 => String::from_utf8(field(&mut client, 0).await?).unwrap(),
        other => panic!("address type {other}"),
    };
    let port = client.read_u16().await?;
    noted.lock().unwrap().push(format!("{said}{host}:{port}"));
    finish(client, does, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await
}

/// Bytes after their length, which comes after so many bytes that do not matter.
async fn field(client: &mut TcpStream, skip: usize) -> std::io::Result<Vec<u8>> {
    let mut before = vec![0; skip];
    client.read_exact(&mut before).await?;
    let mut bytes = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn finish(mut client: TcpStream, does: Does, yes: &[u8]) -> std::io::Result<()> {
    match does {
        Does::Connect(to) => {
            let mut onward = TcpStream::connect(to).await?;
            client.write_all(yes).await?;
            copy_bidirectional(&mut client, &mut onward).await.map(drop)
        }
        Does::Say(words) => client.write_all(words).await,
        Does::Nothing => client.read(&mut [0]).await.map(drop),
    }
}

/// A platform that only the proxy knows: its name is known to no name server.
fn behind(proxy: &str, password: Option<&str>, set: impl FnOnce(&mut Config)) -> Watched {
    Watched::new("https://platform.example:8443", |config| {
        config.tls.verify = Verify::Off;
        config.breaker_failures = 0;
        config.connect_timeout = Duration::from_millis(500);
        let credentials = password.map(|password| Credentials {
            username: "leqi".to_owned(),
            password: password.to_owned().into(),
        });
        config.proxy = Some(Proxy { url: proxy.parse().unwrap(), credentials });
        set(config);
    })
}

async fn platform() -> Platform {
    Platform::friendly(Some(Server::named(&authority()).config())).await
}

#[tokio::test]
async fn connect_tunnels_tls_to_the_name_with_basic_authentication() {
    let platform = platform().await;
    let proxy = EgressProxy::start(false, Does::Connect(platform.address)).await;
    let watched = behind(&format!("http://{}", proxy.address), Some("geheim"), |_| {});
    for _ in 0..3 {
        assert_eq!(watched.get().await.unwrap(), "ok");
    }
    // the tunnel is kept like any connection
    let asked = proxy.asked();
    assert_eq!((asked.len(), platform.requests()), (1, 3));
    let head = asked[0].to_ascii_lowercase();
    assert!(head.starts_with("connect platform.example:8443 http/1.1\r\n"), "{head}");
    assert!(head.contains("host: platform.example:8443\r\n"), "{head}");
    // base64 of leqi:geheim
    assert!(asked[0].contains("Basic bGVxaTpnZWhlaW0="), "{head}");
    // whoever reads the platform's requests does not see it
    let seen = platform.seen.lock().unwrap();
    assert!(seen.requests.iter().all(|request| !request.to_ascii_lowercase().contains("proxy-")));
    assert_eq!(seen.names, [Some("platform.example".to_owned())]);
}

#[tokio::test]
async fn socks5_tunnels_tls_to_the_name_with_name_and_password_or_without() {
    let platform = platform().await;
    let proxy = EgressProxy::start(true, Does::Connect(platform.address)).await;
    let url = format!("socks5://{}", proxy.address);
    assert_eq!(behind(&url, Some("geheim"), |_| {}).get().await.unwrap(), "ok");
    assert_eq!(behind(&url, None, |_| {}).get().await.unwrap(), "ok");
    let fixed = behind(&url, None, |config| config.addresses = vec!["192.0.2.7:8443".parse().unwrap()]);
    assert_eq!(fixed.get().await.unwrap(), "ok");
    let expected = ["leqi:geheim platform.example:8443", "platform.example:8443", "192.0.2.7:8443"];
    assert_eq!(proxy.asked(), expected);
}

#[tokio::test]
async fn what_the_proxy_does_wrong_is_told_apart_from_the_platform() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let says = |words: &'static [u8]| EgressProxy::start(false, Does::Say(words));
    let auth = says(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n").await;
    let forbidden = says(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    let hasty = says(b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0").await;
    let mail = says(b"220 mail.corp ESMTP\r\n").await;
    let silent = EgressProxy::start(false, Does::Nothing).await;
    let wrong_password = EgressProxy::start(true, Does::Nothing).await;
    let unreachable = EgressProxy::start(true, Does::Say(&[5, 4, 0, 1, 0, 0, 0, 0, 0, 0])).await;
    let http = |address| format!("http://{address}");
    let socks = |address| format!("socks5://{address}");
    for (url, reason) in [
        (http(closed), "connection refused"),
        (http(auth.address), "407"),
        (http(forbidden.address), "403 Forbidden"),
        (http(hasty.address), "no tunnel"),
        (http(mail.address), "speaks no HTTP"),
        (http(silent.address), "no progress within 500ms"),
        (socks(wrong_password.address), "auth"),
        (socks(unreachable.address), "nreachable"),
        ("http://proxy.invalid:3128".to_owned(), "proxy.invalid"),
    ] {
        let password = if reason == "nreachable" { "geheim" } else { "falsch" };
        let watched = behind(&url, Some(password), |config| {
            config.names.servers = vec![closed];
        });
        let error = watched.get().await.unwrap_err();
        assert_eq!((error.phase, error.sent), (Phase::Proxy, false), "{url}: {error}");
        let text = error.to_string();
        assert!(text.contains(reason) && text.contains(&url), "{url}: {reason} in {text}");
        assert!(!text.contains(password), "{text}");
        assert_figure(&watched, "upstream_connects_total", "outcome=\"proxy\"", 1);
    }
}

#[tokio::test]
async fn the_platform_is_verified_through_the_tunnel_as_without_it() {
    let platform = platform().await;
    let proxy = EgressProxy::start(false, Does::Connect(platform.address)).await;
    let dir = tempfile::tempdir().unwrap();
    let strangers = dir.path().join("ca.pem");
    std::fs::write(&strangers, other_authority().certificate_pem()).unwrap();
    let watched = behind(&format!("http://{}", proxy.address), None, |config| {
        config.tls.verify = Verify::Full;
        config.tls.ca_file = Some(strangers.clone());
    });
    let error = watched.get().await.unwrap_err();
    assert_eq!((error.phase, error.sent, platform.requests()), (Phase::Tls, false, 0), "{error}");
}
