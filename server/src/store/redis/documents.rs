//! Small records of a namespace: one hash per kind.

use super::scripts::Call;
use super::{RedisStore, reply};
use crate::store::{Document, Guarded, Kind, Put, Result};

const KINDS: [(Kind, &str); 4] = [
    (Kind::Schedule, "schedule"),
    (Kind::Worker, "worker"),
    (Kind::Drain, "drain"),
    (Kind::Sink, "sink"),
];

fn name(kind: Kind) -> &'static str {
    KINDS.iter().find(|(one, _)| *one == kind).map_or("", |(_, name)| name)
}

/// The kind of this name.
pub(super) fn kind(name: &str) -> Option<Kind> {
    KINDS.iter().find(|(_, one)| *one == name).map(|(kind, _)| *kind)
}

impl RedisStore {
    pub(super) async fn all_documents(&self, kind: Kind) -> Result<Vec<Document>> {
        let hash = self.namespace.documents(name(kind));
        let mut documents = reply::documents(self.ask(redis::cmd("HGETALL").arg(hash)).await?)?;
        documents.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Ok(documents)
    }

    pub(super) async fn one_document(&self, kind: Kind, key: &str) -> Result<Option<Document>> {
        let hash = self.namespace.documents(name(kind));
        let found = reply::revised(self.ask(redis::cmd("HGET").arg(hash).arg(key)).await?)?;
        Ok(found.map(|(revision, body)| Document { key: key.to_owned(), revision, body }))
    }

    pub(super) async fn write_documents(&self, kind: Kind, puts: &[Put]) -> Result<Vec<Guarded>> {
        let hash = self.namespace.documents(name(kind));
        let mut call = Call::on(&self.scripts.documents, &[hash]);
        let channel = kind.is_told().then(|| self.namespace.documents_channel());
        call.text(channel.unwrap_or_default()).text(name(kind));
        for Put { key, expected, body } in puts {
            call.text(key.as_str()).number(*expected);
            call.text(if body.is_some() { "1" } else { "" });
            call.bytes(body.clone().unwrap_or_default());
        }
        reply::guarded(self.ran(&call).await?)
    }
}
