//! Queues, for those who look at them.

use lessor_proto::v1::job_broker_admin_client::JobBrokerAdminClient;
use lessor_proto::v1::{GetQueueStatsRequest, ListQueuesRequest, Queue, QueueStats};
use tonic::transport::Channel;

use crate::connect::REPLY_LIMIT;
use crate::{Client, Result};

const PAGE: i32 = 1000;

impl Client {
    /// All queues with their settings, in pages of one call each.
    pub async fn list_queues(&self) -> Result<Vec<Queue>> {
        let mut queues = Vec::new();
        let mut request = ListQueuesRequest { page_size: PAGE, ..ListQueuesRequest::default() };
        loop {
            let page = self
                .call_within(self.timeout(), request.clone(), |channel, request| async move {
                    admin(channel).list_queues(request).await
                })
                .await?;
            queues.extend(page.queues);
            if page.next_page_token.is_empty() {
                return Ok(queues);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// How many jobs a queue has in each state.
    pub async fn queue_stats(&self, name: impl Into<String>) -> Result<QueueStats> {
        let request = GetQueueStatsRequest { name: name.into() };
        self.call_within(self.timeout(), request, |channel, request| async move {
            admin(channel).get_queue_stats(request).await
        })
        .await
    }
}

fn admin(channel: Channel) -> JobBrokerAdminClient<Channel> {
    JobBrokerAdminClient::new(channel).max_decoding_message_size(REPLY_LIMIT)
}
