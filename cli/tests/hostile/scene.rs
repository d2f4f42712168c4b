//! A broker under attack, somebody who wants to be served meanwhile, and the broker's memory.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use futures_util::future::{Either, select};
use lessor::proto::{EnqueueRequest, Retention};

use crate::machine::broker::Broker;
use crate::machine::process::Process;
use crate::wire::{Stub, answer, awaited, done, job, seconds};

const MIB: usize = 1 << 20;

/// Jobs that others enqueue and have done, before, during and after an attack.
const JOBS: usize = 10;

pub(crate) struct Scene {
    broker: Broker,
    id: String,
    others: Stub,
    _folder: tempfile::TempDir,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::with("", "").await
    }

    /// With this configuration, and after these commands of the shell.
    pub(crate) async fn with(config: &str, before: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, store) = (folder.path().join("lessor.toml"), folder.path().join("jobs.db"));
        // A disk that is slow to sync is not what this is about.
        fs::write(&file, format!("synchronous = 'normal'\n{config}")).unwrap();
        let script = format!("{before} echo $$; exec \"$@\"");
        let mut command = Command::new("sh");
        command.env_clear().args(["-c", &script, "sh", env!("CARGO_BIN_EXE_lessor"), "serve"]);
        command.arg("--config").arg(&file);
        command.args(["--listen", "127.0.0.1:0"]);
        command.args(["--store", &format!("sqlite:{}", store.display())]);
        let broker = Broker::ready(Process::spawn(&mut command)).await;
        let id = broker.process.stdout().lines().next().unwrap().to_owned();
        let others = Stub::new(broker.channel());
        let scene = Self { broker, id, others, _folder: folder };
        scene.serves_others().await;
        scene
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.broker.address
    }

    pub(crate) fn stub(&self) -> Stub {
        Stub::new(self.broker.channel())
    }

    pub(crate) fn log(&self) -> String {
        self.broker.process.stderr()
    }

    /// Runs an attack, and holds what it leaves for a while: all the time others are served, and the
    /// broker's memory grows by no more than so many MiB.
    pub(crate) fn endures<T>(
        &self,
        room: usize,
        attack: impl Future<Output = T>,
    ) -> impl Future<Output = T> {
        let mut attack = Box::pin(attack);
        async move {
            let before = self.memory();
            let held = loop {
                match select(attack, Box::pin(self.serves_others())).await {
                    Either::Left((held, _)) => break held,
                    Either::Right(((), going_on)) => attack = going_on,
                }
            };
            Box::pin(self.serves_others()).await;
            let grown = self.memory().saturating_sub(before);
            eprintln!("grown by {} KiB from {} KiB", grown / 1024, before / 1024);
            assert!(grown <= room * MIB, "the broker grew by {} MiB", grown / MIB);
            held
        }
    }

    /// The most memory that the broker ever had, in bytes.
    fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    /// Enqueues jobs and has them done, each call within its deadline.
    pub(crate) async fn serves_others(&self) {
        for _ in 0..JOBS {
            let retention =
                Some(Retention { succeeded_ttl: Some(seconds(0)), ..Default::default() });
            let wanted = EnqueueRequest { retention, ..job("others") };
            answer(self.others.clone().enqueue(wanted)).await.unwrap();
            Box::pin(awaited(done(&self.others, "others"))).await;
        }
    }
}
