//! The brokers, each on ports of its own that it takes again when it is restarted.

use std::net::{Ipv4Addr, SocketAddr};

use tonic_health::pb::health_check_response::ServingStatus;

use crate::balancer::Backend;
use crate::machine::broker::Broker;
use crate::machine::free_port;
use crate::redis::Redis;
use crate::wire::{awaited, healths, told};

pub(crate) struct Fleet {
    store: String,
    pub(crate) backends: Vec<Backend>,
    brokers: Vec<Broker>,
}

impl Fleet {
    pub(crate) async fn start(count: usize, redis: &Redis) -> Self {
        let here = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let backends: Vec<Backend> =
            (0..count).map(|_| Backend { calls: here(), pages: here() }).collect();
        let mut fleet = Self { store: redis.url(), backends, brokers: Vec::new() };
        for broker in 0..count {
            let started = fleet.launch(broker).await;
            fleet.brokers.push(started);
        }
        fleet
    }

    async fn launch(&self, broker: usize) -> Broker {
        let Backend { calls, pages } = self.backends[broker];
        let (calls, pages) = (calls.to_string(), pages.to_string());
        let args = ["--listen", &calls, "--ops-listen", &pages, "--store", &self.store];
        Broker::start(&args).await
    }

    /// Tells a broker to end, which it does in good order, and starts another in its place.
    pub(crate) async fn restart(&mut self, broker: usize) {
        let ending = &mut self.brokers[broker];
        let mut health = healths(&ending.channel(), "readiness").await;
        told(&mut health, ServingStatus::Serving).await;
        ending.process.signal("TERM");
        told(&mut health, ServingStatus::NotServing).await;
        let status = awaited(ending.process.ended()).await;
        assert_eq!(status.code(), Some(0), "{}", ending.process.stderr());
        let said = ending.process.stderr();
        assert!(!said.contains("the grace period is over"), "{said}");
        self.brokers[broker] = self.launch(broker).await;
    }
}
