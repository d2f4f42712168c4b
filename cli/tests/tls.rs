//! Redis behind TLS, as a store and as what is imported from: the server's certificate is checked against those that the system trusts.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

#[expect(dead_code, reason = "nobody is killed or waited for here")]
mod machine;
#[expect(dead_code, reason = "nobody is hurt here")]
#[path = "machine/redis.rs"]
mod redis;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;

use crate::machine::free_port;
use crate::redis::Redis;

#[tokio::test]
async fn a_redis_whose_certificate_is_trusted_is_a_store_and_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("redis.crt"), folder.path().join("redis.key"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let _redis = Redis::start(&[
        &format!("tls-port {port}"),
        &format!("tls-cert-file {}", certificate.display()),
        &format!("tls-key-file {}", key.display()),
        &format!("tls-ca-cert-file {}", certificate.display()),
        "tls-auth-clients no",
    ])
    .await;

    doctor(port, &certificate).success();
    // It was reached, and is empty.
    let imported = import(port, &certificate).failure().code(2);
    let said = String::from_utf8_lossy(&imported.get_output().stderr).into_owned();
    assert!(said.contains("no queue of rq at localhost"), "{said}");
    let stranger = folder.path().join("stranger.crt");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&stranger, other.cert.pem()).unwrap();
    let refused = doctor(port, &stranger).failure().code(1);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("certificate") && !said.contains("panicked"), "{said}");
    import(port, &stranger).failure().code(1);
}

fn doctor(port: u16, trusted: &Path) -> Assert {
    reach(&["doctor", "--store"], port, trusted)
}

fn import(port: u16, trusted: &Path) -> Assert {
    reach(&["import", "rq", "--from"], port, trusted)
}

fn reach(command: &[&str], port: u16, trusted: &Path) -> Assert {
    Command::new(env!("CARGO_BIN_EXE_lessor"))
        .args(command)
        .arg(format!("rediss://localhost:{port}"))
        .env("SSL_CERT_FILE", trusted)
        .env_remove("SSL_CERT_DIR")
        .assert()
}
