//! The demonstration is what a newcomer runs first: it must tell the truth, leave nothing behind and end cleanly.

use std::process::Command;

#[test]
fn the_demonstration_is_true_from_beginning_to_end_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_leqi-gateway"))
        .args(["demo", "--once"])
        .env("TMPDIR", temporary.path())
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(!said.lines().any(|line| line.starts_with("  ✗")), "{said}");
    assert_eq!(complained, "", "nothing goes wrong on the way");
    for told in
        ["GW-QUOTA-SHORT", "已释放", "当月红冲", "confirmed", "cancelled", "\"fphm\"", "byte for byte"]
    {
        assert!(said.contains(told), "{told} is missing in {said}");
    }
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "temporary files are removed");
}
