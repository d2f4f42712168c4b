//! What [`Store::documents`](crate::store::Store::documents) and
//! [`Store::put_documents`](crate::store::Store::put_documents) promise.

use bytes::Bytes;

use crate::fixture::{Queue, one};
use crate::store::{Document, Guarded, Kind, Put, Signal};

every_store!(
    async fn a_document_is_read_back_as_it_was_written(queue: Queue) {
        assert_eq!(queue.store.documents(Kind::Schedule).await.unwrap(), []);
        assert_eq!(read(&queue, "a").await, None);
        let body: Vec<u8> = (0..=255).collect();
        let put = Put { body: Some(Bytes::from(body.clone())), ..written("a", None, "") };
        assert_eq!(write(&queue, put).await, Guarded::Applied);
        let wanted = Document { key: "a".to_owned(), revision: 1, body: Bytes::from(body) };
        assert_eq!(read(&queue, "a").await, Some(wanted.clone()));
        assert_eq!(queue.store.documents(Kind::Schedule).await.unwrap(), [wanted]);
    }

    async fn each_write_of_a_document_is_a_revision(queue: Queue) {
        for revision in 1..=3 {
            let body = format!("body {revision}");
            write(&queue, written("a", None, &body)).await;
            assert_eq!(read(&queue, "a").await, Some(document("a", revision, &body)));
        }
    }

    async fn a_document_is_written_only_as_it_was_read(queue: Queue) {
        assert_eq!(write(&queue, written("a", Some(1), "one")).await, Guarded::Lost);
        assert_eq!(read(&queue, "a").await, None);
        assert_eq!(write(&queue, written("a", Some(0), "one")).await, Guarded::Applied);
        assert_eq!(write(&queue, written("a", Some(0), "again")).await, Guarded::Lost);
        assert_eq!(write(&queue, written("a", Some(1), "two")).await, Guarded::Applied);
        assert_eq!(write(&queue, written("a", Some(1), "three")).await, Guarded::Lost);
        assert_eq!(write(&queue, written("a", Some(9), "three")).await, Guarded::Lost);
        assert_eq!(read(&queue, "a").await, Some(document("a", 2, "two")));
    }

    async fn a_removed_document_is_gone(queue: Queue) {
        write(&queue, written("a", None, "one")).await;
        write(&queue, written("b", None, "one")).await;
        let removal = |expected| Put { key: "a".to_owned(), expected, body: None };
        assert_eq!(write(&queue, removal(Some(2))).await, Guarded::Lost);
        assert_eq!(write(&queue, removal(Some(1))).await, Guarded::Applied);
        assert_eq!(read(&queue, "a").await, None);
        assert_eq!(queue.store.documents(Kind::Schedule).await.unwrap(), [document("b", 1, "one")]);
        assert_eq!(write(&queue, removal(Some(1))).await, Guarded::Lost);
        assert_eq!(write(&queue, written("a", Some(0), "new")).await, Guarded::Applied);
        assert_eq!(read(&queue, "a").await.unwrap().body, "new");
    }

    async fn documents_are_listed_by_key(queue: Queue) {
        for key in ["b", "B", "a/1", "a", "10", "9"] {
            write(&queue, written(key, None, key)).await;
        }
        let documents = queue.store.documents(Kind::Schedule).await.unwrap();
        let keys: Vec<&str> = documents.iter().map(|document| document.key.as_str()).collect();
        assert_eq!(keys, ["10", "9", "B", "a", "a/1", "b"]);
    }

    async fn the_kinds_of_documents_have_nothing_in_common(queue: Queue) {
        for kind in [Kind::Schedule, Kind::Worker, Kind::Drain] {
            assert_eq!(queue.store.documents(kind).await.unwrap(), []);
            let put = vec![written("a", Some(0), "body")];
            assert_eq!(queue.store.put_documents(kind, put).await.unwrap(), [Guarded::Applied]);
            assert_eq!(queue.store.documents(kind).await.unwrap(), [document("a", 1, "body")]);
        }
    }

    async fn writes_of_one_call_are_made_in_order(queue: Queue) {
        let puts = vec![
            written("a", Some(0), "one"),
            written("a", Some(0), "two"),
            written("a", Some(1), "three"),
            written("b", None, "one"),
        ];
        let outcomes = queue.store.put_documents(Kind::Schedule, puts).await.unwrap();
        let wanted = [Guarded::Applied, Guarded::Lost, Guarded::Applied, Guarded::Applied];
        assert_eq!(outcomes, wanted);
        assert_eq!(read(&queue, "a").await, Some(document("a", 2, "three")));
        let nothing = queue.store.put_documents(Kind::Schedule, vec![]).await.unwrap();
        assert_eq!(nothing, []);
    }

    async fn a_written_document_is_signalled_if_brokers_care(queue: Queue) {
        let mut signals = queue.signals().await;
        queue.store.put_documents(Kind::Worker, vec![written("w", None, "x")]).await.unwrap();
        for kind in [Kind::Schedule, Kind::Drain] {
            queue.store.put_documents(kind, vec![written("a", None, "x")]).await.unwrap();
            let before = signals.expect(Signal::Documents(kind)).await;
            assert!(!before.contains(&Signal::Documents(Kind::Worker)), "{before:?}");
            let removal = Put { body: None, ..written("a", None, "") };
            queue.store.put_documents(kind, vec![removal]).await.unwrap();
            signals.expect(Signal::Documents(kind)).await;
        }
    }

    async fn documents_make_no_queue(queue: Queue) {
        write(&queue, written("a", None, "x")).await;
        assert_eq!(queue.store.queues().await.unwrap(), []);
    }
);

async fn write(queue: &Queue, put: Put) -> Guarded {
    one(queue.store.put_documents(Kind::Schedule, vec![put]).await.unwrap())
}

async fn read(queue: &Queue, key: &str) -> Option<Document> {
    queue.store.document(Kind::Schedule, key).await.unwrap()
}

fn written(key: &str, expected: Option<u64>, body: &str) -> Put {
    Put { key: key.to_owned(), expected, body: Some(Bytes::copy_from_slice(body.as_bytes())) }
}

fn document(key: &str, revision: u64, body: &str) -> Document {
    let body = Bytes::copy_from_slice(body.as_bytes());
    Document { key: key.to_owned(), revision, body }
}
