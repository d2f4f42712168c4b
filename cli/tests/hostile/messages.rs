//! Messages without end.

use futures_util::future::join_all;

use crate::raw::{RST_STREAM, Raw, prefix};
use crate::scene::Scene;
use crate::wire::awaited;

const ENQUEUE: &str = "/lessor.v1.JobBroker/Enqueue";
const WORK: &str = "/lessor.v1.JobBroker/Work";

const MIB: usize = 1 << 20;

/// Below the limit of a message, so that its length alone is no reason to refuse it.
const LENGTH: u32 = 4 << 20;

/// As much as a broker takes of one stream, and of one connection, before it says more.
const PART: usize = 2 * MIB - 16;
const STREAMS: usize = 8;

/// Begins messages on all streams of a connection, as far as a broker lets anybody.
async fn begin(scene: &Scene) -> Raw {
    let mut raw = Raw::to(scene.address()).await;
    raw.has_room().await;
    let part = vec![0; PART];
    for stream in 0..STREAMS {
        let stream = raw.call(if stream % 2 == 0 { ENQUEUE } else { WORK }).await;
        raw.data(stream, &prefix(LENGTH)).await;
        raw.data(stream, &part).await;
    }
    raw
}

#[tokio::test]
async fn messages_that_do_not_end_are_given_up() {
    let scene = Scene::start().await;
    // 512 MiB in all, of which a broker keeps 64, and what is on its way over few connections.
    let attack = async {
        let mut held = Vec::new();
        for _ in 0..4 {
            held.extend(join_all((0..8).map(|_| begin(&scene))).await);
        }
        held
    };
    let mut held = scene.endures(256, awaited(attack)).await;
    // The first ones hear of it.
    let given_up =
        async { while held[0].next().await.expect("the connection lives").kind != RST_STREAM {} };
    awaited(given_up).await;
}

#[tokio::test]
async fn a_message_that_is_said_to_be_huge_is_refused_before_it_comes() {
    let scene = Scene::start().await;
    let attack = async {
        let mut raw = Raw::to(scene.address()).await;
        for _ in 0..100 {
            let stream = raw.call(ENQUEUE).await;
            raw.data(stream, &prefix(u32::MAX)).await;
        }
        let mut refused = 0;
        while refused < 100 {
            let frame = raw.next().await.expect("the connection lives");
            refused += usize::from(frame.kind == RST_STREAM);
        }
    };
    scene.endures(8, awaited(attack)).await;
}
