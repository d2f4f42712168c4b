//! The calls of `JobBrokerAdmin` about schedules.

use lessor_proto::v1;

use super::convert::job::proto_job;
use super::convert::schedule::{
    self, new_schedule, proto_schedule, schedule_id, schedules_response,
};
use super::status::Fault;
use crate::broker::Broker;

type Result<T> = std::result::Result<T, Fault>;

pub(super) async fn create(
    broker: &Broker,
    request: v1::CreateScheduleRequest,
) -> Result<v1::Schedule> {
    let (id, settings) = new_schedule(request, broker.clock().now())?;
    Ok(proto_schedule(&broker.create_schedule(id, settings).await?))
}

pub(super) async fn get(broker: &Broker, request: v1::GetScheduleRequest) -> Result<v1::Schedule> {
    let id = schedule_id(&request.name)?;
    Ok(proto_schedule(&broker.schedule(&id).await?))
}

pub(super) async fn list(
    broker: &Broker,
    request: v1::ListSchedulesRequest,
) -> Result<v1::ListSchedulesResponse> {
    let query = schedule::query(request)?;
    Ok(schedules_response(broker.list_schedules(&query).await?))
}

pub(super) async fn update(
    broker: &Broker,
    request: v1::UpdateScheduleRequest,
) -> Result<v1::Schedule> {
    let update = schedule::update(request)?;
    let now = broker.clock().now();
    let settings = |present: &_| update.settings(present, now).map_err(Fault::from);
    let schedule = broker.update_schedule(&update.id, &update.asked, settings).await?;
    Ok(proto_schedule(&schedule))
}

pub(super) async fn delete(broker: &Broker, request: v1::ScheduleActionRequest) -> Result<()> {
    let (id, asked) = schedule::action(request)?;
    Ok(broker.delete_schedule(&id, &asked).await?)
}

pub(super) async fn pause(
    broker: &Broker,
    request: v1::ScheduleActionRequest,
) -> Result<v1::Schedule> {
    let (id, asked) = schedule::action(request)?;
    Ok(proto_schedule(&broker.pause_schedule(&id, &asked).await?))
}

pub(super) async fn resume(
    broker: &Broker,
    request: v1::ScheduleActionRequest,
) -> Result<v1::Schedule> {
    let (id, asked) = schedule::action(request)?;
    Ok(proto_schedule(&broker.resume_schedule(&id, &asked).await?))
}

pub(super) async fn trigger(
    broker: &Broker,
    request: v1::ScheduleActionRequest,
) -> Result<v1::Job> {
    let (id, asked) = schedule::action(request)?;
    let job = broker.trigger_schedule(&id, &asked).await?;
    Ok(proto_job(&job, v1::JobView::Full))
}
