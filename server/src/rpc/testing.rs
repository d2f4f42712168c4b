//! `lessor.v1.TestClock`, which moves the clock of a broker that was started for tests.

use lessor_proto::v1;
use lessor_proto::v1::test_clock_server::TestClock;
use tonic::{Request, Response, Status, async_trait};

use super::auth::Gate;
use super::convert::time::{advance, proto_moment};
use super::status::Fault;
use crate::broker::travel::Traveller;

/// The calls of `TestClock`.
pub(super) struct TestCalls {
    traveller: Traveller,
    gate: Gate,
}

impl TestCalls {
    pub(super) fn new(traveller: Traveller, gate: Gate) -> Self {
        Self { traveller, gate }
    }
}

#[async_trait]
impl TestClock for TestCalls {
    async fn advance_clock(
        &self,
        request: Request<v1::AdvanceClockRequest>,
    ) -> Result<Response<v1::AdvanceClockResponse>, Status> {
        self.gate.access(&request)?.everywhere()?;
        let span = advance(request.get_ref()).map_err(Fault::from)?;
        let now = self.traveller.advance(span).await.map_err(Fault::from)?;
        Ok(Response::new(v1::AdvanceClockResponse { now: Some(proto_moment(now)) }))
    }
}
