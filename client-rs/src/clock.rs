//! Time for tests: the clock of a broker that was started with `--manual-clock`.

use std::time::{Duration, SystemTime};

use lessor_proto::v1::AdvanceClockRequest;
use lessor_proto::v1::test_clock_client::TestClockClient;

use crate::{Client, Error, Result, span};

impl Client {
    /// Moves the clock of a broker whose clock only moves so, and answers its time then. All that
    /// falls due on the way is done.
    ///
    /// A broker with a clock of its own answers `UNIMPLEMENTED`.
    pub async fn advance_clock(&self, duration: Duration) -> Result<SystemTime> {
        let start = self.store_status().await?.store_time;
        let start = start.and_then(|time| SystemTime::try_from(time).ok());
        let end = start.and_then(|start| start.checked_add(duration));
        let mut left = duration;
        loop {
            let request = AdvanceClockRequest { duration: Some(span::to_wire(left)) };
            let reply = self
                .call_within(self.timeout(), request, |channel, request| async move {
                    TestClockClient::new(channel).advance_clock(request).await
                })
                .await?;
            let now = reply.now.and_then(|now| SystemTime::try_from(now).ok());
            let now = now.ok_or_else(|| Error::incomplete("the time"))?;
            // The broker halts when too much fell due on the way.
            left = end.and_then(|end| end.duration_since(now).ok()).unwrap_or_default();
            if left.is_zero() {
                return Ok(now);
            }
        }
    }
}
