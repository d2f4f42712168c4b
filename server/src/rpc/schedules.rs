//! The calls of `JobBrokerAdmin` about schedules.

use lessor_proto::v1;

use super::auth::Access;
use super::convert::job::proto_job;
use super::convert::schedule::{
    self, new_schedule, proto_schedule, schedule_id, schedules_response,
};
use super::status::Fault;
use crate::broker::Broker;
use crate::broker::schedules::ScheduleQuery;

type Result<T> = std::result::Result<T, Fault>;

pub(super) async fn create(
    broker: &Broker,
    request: v1::CreateScheduleRequest,
    access: &Access,
) -> Result<v1::Schedule> {
    let (id, mut settings) = new_schedule(request, broker.clock().now())?;
    access.settings(&mut settings)?;
    Ok(proto_schedule(&broker.create_schedule(id, settings).await?))
}

pub(super) async fn get(
    broker: &Broker,
    request: v1::GetScheduleRequest,
    access: &Access,
) -> Result<v1::Schedule> {
    let id = schedule_id(&request.name)?;
    access.schedule(broker, &id).await?;
    Ok(proto_schedule(&broker.schedule(&id).await?))
}

pub(super) async fn list(
    broker: &Broker,
    request: v1::ListSchedulesRequest,
    access: &Access,
) -> Result<v1::ListSchedulesResponse> {
    let query = ScheduleQuery { known: access.known(), ..schedule::query(request)? };
    Ok(schedules_response(broker.list_schedules(&query).await?))
}

pub(super) async fn update(
    broker: &Broker,
    request: v1::UpdateScheduleRequest,
    access: &Access,
) -> Result<v1::Schedule> {
    let mut update = schedule::update(request)?;
    access.schedule(broker, &update.id).await?;
    update.asked.actor = access.actor();
    let now = broker.clock().now();
    let settings = |present: &_| {
        let mut settings = update.settings(present, now)?;
        access.settings(&mut settings)?;
        Ok::<_, Fault>(settings)
    };
    let schedule = broker.update_schedule(&update.id, &update.asked, settings).await?;
    Ok(proto_schedule(&schedule))
}

pub(super) async fn delete(
    broker: &Broker,
    request: v1::ScheduleActionRequest,
    access: &Access,
) -> Result<()> {
    let (id, asked) = schedule::action(request)?;
    access.schedule(broker, &id).await?;
    let asked = asked.by(access.actor());
    Ok(broker.delete_schedule(&id, &asked).await?)
}

pub(super) async fn pause(
    broker: &Broker,
    request: v1::ScheduleActionRequest,
    access: &Access,
) -> Result<v1::Schedule> {
    let (id, asked) = schedule::action(request)?;
    access.schedule(broker, &id).await?;
    let asked = asked.by(access.actor());
    Ok(proto_schedule(&broker.pause_schedule(&id, &asked).await?))
}

pub(super) async fn resume(
    broker: &Broker,
    request: v1::ScheduleActionRequest,
    access: &Access,
) -> Result<v1::Schedule> {
    let (id, asked) = schedule::action(request)?;
    access.schedule(broker, &id).await?;
    let asked = asked.by(access.actor());
    Ok(proto_schedule(&broker.resume_schedule(&id, &asked).await?))
}

pub(super) async fn trigger(
    broker: &Broker,
    request: v1::ScheduleActionRequest,
    access: &Access,
) -> Result<v1::Job> {
    let (id, asked) = schedule::action(request)?;
    access.schedule(broker, &id).await?;
    let asked = asked.by(access.actor());
    let job = broker.trigger_schedule(&id, &asked).await?;
    Ok(proto_job(&job, v1::JobView::Full))
}
