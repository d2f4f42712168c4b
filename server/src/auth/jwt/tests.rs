use std::net::SocketAddr;
use std::path::Path;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, encode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::auth::credentials::{Credentials, Settings, Shown};
use crate::auth::{Call, Reach};
use crate::job::QueueName;
use crate::telemetry::metrics::Metrics;

const NOW: u64 = 1_800_000_000;

/// A key of a provider, with its name.
struct Signer {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    fn ec(id: &'static str) -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        Self { id, algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(document.as_ref()) }
    }

    fn ed(id: &'static str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        Self { id, algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_der(document.as_ref()) }
    }

    fn rsa(id: &'static str, algorithm: Algorithm) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let document = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        // What is inside PKCS #8 is what the library wants.
        let key = EncodingKey::from_rsa_der(&document.as_ref()[26..]);
        Self { id, algorithm, key }
    }

    /// Its public half, as a provider publishes it.
    fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }
}

fn key_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// Claims that are good, with some changed; `null` takes one out.
fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": "https://id.example", "aud": ["other", "lessor"], "sub": "mailer", "exp": NOW + 60,
        "lessor": {"roles": ["worker"], "queues": ["mail-*"]},
    });
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    for (claim, value) in changes {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(&claim);
        } else {
            claims[claim] = value;
        }
    }
    claims
}

fn settings(keys: KeyPlace) -> JwtSettings {
    JwtSettings {
        keys,
        issuer: "https://id.example".to_owned(),
        audience: "lessor".to_owned(),
        claim: "lessor".to_owned(),
        owner_claim: "sub".to_owned(),
        refresh: Duration::from_hours(1),
    }
}

fn second(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn at(jwt: &Jwt, token: &str, now: Timestamp) -> Result<Known, Denied> {
    jwt.look(token, &Digest::of(token), &Keyring::default(), now)
}

/// What a broker makes of these claims.
fn look(changes: Value) -> Result<Known, Denied> {
    let signer = Signer::ec("k1");
    let jwt = Jwt::new(settings(KeyPlace::File("/keys".into())));
    jwt.replace(KeySet::parse(key_set(&[signer.public()]).as_bytes()).unwrap());
    let token = signer.sign(&claims(changes));
    let first = at(&jwt, &token, second(NOW));
    assert_eq!(at(&jwt, &token, second(NOW)), first, "what is remembered is the same");
    first
}

fn told(changes: Value) -> String {
    look(changes).unwrap_err().to_string()
}

#[test]
fn a_good_token_names_its_principal_and_what_it_may() {
    let known = look(json!({})).unwrap();
    assert_eq!(known.principal.name(), "mailer");
    assert_eq!(known.until, Some(second(NOW + 60).after(LEEWAY)));
    let reach = |queue| known.principal.reach(Call::Lease, &QueueName::parse(queue).unwrap());
    assert_eq!((reach("mail-in"), reach("sms")), (Reach::Any, Reach::Nothing));
}

#[test]
fn every_kind_of_public_key_counts_for_its_algorithms_only() {
    let signers = [
        Signer::ec("ec"),
        Signer::ed("ed"),
        Signer::rsa("rs", Algorithm::RS256),
        Signer::rsa("ps", Algorithm::PS512),
    ];
    let keys: Vec<Value> = signers.iter().map(Signer::public).collect();
    let jwt = Jwt::new(settings(KeyPlace::File("/keys".into())));
    jwt.replace(KeySet::parse(key_set(&keys).as_bytes()).unwrap());
    for signer in &signers {
        assert!(at(&jwt, &signer.sign(&claims(json!({}))), second(NOW)).is_ok(), "{}", signer.id);
    }
    // Its `alg` says RS256.
    let other = Signer { algorithm: Algorithm::RS512, id: "rs", key: signers[2].key.clone() };
    let found = at(&jwt, &other.sign(&claims(json!({}))), second(NOW));
    assert_eq!(found, Err(Denied::Signature));
}

#[test]
fn a_token_holds_from_its_beginning_to_its_end_and_a_little_longer() {
    for (begin, end, held) in [
        (NOW - 60, NOW + 60, Ok(())),
        (NOW + 29, NOW + 60, Ok(())),
        (NOW + 31, NOW + 60, Err(Denied::NotYet)),
        (NOW - 60, NOW - 29, Ok(())),
        (NOW - 60, NOW - 30, Err(Denied::Expired)),
    ] {
        let found = look(json!({ "nbf": begin, "exp": end })).map(|_| ());
        assert_eq!(found, held, "{begin} to {end}");
    }
    assert!(told(json!({ "exp": null })).contains("\"exp\""));
    assert!(told(json!({ "exp": "soon" })).contains("\"exp\""));
}

#[test]
fn a_token_of_or_for_others_is_refused() {
    assert_eq!(look(json!({ "iss": "https://other.example" })), Err(Denied::Issuer));
    assert_eq!(look(json!({ "aud": "other" })), Err(Denied::Audience));
    assert_eq!(look(json!({ "aud": [] })), Err(Denied::Audience));
    for claim in ["iss", "aud"] {
        assert!(told(json!({ claim: null })).contains(claim), "{claim}");
    }
}

#[test]
fn claims_that_grant_nothing_are_told_as_such() {
    for (changes, why) in [
        (json!({ "sub": null }), "has no claim \"sub\""),
        (json!({ "sub": "" }), "needs a name"),
        (json!({ "lessor": null }), "grants nothing: it has no claim \"lessor\""),
        (json!({ "lessor": [] }), "grants nothing"),
        (json!({ "lessor": ["openid", "profile"] }), "grants nothing"),
        (json!({ "lessor": {"roles": ["root"], "queues": ["*"]} }), "has the role \"root\""),
        (json!({ "lessor": {"roles": ["worker"]} }), "names no queue"),
        (json!({ "lessor": {"role": "worker"} }), "unknown field `role`"),
        (json!({ "lessor": 7 }), "makes no sense"),
        (json!({ "lessor": ["worker:a*b"] }), "has the queue \"a*b\""),
    ] {
        let told = told(changes);
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn grants_may_be_words_or_a_list() {
    for grants in [
        json!(["worker:mail-*", "viewer:*", "offline_access", "other:thing"]),
        json!("openid worker:mail-* viewer:*"),
        json!([
            {"roles": ["worker"], "queues": ["mail-*"]},
            {"roles": ["viewer"], "queues": ["*"], "own_jobs": true},
        ]),
    ] {
        let known = look(json!({ "lessor": grants })).unwrap();
        let mail = QueueName::parse("mail-in").unwrap();
        assert_eq!(known.principal.reach(Call::Lease, &mail), Reach::Any, "{grants}");
        assert!(known.principal.may(Call::ListJobs), "{grants}");
        assert!(!known.principal.may(Call::Enqueue), "{grants}");
    }
}

#[test]
fn an_identity_with_the_subject_counts_before_the_claims() {
    let signer = Signer::ec("k1");
    let jwt = Jwt::new(settings(KeyPlace::File("/keys".into())));
    jwt.replace(KeySet::parse(key_set(&[signer.public()]).as_bytes()).unwrap());
    let ring = Keyring::parse(
        "[[identity]]\nname = 'mail'\nsubjects = ['mailer']\nroles = ['viewer']\nqueues = ['*']",
    )
    .unwrap();
    for changes in [json!({}), json!({ "lessor": null })] {
        let token = signer.sign(&claims(changes));
        let known = jwt.look(&token, &Digest::of(&token), &ring, second(NOW)).unwrap();
        assert_eq!(known.principal.name(), "mail");
        assert!(known.principal.may(Call::ListJobs) && !known.principal.may(Call::Lease));
    }
}

#[test]
fn what_no_public_key_has_signed_is_refused() {
    let (ours, theirs) = (Signer::ec("k1"), Signer::ec("k1"));
    let secret = EncodingKey::from_secret(b"a shared secret of some length!!");
    let symmetric = Signer { id: "oct", algorithm: Algorithm::HS256, key: secret };
    let jwt = Jwt::new(settings(KeyPlace::File("/keys".into())));
    // A secret among public keys is passed over: whoever reads the set could sign with it.
    let keys = [ours.public(), symmetric.public(), json!({ "kty": "new", "kid": "x" })];
    jwt.replace(KeySet::parse(key_set(&keys).as_bytes()).unwrap());

    let good = claims(json!({}));
    assert!(at(&jwt, &ours.sign(&good), second(NOW)).is_ok());
    assert_eq!(at(&jwt, &theirs.sign(&good), second(NOW)), Err(Denied::Signature));
    assert_eq!(at(&jwt, &symmetric.sign(&good), second(NOW)), Err(Denied::UnknownKey));

    // The public key, taken for a secret.
    let public = ours.public()["x"].as_str().unwrap().as_bytes().to_vec();
    let confused =
        Signer { id: "k1", algorithm: Algorithm::HS256, key: EncodingKey::from_secret(&public) };
    assert_eq!(at(&jwt, &confused.sign(&good), second(NOW)), Err(Denied::Signature));

    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for algorithm in ["none", "None", "NONE", ""] {
        let header = part(json!({ "alg": algorithm, "typ": "JWT", "kid": "k1" }));
        let unsigned = format!("{header}.{}.", part(good.clone()));
        assert_eq!(at(&jwt, &unsigned, second(NOW)), Err(Denied::Unknown), "{algorithm}");
    }

    let token = ours.sign(&good);
    let (head, signature) = token.rsplit_once('.').unwrap();
    let header = head.split_once('.').unwrap().0;
    let forged = format!("{header}.{}.{signature}", part(claims(json!({ "sub": "admin" }))));
    assert_eq!(at(&jwt, &forged, second(NOW)), Err(Denied::Signature));
    for garbage in ["a.b.c", "..", "e30.e30.", "\u{fc}.\u{fc}.\u{fc}"] {
        assert_eq!(at(&jwt, garbage, second(NOW)), Err(Denied::Unknown), "{garbage}");
    }
}

#[test]
fn a_set_without_a_public_key_is_refused() {
    let oct = json!({ "kty": "oct", "kid": "s", "k": "c2VjcmV0", "alg": "HS256" });
    let mut encrypts = Signer::rsa("enc", Algorithm::RS256).public();
    encrypts["use"] = json!("enc");
    for keys in [key_set(&[]), key_set(&[oct]), key_set(&[encrypts])] {
        assert!(matches!(KeySet::parse(keys.as_bytes()), Err(Unusable::Empty)), "{keys}");
    }
    for text in ["", "[]", "<html>"] {
        assert!(matches!(KeySet::parse(text.as_bytes()), Err(Unusable::Malformed(_))), "{text}");
    }
}

/// A provider on this machine, which publishes what stands in a file, or fails without one.
struct Provider {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Provider {
    async fn start(file: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, file) = (listener.local_addr().unwrap(), file.to_owned());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut request).await.unwrap();
                }
                let answer = match std::fs::read_to_string(&file) {
                    Ok(text) => {
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())
                    }
                    Err(_) => "HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n".to_owned(),
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, _serving: serving }
    }

    async fn open(&self, metrics: &Metrics) -> Arc<Credentials> {
        let url = format!("http://{}/keys", self.address).parse().unwrap();
        let jwt = Some(settings(KeyPlace::Url(url)));
        let settings = Settings { jwt, ..Settings::default() };
        Credentials::open(&settings, metrics).await.unwrap().0
    }
}

async fn identify(credentials: &Credentials, token: &str) -> Result<(), Denied> {
    let shown = Shown { bearer: Some(token), ..Shown::default() };
    credentials.identify(shown, second(NOW)).await.map(|_| ())
}

fn refreshes(metrics: &Metrics, outcome: &str) -> String {
    let name = format!("lessor_auth_key_refreshes_total{{outcome=\"{outcome}\"}} ");
    let text = metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or("0").to_owned()
}

#[tokio::test]
async fn a_token_with_an_unknown_key_makes_the_broker_ask_but_not_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    let (old, new, made_up) = (Signer::ec("old"), Signer::ec("new"), Signer::ec("made up"));
    std::fs::write(&file, key_set(&[old.public()])).unwrap();
    let provider = Provider::start(&file).await;
    let metrics = Metrics::new("sqlite", None).unwrap();
    let credentials = provider.open(&metrics).await;
    let good = claims(json!({}));
    identify(&credentials, &old.sign(&good)).await.unwrap();

    std::fs::write(&file, key_set(&[new.public()])).unwrap();
    let mut changes = credentials.changes();
    identify(&credentials, &new.sign(&good)).await.unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    // The old key was withdrawn, and with it what it has signed.
    let shown = old.sign(&good);
    let shown = Shown { bearer: Some(&shown), ..Shown::default() };
    assert_eq!(credentials.look(shown, second(NOW)), Err(Denied::UnknownKey));
    for _ in 0..20 {
        assert_eq!(identify(&credentials, &made_up.sign(&good)).await, Err(Denied::UnknownKey));
    }
    assert_eq!(refreshes(&metrics, "done"), "4", "the first time, and three times at once");
    assert!(!changes.has_changed().unwrap());
}

#[tokio::test]
async fn while_the_provider_is_away_the_last_good_keys_hold() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    let (ours, other) = (Signer::ec("k1"), Signer::ec("k2"));
    std::fs::write(&file, key_set(&[ours.public()])).unwrap();
    let provider = Provider::start(&file).await;
    let metrics = Metrics::new("sqlite", None).unwrap();
    let credentials = provider.open(&metrics).await;
    let good = claims(json!({}));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(identify(&credentials, &other.sign(&good)).await, Err(Denied::UnknownKey));
    std::fs::write(&file, "no keys").unwrap();
    assert_eq!(identify(&credentials, &other.sign(&good)).await, Err(Denied::UnknownKey));
    identify(&credentials, &ours.sign(&good)).await.unwrap();
    assert_eq!(
        (refreshes(&metrics, "done"), refreshes(&metrics, "failed")),
        ("1".into(), "2".into())
    );
}

#[tokio::test]
async fn a_provider_that_is_away_at_the_start_is_asked_again_when_a_token_comes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    let ours = Signer::ec("k1");
    let provider = Provider::start(&file).await;
    let credentials = provider.open(&Metrics::new("sqlite", None).unwrap()).await;
    let token = ours.sign(&claims(json!({})));
    assert_eq!(identify(&credentials, &token).await, Err(Denied::NoKeys));
    std::fs::write(&file, key_set(&[ours.public()])).unwrap();
    identify(&credentials, &token).await.unwrap();
}
