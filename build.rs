//! Tells the program which commit it was built from, where that can be known. Only released builds ask: a test build
//! would be made anew after every commit.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LEQI_GATEWAY_COMMIT");
    let released = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    // packagers build from an archive without git, and say what it is
    let commit = env::var("LEQI_GATEWAY_COMMIT").ok().or_else(|| released.then(from_git).flatten());
    let commit = commit.filter(|commit| !commit.is_empty());
    println!("cargo::rustc-env=LEQI_GATEWAY_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version = commit.map_or_else(|| version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo::rustc-env=LEQI_GATEWAY_VERSION={version}");
}

/// The commit of this directory; nothing without git, or where the directory only lies inside another repository.
fn from_git() -> Option<String> {
    let here = env::var("CARGO_MANIFEST_DIR").ok()?;
    if Path::new(&git(&["rev-parse", "--show-toplevel"])?) != Path::new(&here) {
        return None;
    }
    // changes with every commit and every checkout
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let out = Command::new("git").args(args).output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8(out.stdout).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}
