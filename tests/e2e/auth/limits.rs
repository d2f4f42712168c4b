//! How much one principal may call.

use std::path::Path;
use std::time::Duration;

use lessor_proto::v1;
use lessor_server::auth::secret::Digest;
use lessor_server::config::RawAuth;
use tonic::Code;

use super::jwt::{Signer, taking, with_token};
use super::{advance, broker, identities, standing};
use crate::refusal::Refusal;
use crate::server::{lease, request, seconds};

/// Everybody, and one with limits of its own.
fn file(limits: &str) -> String {
    let token = Digest::of("few-token");
    let few = format!(
        "[[identity]]\nname = 'few'\ntokens = ['{token}']\nroles = ['producer', 'worker', 'viewer']\n\
         queues = ['*']\nlimits = {{ {limits} }}\n"
    );
    identities(&[]) + &few
}

#[tokio::test]
async fn whoever_calls_more_often_than_it_may_is_told_when_to_call_again() {
    let few = file("calls_per_second = 2, burst = 3");
    standing(RawAuth::default(), &few, async |server, _: &Path| {
        for _ in 0..3 {
            broker(server, "few").enqueue(request("mail")).await.unwrap();
        }
        let refusal = Refusal::of(broker(server, "few").enqueue(request("mail")).await);
        assert_eq!(
            (refusal.code, refusal.reason.as_str()),
            (Code::ResourceExhausted, "RATE_LIMITED")
        );
        assert_eq!(
            (refusal.quota.as_str(), refusal.retry_after),
            ("few", Some(Duration::from_millis(500)))
        );
        assert!(refusal.message.contains("2 calls a second"), "{refusal:?}");
        for _ in 0..10 {
            broker(server, "web").enqueue(request("mail")).await.unwrap();
        }
        advance(server, 1).await;
        for _ in 0..2 {
            broker(server, "few").enqueue(request("mail")).await.unwrap();
        }
        assert!(broker(server, "few").enqueue(request("mail")).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn streams_and_waits_have_places_which_are_free_again_when_they_end() {
    standing(RawAuth::default(), &file("streams = 1"), async |server, _: &Path| {
        let server = &*server;
        let watch = || async {
            broker(server, "few").watch_events(v1::WatchEventsRequest::default()).await
        };
        let wait = |seconds_| async move {
            let request = v1::LeaseRequest { wait: Some(seconds(seconds_)), ..lease("mail") };
            broker(server, "few").lease(request).await
        };
        let events = watch().await.unwrap();
        for refusal in [Refusal::of(watch().await), Refusal::of(wait(60).await)] {
            let found = (refusal.code, refusal.reason.as_str(), refusal.quota.as_str());
            assert_eq!(found, (Code::ResourceExhausted, "TOO_MANY_STREAMS", "few"));
            assert!(refusal.retry_after.is_some());
        }
        // Others have their own, and calls that don't wait need none.
        broker(server, "viewer").watch_events(v1::WatchEventsRequest::default()).await.unwrap();
        broker(server, "few").enqueue(request("mail")).await.unwrap();
        drop(events);
        // Nothing tells when the broker has heard of the end; so it is asked.
        while wait(0).await.is_err() {
            tokio::task::yield_now().await;
        }
        watch().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_usual_limits_hold_for_jwts_and_for_whoever_has_none_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, signer) = (folder.path().join("keys"), Signer::new("k1"));
    signer.publish(&keys);
    let auth = RawAuth { calls_per_second: Some(1), burst: Some(2), ..taking(&keys) };
    standing(auth, &file("calls_per_second = 5"), async |server, _: &Path| {
        let tokens = [(signer.token(&[]), 2), ("web-token".into(), 2), ("few-token".into(), 5)];
        for (token, calls) in tokens {
            let mut client = with_token(server, &token);
            for _ in 0..calls {
                client.enqueue(request("mail")).await.unwrap();
            }
            let refusal = Refusal::of(client.enqueue(request("mail")).await);
            assert_eq!(refusal.reason, "RATE_LIMITED");
        }
    })
    .await;
}
