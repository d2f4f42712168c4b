//! The settings of a broker, without a broker.

use std::fs;

use crate::shell::run;

const NOWHERE: &str = "http://127.0.0.1:1";

#[test]
fn settings_are_checked_without_opening_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lessor.toml");
    let store = folder.path().join("jobs.db");
    fs::write(&file, format!("store = 'sqlite:{}'\n", store.display())).unwrap();
    let check = ["config", "check", "--config", file.to_str().unwrap()];
    let done = run(NOWHERE, &check, "");
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stdout.contains(store.to_str().unwrap()), "{}", done.stdout);
    assert!(!store.exists());

    fs::write(&file, "colour = 'red'\n").unwrap();
    run(NOWHERE, &check, "").failed(78, &["colour", file.to_str().unwrap()]);
}

#[test]
fn the_template_is_a_file_that_holds() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lessor.toml");
    fs::write(&file, run(NOWHERE, &["config", "template"], "").stdout).unwrap();
    let check = ["config", "check", "--config", file.to_str().unwrap()];
    assert_eq!(run(NOWHERE, &check, "").code, 0);
}
