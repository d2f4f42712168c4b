//! Certificates of the broker and of its callers: what is broken is refused by name, whoever shows
//! none or an old one is not served, and new ones count without a restart.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::machine::broker::{Broker, serve};
use crate::machine::process::Process;
use crate::{MEMORY, identities};

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Files of this test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes a certificate and its key, as `name.crt` and `name.key`.
    pub(crate) fn issue(
        &self,
        by: &Authority,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) {
        let key = KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        self.write(&format!("{name}.crt"), &params.signed_by(&key, by).unwrap().pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    pub(crate) fn trust(&self, name: &str, authority: &Authority) {
        self.write(name, &authority.as_ref().pem());
    }
}

/// The arguments for the broker's certificate and key.
fn tls(folder: &Folder) -> Vec<String> {
    let mut args = MEMORY.map(str::to_owned).to_vec();
    args.extend(["--tls-cert".into(), folder.text("broker.crt")]);
    args.extend(["--tls-key".into(), folder.text("broker.key")]);
    args
}

async fn start(args: &[String]) -> Broker {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Broker::start(&args).await
}

/// Runs a command against the broker: its exit code, and what it said.
fn run(broker: &Broker, ca: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lessor"))
        .env_clear()
        .args(["--server", &format!("https://localhost:{}", broker.address.port())])
        .arg("--ca")
        .arg(ca)
        .args(args)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn queues(broker: &Broker, ca: &Path, args: &[&str]) -> (Option<i32>, String) {
    run(broker, ca, &[&["queues", "--timeout", "5s"], args].concat())
}

#[tokio::test]
async fn a_broken_file_is_refused_by_its_name_and_its_content_is_not_told() {
    let (folder, ours) = (Folder::new(), authority());
    for (file, content, why) in [
        ("broker.crt", Some("nonsense"), "holds no certificate"),
        (
            "broker.crt",
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "broken",
        ),
        ("broker.crt", None, "can't read"),
        ("broker.key", Some("nonsense"), "holds no key"),
        ("broker.key", Some("other key"), "does not fit the certificate"),
        ("broker.key", None, "can't read"),
        ("clients.crt", Some(""), "holds no certificate"),
        ("clients.crt", None, "can't read"),
    ] {
        folder.issue(&ours, "broker", |_| {});
        folder.trust("clients.crt", &ours);
        match content {
            Some("other key") => folder.write(file, &KeyPair::generate().unwrap().serialize_pem()),
            Some(content) => folder.write(file, content),
            None => fs::remove_file(folder.path(file)).unwrap(),
        }
        let secret = fs::read_to_string(folder.path("broker.key")).unwrap_or_default();
        let mut args = tls(&folder);
        args.extend(["--tls-client-ca".into(), folder.text("clients.crt")]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut process = Process::spawn(&mut serve(&args));
        let code = process.ended().await.code();
        let said = process.stderr();
        assert_eq!(code, Some(78), "{file} {why}: {said}");
        assert!(said.contains(file) && said.contains(why), "{file} {why}: {said}");
        let body = secret.lines().nth(1).unwrap_or("-----");
        assert!(!said.contains(body) || body == "-----", "{said}");
    }
}

#[tokio::test]
async fn without_tokens_each_caller_needs_a_certificate_that_is_still_good() {
    let (folder, ours, clients, others) = (Folder::new(), authority(), authority(), authority());
    folder.issue(&ours, "broker", |_| {});
    folder.issue(&clients, "good", |_| {});
    folder.issue(&clients, "old", |params| params.not_after = date_time_ymd(2020, 1, 1));
    folder.issue(&clients, "future", |params| params.not_before = date_time_ymd(2090, 1, 1));
    folder.issue(&others, "stranger", |_| {});
    folder.trust("ca.crt", &ours);
    folder.trust("clients.crt", &clients);
    let mut args = tls(&folder);
    args.extend(["--tls-client-ca".into(), folder.text("clients.crt")]);
    let broker = start(&args).await;

    let ca = folder.path("ca.crt");
    let with = |name: &str| {
        let (cert, key) =
            (folder.text(&format!("{name}.crt")), folder.text(&format!("{name}.key")));
        queues(&broker, &ca, &["--client-cert", &cert, "--client-key", &key])
    };
    let (code, said) = with("good");
    assert_eq!(code, Some(0), "{said}");
    for name in ["old", "future", "stranger"] {
        let (code, said) = with(name);
        assert_eq!(code, Some(6), "{name}: {said}");
        assert!(!said.contains("panicked"), "{name}: {said}");
    }
    let (code, said) = queues(&broker, &ca, &[]);
    assert_eq!(code, Some(6), "{said}");
    assert_eq!(with("good").0, Some(0));
}

#[tokio::test]
async fn new_certificates_count_and_broken_ones_do_not() {
    let (folder, old, new) = (Folder::new(), authority(), authority());
    folder.issue(&old, "broker", |_| {});
    folder.trust("old.crt", &old);
    folder.trust("new.crt", &new);
    let mut broker = start(&tls(&folder)).await;
    let told = |broker: &Broker, words: &str| broker.process.stderr().contains(words).then_some(());
    assert_eq!(queues(&broker, &folder.path("old.crt"), &[]).0, Some(0));

    folder.write("broker.key", "nonsense");
    crate::machine::found("the broken key to be told", || {
        told(&broker, "the certificates stay as they were")
    })
    .await;
    assert_eq!(queues(&broker, &folder.path("old.crt"), &[]).0, Some(0));

    folder.issue(&new, "broker", |_| {});
    crate::machine::found("the new certificate", || {
        told(&broker, "the certificates were read anew")
    })
    .await;
    assert_eq!(queues(&broker, &folder.path("new.crt"), &[]).0, Some(0));
    assert_eq!(queues(&broker, &folder.path("old.crt"), &[]).0, Some(6));
    broker.process.signal("TERM");
    assert!(broker.process.ended().await.success());
}

#[tokio::test]
async fn a_benchmark_shows_its_token_over_tls() {
    let (folder, ours) = (Folder::new(), authority());
    folder.issue(&ours, "broker", |_| {});
    folder.trust("ca.crt", &ours);
    folder.write("tokens.toml", &identities(&[("load", "admin", "*")]));
    folder.write("token", "load-token\n");
    let mut args = tls(&folder);
    args.extend(["--auth-tokens".into(), folder.text("tokens.toml")]);
    let broker = start(&args).await;

    let bench = |more: &[&str]| {
        let workloads = ["bench", "W1", "W2", "--jobs", "20", "-o", "json"];
        run(&broker, &folder.path("ca.crt"), &[&workloads[..], more].concat())
    };
    for way in [&["--unary"][..], &[]] {
        let (code, said) = bench(&[&["--token-file", &folder.text("token")][..], way].concat());
        assert_eq!((code, said.lines().count()), (Some(0), 2), "{said}");
    }
    assert_eq!(bench(&["--unary"]).0, Some(5));
}
