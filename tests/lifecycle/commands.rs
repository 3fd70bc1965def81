//! `reload` and `status`: clients of the management API.

use std::process::{Command, Output};

use crate::stand::Stand;

fn run(stand: &Stand, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leqi-gateway"))
        .current_dir(stand.path())
        .env_remove("LEQI_GATEWAY_TOKEN")
        .args(arguments)
        .output()
        .unwrap()
}

fn said(out: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

#[test]
fn reload_says_what_changed_or_why_not_with_its_exit_code() {
    let stand = Stand::start("");
    // the address comes from the configuration
    let reload = || said(&run(&stand, &["reload", "--config", "gateway.toml", "--token-file", "token"]));
    let (code, out, err) = reload();
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "the configuration is in force: nothing has changed\n"),
        "{err}"
    );
    stand.configure(&(stand.config().to_owned() + "\n[limits]\nrequest_body = \"16MiB\"\n"));
    let (code, out, err) = reload();
    assert_eq!((code, out.as_str()), (Some(0), "the configuration is in force: limits\n"), "{err}");

    let url = format!("http://{}", stand.gateway.admin);
    stand.configure(
        &stand.config().replace("plaintext = true", "plaintext = true\nnonsense = 1\nrubbish = 2"),
    );
    let arguments = ["reload", "--url", &url, "--token-file", "token"];
    let (code, out, err) = said(&run(&stand, &arguments));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("stays in force") && err.contains("nonsense") && err.contains("rubbish"), "{err}");
    assert!(err.lines().count() >= 3, "{err}");
}

#[test]
fn status_shows_what_runs_and_errors_say_what_to_do() {
    let stand = Stand::start("");
    let url = format!("http://{}", stand.gateway.admin);
    let (code, out, err) = said(&run(&stand, &["status", "--url", &url, "--token-file", "token"]));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("version") && out.contains(env!("CARGO_PKG_VERSION")), "{out}");
    let (_, out, _) =
        said(&run(&stand, &["status", "--url", &url, "--token-file", "token", "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["store"], "ok");

    let (code, _, err) = said(&run(&stand, &["status", "--url", &url]));
    assert_eq!(code, Some(1));
    assert!(err.contains("--token-file") && err.contains("LEQI_GATEWAY_TOKEN"), "{err}");
    std::fs::write(stand.path().join("wrong"), "lgw_wrong").unwrap();
    let (code, _, err) = said(&run(&stand, &["status", "--url", &url, "--token-file", "wrong"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("unknown or was revoked"), "{err}");
    let (code, _, err) =
        said(&run(&stand, &["status", "--url", "http://127.0.0.1:1", "--token-file", "token"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("cannot connect to 127.0.0.1:1"), "{err}");
}

#[test]
fn jobs_are_listed_and_run_and_the_exit_code_says_how_they_ended() {
    let stand = Stand::start("");
    let url = format!("http://{}", stand.gateway.admin);
    let jobs = |arguments: &[&str]| {
        said(&run(&stand, &[&["jobs"], arguments, &["--url", &url, "--token-file", "token"]].concat()))
    };
    let (code, out, err) = jobs(&["run", "audit"]);
    assert_eq!((code, out.as_str()), (Some(0), "audit: ok (done 2, failed 0, nothing 0)\n"), "{err}");
    let (code, out, err) = jobs(&["list"]);
    assert_eq!(code, Some(0), "{err}");
    let audit = out.lines().find(|line| line.starts_with("audit ")).unwrap();
    assert!(audit.contains("daily at 04:15") && audit.contains(" ok "), "{out}");
    let (_, out, _) = jobs(&["list", "--output", "json"]);
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 8, "{list}");
    let (code, _, err) = jobs(&["run", "nonsense"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("nonsense"), "{err}");
}
