//! Workers that are processes of their own, to be killed or frozen: this test program, started again
//! for one test that is a worker when it is told so.

use std::env;
use std::process::Command;
use std::time::{Duration, SystemTime};

use lessor::{Client, Job, Nack, Worker};

use crate::machine::pause;
use crate::machine::process::Process;
use crate::world::LEASE;

const ROLE: &str = "SCENARIO_ROLE";
const URL: &str = "SCENARIO_URL";
const QUEUE: &str = "SCENARIO_QUEUE";

/// Starts a worker that plays this role.
pub(crate) fn play(role: &str, url: &str, queue: &str) -> Process {
    Process::spawn(&mut command(role, url, queue))
}

pub(crate) fn command(role: &str, url: &str, queue: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "program::plays_its_role", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(URL, url).env(QUEUE, queue);
    command
}

#[expect(clippy::print_stdout, reason = "the test that started it reads what it says")]
fn say(words: &str) {
    // On a line of its own, whatever the test runner has begun.
    println!("\n{words}");
}

/// Does nothing when it is run as a test.
#[tokio::test]
async fn plays_its_role() {
    let Ok(role) = env::var(ROLE) else { return };
    let client = Client::connect(env::var(URL).unwrap()).unwrap();
    let worker = Worker::builder(client).queue(env::var(QUEUE).unwrap()).lease_duration(LEASE);
    let worker = match role.as_str() {
        "hold" => worker.default_handler(hold),
        "poison" => worker.default_handler(die),
        "late" => worker.default_handler(end_late),
        "slow" => worker.default_handler(finish),
        "shifted" => worker.default_handler(tell_time),
        role => panic!("{role} is no role"),
    };
    let ended = worker.run().await;
    say(&format!("ended well: {}", ended.is_ok()));
}

async fn hold(_: Job) -> Result<(), Nack> {
    say("holding");
    std::future::pending().await
}

async fn die(_: Job) -> Result<(), Nack> {
    say("dying");
    let id = std::process::id().to_string();
    Command::new("kill").args(["-KILL", &id]).status().unwrap();
    unreachable!();
}

/// Ends a little after its lease, unless it is told not to.
async fn end_late(job: Job) -> Result<&'static str, Nack> {
    say("at work");
    tokio::select! {
        why = job.stopped() => say(&format!("noticed {why:?}")),
        () = pause(LEASE * 2) => say("noticed nothing"),
    }
    Ok("too late")
}

/// Ends a while after the worker is told to end.
async fn finish(_: Job) -> Result<&'static str, Nack> {
    say("at work");
    pause(LEASE * 2).await;
    Ok("finished")
}

/// Takes several leases.
async fn tell_time(_: Job) -> Result<&'static str, Nack> {
    #[expect(clippy::disallowed_methods, reason = "it is the wrong one")]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    say(&format!("it is {}", now.as_secs()));
    pause(LEASE * 2 + Duration::from_millis(500)).await;
    Ok("in time")
}
