//! Random histories: whatever a store is asked, it answers as the model does, also when calls fail
//! and are repeated, and no job is lost.
//!
//! A failure prints its seed; `LESSOR_MODEL_SEED` runs that one alone and tells its calls,
//! `LESSOR_MODEL_ROUNDS` runs more of them.

mod history;
mod memory;

use std::env;

use self::history::History;
use crate::fixture::Queue;

const SEED: &str = "LESSOR_MODEL_SEED";
const ROUNDS: &str = "LESSOR_MODEL_ROUNDS";
const STEPS: u32 = 150;

every_store!(
    async fn every_history_is_as_the_model_says(queue: Queue) {
        for seed in seeds() {
            History::new(&queue, seed, 0.0).run(STEPS).await;
        }
    }

    async fn faults_lose_no_job(queue: Queue) {
        for seed in seeds() {
            History::new(&queue, seed, 0.25).run(STEPS).await;
        }
    }
);

fn seeds() -> Vec<u64> {
    let number = |name| env::var(name).ok().map(|text| text.parse().unwrap());
    match number(SEED) {
        Some(seed) => vec![seed],
        None => (1..=number(ROUNDS).unwrap_or(20)).collect(),
    }
}
