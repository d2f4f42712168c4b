//! Much of what is cheap to send: calls that are reset at once, pings, settings.

use crate::raw::{END_HEADERS, ENHANCE_YOUR_CALM, HEADERS, PING, RST_STREAM, Raw, SETTINGS, frame};
use crate::scene::Scene;
use crate::wire::awaited;

const LEASE: &str = "/lessor.v1.JobBroker/Lease";
const MANY: usize = 20_000;

/// `CANCEL`.
const CODE: [u8; 4] = [0, 0, 0, 8];

#[tokio::test]
async fn calls_that_are_reset_at_once_end_their_connection() {
    let scene = Scene::start().await;
    let attack = async {
        for _ in 0..4 {
            let mut raw = Raw::to(scene.address()).await;
            for _ in 0..MANY / 100 {
                let mut bytes = Vec::new();
                for _ in 0..100 {
                    let (stream, head) = raw.head(LEASE);
                    bytes.extend(frame(HEADERS, END_HEADERS, stream, &head));
                    bytes.extend(frame(RST_STREAM, 0, stream, &CODE));
                }
                raw.write(&bytes).await;
            }
            assert_eq!(raw.closed().await, Some(ENHANCE_YOUR_CALM));
        }
    };
    scene.endures(32, awaited(attack)).await;
}

#[tokio::test]
async fn pings_and_settings_whose_answers_nobody_reads_are_not_kept() {
    let scene = Scene::start().await;
    let attack = async {
        let mut flooding = Vec::new();
        for kind in [PING, SETTINGS] {
            let mut raw = Raw::to(scene.address()).await;
            let payload = if kind == PING { &[7; 8][..] } else { &[] };
            let flood = frame(kind, 0, 0, payload).repeat(1_000);
            // In the end nobody takes it any more, or the connection is closed.
            let sending = async {
                for _ in 0..500 {
                    raw.write(&flood).await;
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(2), sending).await.ok();
            flooding.push(raw);
        }
        flooding
    };
    scene.endures(32, awaited(attack)).await;
}
