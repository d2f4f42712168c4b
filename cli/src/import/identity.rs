//! Names that follow from where a job was, so that it is the same job however often it is read.

use lessor::proto::EnqueueRequest;
use uuid::Uuid;

use super::source::Draft;

/// The label that says which job of another store it was.
pub(super) const LABEL: &str = "imported-from";

const NAMESPACE: Uuid = Uuid::from_u128(0x8a0d_6c3e_41f7_4b52_9d1a_67c2_b0e5_f394);
const LONGEST_NAME: usize = 128;
/// What is kept of a name that has to be changed, so that a digest finds room behind it.
const LONGEST_STEM: usize = 64;
const DIGEST: usize = 12;

/// The job `id` of the queue `from` in a store of this kind, as a job of `to`.
pub(super) fn name(kind: &str, from: &str, id: &str, draft: Draft, to: &str) -> EnqueueRequest {
    let Draft { mut request, chosen_id, created, .. } = draft;
    // Lengths keep apart what a separator could not.
    let whole = format!("{kind} {} {from} {} {id} {created}", from.len(), id.len());
    let own = Uuid::new_v5(&NAMESPACE, whole.as_bytes());
    let digest = &own.simple().to_string()[..DIGEST];
    request.job_id = chosen_id
        .filter(|id| is_name(id, |it| it == '~'))
        .unwrap_or_else(|| format!("{kind}-{}-{digest}", stem(id)));
    request.request_id = own.to_string();
    to.clone_into(&mut request.queue);
    let origin = printable(&format!("{kind}/{from}/{id}"));
    request.labels.insert(LABEL.to_owned(), format!("{origin}#{digest}"));
    request
}

/// The name of a queue as it can be here, which is the same if it can.
pub(super) fn queue(name: &str) -> String {
    if is_name(name, |_| false) { name.to_owned() } else { format!("queue-{}", stem(name)) }
}

/// A text as the id of something, which is the same if it can be one.
pub(super) fn word(text: &str) -> String {
    if is_name(text, |_| false) { text.to_owned() } else { format!("imported-{}", stem(text)) }
}

fn is_name(text: &str, further: impl Fn(char) -> bool) -> bool {
    text.len() <= LONGEST_NAME
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|it| is_plain(it) || further(it))
}

fn is_plain(it: char) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-')
}

fn stem(text: &str) -> String {
    text.chars().map(|it| if is_plain(it) { it } else { '-' }).take(LONGEST_STEM).collect()
}

/// What a label may hold of a text.
fn printable(text: &str) -> String {
    const LONGEST: usize = 255 - 1 - DIGEST;
    let mut text: String = text.chars().filter(|it| !it.is_control()).collect();
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(from: &str, id: &str, chosen: Option<&str>, created: &str) -> EnqueueRequest {
        let draft = Draft {
            request: EnqueueRequest::default(),
            chosen_id: chosen.map(str::to_owned),
            created: created.to_owned(),
            notes: Vec::new(),
        };
        name("bull", from, id, draft, "to")
    }

    #[test]
    fn the_same_job_has_the_same_ids_and_another_one_has_others() {
        let first = named("mail", "17", None, "1700000000000");
        assert_eq!(first, named("mail", "17", None, "1700000000000"));
        let others = [
            named("mail", "18", None, "1700000000000"),
            named("mails", "17", None, "1700000000000"),
            // The store was emptied, and counts from the beginning.
            named("mail", "17", None, "1800000000000"),
        ];
        for other in others {
            assert_ne!(first.request_id, other.request_id);
            assert_ne!(first.job_id, other.job_id);
        }
    }

    #[test]
    fn an_id_that_its_producer_chose_stays_if_it_can() {
        let kept = named("mail", "order~17", Some("order~17"), "1");
        assert_eq!(kept.job_id, "order~17");
        let changed = named("mail", "order/17", Some("order/17"), "1");
        assert!(changed.job_id.starts_with("bull-order-17-"), "{}", changed.job_id);
        assert!(changed.labels[LABEL].starts_with("bull/mail/order/17#"), "{changed:?}");
        let long = named("mail", &"ä\n".repeat(300), Some("-"), "1");
        assert!(long.job_id.len() <= 128 && long.labels[LABEL].len() <= 255, "{long:?}");
    }

    #[test]
    fn a_queue_keeps_its_name_if_it_can() {
        assert_eq!(queue("price-sync"), "price-sync");
        assert_eq!(queue("web hooks:x"), "queue-web-hooks-x");
    }
}
