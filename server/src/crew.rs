//! The tasks that run as long as the broker does: one tracker for all, and an alarm when one of
//! them ends too early.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tasks more than there are, so that no alarm is lost.
const ALARMS: usize = 32;

/// The long-running tasks of one broker.
pub(crate) struct Crew {
    tracker: TaskTracker,
    /// Set once the tasks may end.
    dismissed: CancellationToken,
    alarm: mpsc::Sender<&'static str>,
    alarms: mpsc::Receiver<&'static str>,
}

impl Default for Crew {
    fn default() -> Self {
        let (alarm, alarms) = mpsc::channel(ALARMS);
        Self { tracker: TaskTracker::new(), dismissed: CancellationToken::new(), alarm, alarms }
    }
}

impl Crew {
    /// Runs a task that must not end before it may.
    pub(crate) fn hire(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let (dismissed, alarm) = (self.dismissed.clone(), self.alarm.clone());
        let post = Post { name, dismissed, alarm };
        self.tracker.spawn(async move {
            let _post = post;
            task.await;
        })
    }

    /// The name of a task that ended too early; waits for ever when none does.
    pub(crate) async fn deserter(&mut self) -> &'static str {
        // The crew itself holds a sender, so the channel never closes.
        self.alarms.recv().await.unwrap_or("a task")
    }

    /// From now on tasks may end.
    pub(crate) fn dismiss(&self) {
        self.dismissed.cancel();
    }

    /// Waits until all tasks have ended.
    pub(crate) async fn rest(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Tasks that come and go while the broker runs; cheap to clone, all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Guests(TaskTracker);

impl Guests {
    /// Runs a task that ends by itself.
    pub(crate) fn admit(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    /// Waits until all of them have ended.
    pub(crate) async fn leave(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

/// Held by a task while it runs; also a panic lets go of it.
struct Post {
    name: &'static str,
    dismissed: CancellationToken,
    alarm: mpsc::Sender<&'static str>,
}

impl Drop for Post {
    fn drop(&mut self) {
        if !self.dismissed.is_cancelled() {
            let _heard = self.alarm.try_send(self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_or_panics_too_early_is_named() {
        let mut crew = Crew::default();
        crew.hire("the steady one", std::future::pending());
        crew.hire("the idle one", async {});
        assert_eq!(crew.deserter().await, "the idle one");
        crew.hire("the clumsy one", async { panic!("oops") });
        assert_eq!(crew.deserter().await, "the clumsy one");
    }

    #[tokio::test]
    async fn a_dismissed_task_may_end() {
        let mut crew = Crew::default();
        let stop = CancellationToken::new();
        crew.hire("the steady one", stop.clone().cancelled_owned());
        crew.dismiss();
        stop.cancel();
        crew.rest().await;
        assert!(crew.alarms.try_recv().is_err());
    }
}
