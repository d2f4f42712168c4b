//! Jobs that the broker sends itself: queues whose worker is an HTTP endpoint.
//!
//! A queue with an endpoint has a worker within each broker, which leases its jobs as any worker
//! does and POSTs them; the answers settle them. So order, gates, retries and dead letters are
//! those of all jobs, and brokers share the work by leasing. It knows the use cases and no wire but
//! HTTP's own.
//!
//! | file | what it is |
//! |---|---|
//! | `allowed` | which addresses may be called |
//! | `client` | the HTTP client that calls no other |
//! | `request`, `sign` | a job as a signed request |
//! | `verdict` | what an answer means |
//! | `attempt`, `pusher` | one job, one queue |
//! | `sinks` | events as jobs of such queues |

mod allowed;
mod attempt;
mod client;
mod pusher;
mod request;
mod sign;
mod sinks;
mod verdict;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::client::HttpClient;
use self::pusher::Pusher;
use crate::broker::pushes::Change;
use crate::broker::{Broker, Result};
use crate::clock::Clock;
use crate::crew::Guests;
use crate::job::{Push, QueueName};

pub use self::allowed::{Allowed, Refused};
pub use self::request::is_own;
pub use self::sign::{fingerprint, generate_secret};
pub use self::sinks::Sink;
pub(crate) use self::sinks::{Sinking, Writer};

/// Pause before a store that failed is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// All queues are looked at again after this long, in case a signal was lost on its way.
const SAFETY_NET: Duration = Duration::from_mins(5);

/// How long requests may go on when the broker goes down; then their jobs are given back.
const LAST_REQUESTS: Duration = Duration::from_secs(3);

/// The task that knows which queues have an endpoint.
pub(crate) struct Pushing {
    sender: Arc<Sender>,
    guests: Guests,
    running: HashMap<QueueName, Running>,
    /// What is under way is given back.
    stop: CancellationToken,
}

/// What all attempts share.
struct Sender {
    broker: Broker,
    client: HttpClient,
    /// Tells this broker's workers from those of others.
    name: String,
}

/// A queue that is served.
struct Running {
    push: Arc<Push>,
    leave: CancellationToken,
}

impl Pushing {
    /// The task for `broker`, which calls public addresses and those `allowed`, and trusts the usual
    /// authorities and those of `more`.
    pub(crate) fn new(
        broker: Broker,
        allowed: Allowed,
        more: &[CertificateDer<'static>],
    ) -> std::result::Result<Self, rustls::Error> {
        let client = HttpClient::new(allowed, more)?;
        let (name, ..) = Uuid::new_v4().as_fields();
        let sender = Sender { broker, client, name: format!("push/{name:08x}") };
        Ok(Self {
            sender: Arc::new(sender),
            guests: Guests::default(),
            running: HashMap::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Serves until `stop`, and then some moments more what is under way.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.sender.broker.changes();
        let clock = self.sender.broker.clock().clone();
        let mut change = Change::Any;
        loop {
            let looked = match &change {
                Change::Of(queue) => self.look(queue).await,
                Change::Any => self.look_at_all().await,
            };
            if let Err(error) = looked {
                tracing::debug!(%error, "can't read which queues have an endpoint");
                change = Change::Any;
                if stop.run_until_cancelled(Clock::pause(RETRY)).await.is_none() {
                    break;
                }
                continue;
            }
            let net = clock.now().after(SAFETY_NET);
            change = tokio::select! {
                () = stop.cancelled() => break,
                // Cancel-safe: a change is taken only when this branch wins.
                heard = changes.next() => match heard {
                    Some(change) => change,
                    None => break,
                },
                () = clock.sleep_until(net) => Change::Any,
            };
        }
        for running in self.running.values() {
            running.leave.cancel();
        }
        if tokio::time::timeout(LAST_REQUESTS, self.guests.leave()).await.is_err() {
            self.stop.cancel();
            self.guests.leave().await;
        }
    }

    async fn look_at_all(&mut self) -> Result<()> {
        let pushed: HashMap<QueueName, Push> =
            self.sender.broker.pushed().await?.into_iter().collect();
        let gone: Vec<QueueName> =
            self.running.keys().filter(|queue| !pushed.contains_key(queue)).cloned().collect();
        for queue in gone {
            self.serve(&queue, None);
        }
        for (queue, push) in pushed {
            self.serve(&queue, Some(push));
        }
        Ok(())
    }

    async fn look(&mut self, queue: &QueueName) -> Result<()> {
        let push = self.sender.broker.push_of(queue).await?;
        self.serve(queue, push);
        Ok(())
    }

    /// Serves a queue as `push` says from now on. What was sent otherwise is finished so.
    fn serve(&mut self, queue: &QueueName, push: Option<Push>) {
        if self.running.get(queue).map(|running| &*running.push) == push.as_ref() {
            return;
        }
        if let Some(before) = self.running.remove(queue) {
            before.leave.cancel();
        }
        let Some(push) = push else { return };
        let (push, leave) = (Arc::new(push), CancellationToken::new());
        let pusher = Pusher {
            sender: Arc::clone(&self.sender),
            queue: queue.clone(),
            push: Arc::clone(&push),
            leave: leave.clone(),
            stop: self.stop.clone(),
        };
        self.guests.admit(pusher.run());
        self.running.insert(queue.clone(), Running { push, leave });
    }
}
