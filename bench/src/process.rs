//! A process under measurement: what it uses, and that it ends with all that it started.

use std::collections::HashSet;
use std::process::Stdio;

use anyhow::Context;
use procfs::process::{Stat, all_processes};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};

/// Seconds of CPU time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    /// In its own code.
    pub user: f64,
    /// In the kernel on its behalf.
    pub kernel: f64,
}

impl Cpu {
    pub(crate) fn all(self) -> f64 {
        self.user + self.kernel
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, kernel: self.kernel - before.kernel }
    }
}

/// A process and all its descendants. They are killed when this is dropped.
pub(crate) struct Process {
    pub child: Box<Child>,
    id: i32,
}

impl Process {
    /// Starts a program in a process group of its own, so that the group can be ended as one.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{program} can't be started"))?;
        let id = child.id().context("a process ended at once")?;
        Ok(Self { child: Box::new(child), id: i32::try_from(id)? })
    }

    /// CPU time that it and its descendants used so far.
    #[expect(clippy::cast_precision_loss, reason = "ticks of at most a few hours")]
    pub(crate) fn cpu(&self) -> anyhow::Result<Cpu> {
        let (mut user, mut kernel) = (0, 0);
        for stat in self.tree()? {
            user += stat.utime;
            kernel += stat.stime;
            if stat.pid == self.id {
                // Children that have ended by now.
                user += u64::try_from(stat.cutime)?;
                kernel += u64::try_from(stat.cstime)?;
            }
        }
        let seconds = |ticks| ticks as f64 / procfs::ticks_per_second() as f64;
        Ok(Cpu { user: seconds(user), kernel: seconds(kernel) })
    }

    /// Bytes of memory that it and its descendants hold.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let pages: u64 = self.tree()?.iter().map(|stat| stat.rss).sum();
        Ok(pages * procfs::page_size())
    }

    fn tree(&self) -> anyhow::Result<Vec<Stat>> {
        // A process that ends meanwhile is no error.
        let all = all_processes()?.filter_map(|process| process.ok()?.stat().ok());
        let mut others: Vec<Stat> = all.collect();
        let mut tree: Vec<Stat> = Vec::new();
        let mut known = HashSet::from([self.id]);
        loop {
            let is_ours = |stat: &mut Stat| known.contains(&stat.pid) || known.contains(&stat.ppid);
            let found: Vec<Stat> = others.extract_if(.., is_ours).collect();
            if found.is_empty() {
                return Ok(tree);
            }
            known.extend(found.iter().map(|stat| stat.pid));
            tree.extend(found);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let descendants = self.tree().unwrap_or_default();
        // What has ended already needs no signal.
        let _ended = Pid::from_raw(self.id).map(|id| kill_process_group(id, Signal::KILL));
        for id in descendants.iter().filter_map(|stat| Pid::from_raw(stat.pid)) {
            let _ended = kill_process(id, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_with_all_that_it_started() -> anyhow::Result<()> {
        let mut command = Command::new("sh");
        // A child that left the group is still a descendant.
        command.args(["-c", "setsid sleep 600 & echo $!; wait"]).stdout(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let mut said = String::new();
        let stdout = process.child.stdout.take().context("stdout")?;
        let mut lines = tokio::io::BufReader::new(stdout);
        tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut said).await?;
        assert!(process.memory()? > 0, "its memory is counted");
        drop(process);
        let grandchild: i32 = said.trim().parse()?;
        let ended = async {
            while procfs::process::Process::new(grandchild)
                .and_then(|it| it.stat())
                .is_ok_and(|stat| stat.state != 'Z')
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), ended).await?;
        Ok(())
    }
}
