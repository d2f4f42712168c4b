//! Where a watch stands: a position per queue, and the store it belongs to. Opaque to clients.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;

use crate::broker::{Error, Result};
use crate::clock::Timestamp;
use crate::job::QueueName;
use crate::store::{LogStart, Position};

/// A resumable place in the logs of several queues.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cursor {
    /// The store's epoch.
    pub epoch: String,
    /// How far each queue was read.
    pub queues: BTreeMap<QueueName, Reached>,
}

/// How far a queue was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reached {
    /// The entry to read next.
    pub start: LogStart,
    /// How many of its events were read already.
    pub skip: usize,
}

#[derive(Clone, PartialEq, Message)]
struct CursorRecord {
    #[prost(string, tag = "1")]
    epoch: String,
    #[prost(message, repeated, tag = "2")]
    queues: Vec<ReachedRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct ReachedRecord {
    #[prost(string, tag = "1")]
    queue: String,
    /// Of the entry read last; absent with `moment` absent too: the oldest entry is next.
    #[prost(uint64, optional, tag = "2")]
    number: Option<u64>,
    #[prost(uint64, tag = "3")]
    high: u64,
    #[prost(uint64, tag = "4")]
    low: u64,
    #[prost(uint64, optional, tag = "5")]
    moment: Option<u64>,
    #[prost(uint64, tag = "6")]
    skip: u64,
}

impl Cursor {
    /// Reads a cursor as a client shows it.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::BadCursor)?;
        let record = CursorRecord::decode(bytes.as_slice()).map_err(|_| Error::BadCursor)?;
        let mut queues = BTreeMap::new();
        for one in record.queues {
            let queue = QueueName::parse(&one.queue).map_err(|_| Error::BadCursor)?;
            let start = match (one.number, one.moment) {
                (Some(number), _) => {
                    LogStart::After(Position { entry: (one.high, one.low), number })
                }
                (None, Some(moment)) => LogStart::Time(Timestamp::from_millis(moment)),
                (None, None) => LogStart::Oldest,
            };
            let skip = usize::try_from(one.skip).map_err(|_| Error::BadCursor)?;
            queues.insert(queue, Reached { start, skip });
        }
        Ok(Self { epoch: record.epoch, queues })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queues = self.queues.iter().map(|(queue, reached)| {
            let (position, moment) = match reached.start {
                LogStart::After(position) => (Some(position), None),
                LogStart::Time(moment) => (None, Some(moment.as_millis())),
                LogStart::Oldest => (None, None),
            };
            let (high, low) = position.unwrap_or_default().entry;
            ReachedRecord {
                queue: queue.to_string(),
                number: position.map(|position| position.number),
                high,
                low,
                moment,
                skip: reached.skip as u64,
            }
        });
        let record = CursorRecord { epoch: self.epoch.clone(), queues: queues.collect() };
        f.write_str(&URL_SAFE_NO_PAD.encode(record.encode_to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_as_it_was_written() {
        let position = Position { entry: (1_800_000_000_000, 7), number: 12 };
        let starts = [
            LogStart::Oldest,
            LogStart::Time(Timestamp::from_millis(5)),
            LogStart::After(position),
        ];
        let queues = starts.into_iter().enumerate().map(|(skip, start)| {
            (QueueName::parse(&format!("q{skip}")).unwrap(), Reached { start, skip })
        });
        let cursor = Cursor { epoch: "e".to_owned(), queues: queues.collect() };
        assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        assert_eq!(Cursor::parse("%%%"), Err(Error::BadCursor));
        assert_eq!(Cursor::parse("AAAA"), Err(Error::BadCursor));
    }
}
