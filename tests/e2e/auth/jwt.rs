//! JWTs over the wire: what is good, what is wrong with the others, and other keys.

use std::path::Path;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use lessor_proto::v1::job_broker_client::JobBrokerClient;
use lessor_server::config::RawAuth;
use serde_json::{Value, json};
use tonic::Code;

use super::{Guarded, identities, standing, with_header};
use crate::refusal::Refusal;
use crate::server::{Server, lease, request};

/// A key of an identity provider, with its name.
pub(super) struct Signer {
    id: &'static str,
    key: EncodingKey,
}

impl Signer {
    pub(super) fn new(id: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self { id, key: EncodingKey::from_ec_der(&pair.serialize_der()) }
    }

    /// Publishes its public half.
    pub(super) fn publish(&self, path: &Path) {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        std::fs::write(path, json!({ "keys": [jwk] }).to_string()).unwrap();
    }

    /// A token for one that works on mail, with some claims changed.
    pub(super) fn token(&self, changes: &[(&str, Value)]) -> String {
        let mut claims = json!({
            "iss": "https://id.example", "aud": "lessor", "sub": "mailer",
            "exp": jsonwebtoken::get_current_timestamp() + 3600,
            "lessor": {"roles": ["producer", "worker"], "queues": ["mail*"]},
        });
        for (claim, value) in changes {
            claims[*claim] = value.clone();
        }
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, &self.key).unwrap()
    }
}

/// Settings for tokens that are signed with the keys of this file.
pub(super) fn taking(path: &Path) -> RawAuth {
    RawAuth {
        jwks: Some(path.display().to_string()),
        jwt_issuer: Some("https://id.example".to_owned()),
        jwt_audience: Some("lessor".to_owned()),
        ..RawAuth::default()
    }
}

pub(super) fn with_token(server: &Server, token: &str) -> JobBrokerClient<Guarded> {
    JobBrokerClient::new(with_header(server, Some(&format!("Bearer {token}"))))
}

#[tokio::test]
async fn a_jwt_says_who_calls_and_what_that_one_may() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, signer) = (folder.path().join("keys"), Signer::new("k1"));
    signer.publish(&keys);
    standing(taking(&keys), &identities(&[]), async |server, _: &Path| {
        let mut mailer = with_token(server, &signer.token(&[]));
        let job = mailer.enqueue(request("mail")).await.unwrap().into_inner().job.unwrap();
        assert_eq!(job.owner, "mailer");
        let refusal = Refusal::of(mailer.enqueue(request("sms")).await);
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::PermissionDenied, "ROLE"));
        assert_eq!(mailer.lease(lease("mail")).await.unwrap().into_inner().jobs.len(), 1);
        // Tokens of the file count beside them.
        assert!(super::broker(server, "web").enqueue(request("mail")).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_jwt_is_told_to_whoever_holds_a_real_one() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, signer, forger) = (folder.path().join("keys"), Signer::new("k1"), Signer::new("k1"));
    signer.publish(&keys);
    standing(taking(&keys), &identities(&[]), async |server, _: &Path| {
        let ago = json!(jsonwebtoken::get_current_timestamp() - 3600);
        let later = json!(jsonwebtoken::get_current_timestamp() + 3600);
        for (token, reason, told) in [
            (signer.token(&[("exp", ago.clone())]), "EXPIRED", "has expired"),
            (signer.token(&[("nbf", later)]), "NO_CREDENTIAL", "not valid yet"),
            (signer.token(&[("aud", json!("shop"))]), "NO_CREDENTIAL", "for another audience"),
            (signer.token(&[("iss", json!("shop"))]), "NO_CREDENTIAL", "of another issuer"),
            (signer.token(&[("lessor", json!([]))]), "NO_CREDENTIAL", "grants nothing"),
            (forger.token(&[("exp", ago)]), "NO_CREDENTIAL", "not signed by a key"),
            (Signer::new("k2").token(&[]), "NO_CREDENTIAL", "not signed by a key"),
            ("e30.e30.e30".to_owned(), "NO_CREDENTIAL", "is not known"),
        ] {
            let refusal = Refusal::of(with_token(server, &token).enqueue(request("mail")).await);
            assert_eq!(refusal.code, Code::Unauthenticated, "{refusal:?}");
            assert_eq!(refusal.reason, reason, "{refusal:?}");
            assert!(refusal.message.contains(told), "{refusal:?}");
            let claims = token.split('.').nth(1).unwrap();
            assert!(!refusal.message.contains(claims), "{refusal:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn other_keys_in_the_file_count_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, old, new) = (folder.path().join("keys"), Signer::new("old"), Signer::new("new"));
    old.publish(&keys);
    standing(taking(&keys), &identities(&[]), async |server, _: &Path| {
        let (mut first, mut next) =
            (with_token(server, &old.token(&[])), with_token(server, &new.token(&[])));
        assert!(first.enqueue(request("mail")).await.is_ok());
        assert!(next.enqueue(request("mail")).await.is_err());
        std::fs::write(&keys, "no keys").unwrap();
        new.publish(&keys);
        // Nothing tells when the broker has looked; so it is asked.
        while next.enqueue(request("mail")).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert!(first.enqueue(request("mail")).await.is_err());
    })
    .await;
}
