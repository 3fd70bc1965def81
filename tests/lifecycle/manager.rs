//! The service manager: what it is told, and sockets that it hands over.

use std::{
    net::TcpListener,
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    common::process::{Gateway, Simulator, gateway_config},
    stand::Stand,
};

/// Reads datagrams until one holds the word; gives it.
fn hear(socket: &UnixDatagram, word: &str) -> String {
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{word} was not heard: {error}"));
        let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if said.lines().any(|line| line.starts_with(word)) {
            return said;
        }
    }
}

#[test]
fn the_service_manager_hears_of_start_reload_life_and_stop() {
    let simulator = Simulator::start();
    let dir = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leqi-gateway"));
    command.env("NOTIFY_SOCKET", dir.path().join("notify")).env("WATCHDOG_USEC", "300000");
    let mut gateway = Gateway::start_as(command, dir.path(), &gateway_config(&simulator));
    hear(&manager, "READY=1");
    hear(&manager, "WATCHDOG=1");
    hear(&manager, "WATCHDOG=1");
    let hang_up = || {
        let id = gateway.process.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    };
    hang_up();
    let reloading = hear(&manager, "RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(hear(&manager, "READY=1").contains("STATUS=serving"));
    std::fs::write(dir.path().join("gateway.toml"), "no = \"configuration\"").unwrap();
    hang_up();
    hear(&manager, "RELOADING=1");
    assert!(hear(&manager, "READY=1").contains("refused"), "a refused reload is over too");
    assert_eq!(gateway.process.terminate(), 0);
    hear(&manager, "STOPPING=1");
}

#[test]
fn a_socket_that_no_listener_wants_stops_the_start() {
    let stand = Stand::start("");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let config = std::fs::read_to_string(stand.path().join("gateway.toml")).unwrap();
    let other = tempfile::tempdir().unwrap();
    for name in ["certs", "data"] {
        std::fs::create_dir(other.path().join(name)).unwrap();
    }
    for name in ["certs/server.pem", "certs/server.key"] {
        std::fs::copy(stand.path().join(name), other.path().join(name)).unwrap();
    }
    let free = config
        .lines()
        .map(|line| if line.starts_with("address = ") { "address = \"127.0.0.1:0\"" } else { line });
    std::fs::write(other.path().join("gateway.toml"), free.collect::<Vec<_>>().join("\n")).unwrap();
    // systemd's own way: descriptor 3, and the process id of whoever is meant
    let script =
        r#"exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=lost; exec "$0" "$@""#;
    let out = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_leqi-gateway"), "serve", "--config", "gateway.toml"])
        .current_dir(other.path())
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("socket {address} (lost)")) && said.contains(".socket unit"), "{said}");
}

#[test]
fn a_gateway_that_is_stopped_while_it_waits_for_another_ends_well() {
    let stand = Stand::start("");
    let before = stand.gateway.log().matches("waiting for it to end").count();
    let mut second = stand.sockets.command();
    second.current_dir(stand.path()).args(["serve", "--config", "gateway.toml"]).stdin(Stdio::null());
    let log = std::fs::File::options().append(true).open(stand.path().join("gateway.log")).unwrap();
    let mut second = second.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    crate::common::eventually("it waits", || {
        (stand.gateway.log().matches("waiting for it to end").count() > before).then_some(())
    });
    assert!(Command::new("kill").args(["-TERM", &second.id().to_string()]).status().unwrap().success());
    assert_eq!(second.wait().unwrap().code(), Some(0));
    assert_eq!(stand.gateway.api("GET", "/status", None).0, 200, "the first goes on");
}
