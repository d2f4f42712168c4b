//! Tokens that go on with a list: opaque, and bound to the list's arguments and to the store.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;

use super::{Broker, Error, Result};
use crate::job::fnv::Fnv;

/// What makes two lists the same.
#[derive(Default)]
pub(super) struct Digest(Fnv);

impl Digest {
    pub(super) fn text(&mut self, text: &str) {
        self.0.write_sized(text.as_bytes());
    }

    pub(super) fn number(&mut self, number: u64) {
        self.0.write_number(number);
    }
}

/// Reads and writes the tokens of one list.
pub(super) struct PageToken {
    digest: u64,
}

#[derive(Clone, PartialEq, Message)]
struct TokenRecord {
    #[prost(fixed64, tag = "1")]
    digest: u64,
    #[prost(bytes = "vec", tag = "2")]
    mark: Vec<u8>,
}

impl Broker {
    /// The tokens of the list `kind` with the arguments that `arguments` takes in.
    pub(super) async fn page_token(
        &self,
        kind: &str,
        arguments: impl FnOnce(&mut Digest),
    ) -> Result<PageToken> {
        let mut digest = Digest::default();
        digest.text(kind);
        // A mark is a place in the data of one store.
        digest.text(&self.store.epoch().await?);
        arguments(&mut digest);
        Ok(PageToken { digest: digest.0.finish() })
    }
}

impl PageToken {
    /// The mark in a token as a client shows it; `None` for the first page.
    pub(super) fn read(&self, text: &str) -> Result<Option<Vec<u8>>> {
        if text.is_empty() {
            return Ok(None);
        }
        let record = || TokenRecord::decode(URL_SAFE_NO_PAD.decode(text).ok()?.as_slice()).ok();
        match record() {
            Some(record) if record.digest == self.digest => Ok(Some(record.mark)),
            _ => Err(Error::BadPageToken),
        }
    }

    /// The token of a mark.
    pub(super) fn write(&self, mark: &[u8]) -> String {
        let record = TokenRecord { digest: self.digest, mark: mark.to_vec() };
        URL_SAFE_NO_PAD.encode(record.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_worth_nothing_to_another_list() {
        let (mine, other) = (PageToken { digest: 1 }, PageToken { digest: 2 });
        let token = mine.write(b"here");
        assert_eq!(mine.read(&token), Ok(Some(b"here".to_vec())));
        assert_eq!(other.read(&token), Err(Error::BadPageToken));
        assert_eq!(mine.read("%"), Err(Error::BadPageToken));
        assert_eq!(mine.read(""), Ok(None));
    }
}
