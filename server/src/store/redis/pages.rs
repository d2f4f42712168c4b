//! Pages: records of a batch that share an entry of the hash of records. An entry of its own costs a job
//! more than a hundred bytes beside its record, and a look into a large hash for each.
//!
//! A page is for 8 ids that follow each other, of which the first ends with three zero bits. Its name is
//! that id with a 2 in front, in place of the 1 of an id:
//!
//! | bytes | field |
//! |---|---|
//! | 0 | the place of its first job, from 0 |
//! | 1 | how many jobs there are |
//! | 2 | the size of each record, if they are of one size, else 0 |
//! | 2 each | if they are not: where the record of each ends behind all this |
//! | | the records |
//!
//! Records in pages have nothing special, and their jobs were ready: claims need not look.
//!
//! Which of its jobs are still there, scripts note in another hash, a bit for each place in one byte
//! (`lua/pages.lua`). The ids that a request's jobs get ([`JobIds`](crate::job::JobIds)) are made so
//! that they follow each other; scripts know them by their version.

use std::ops::Range;

use super::codec::{IdBytes, PLAIN};
use super::scripts::{Call, wide};

/// Jobs that a page is for. More would save little memory, and a claim reads whole pages.
const PLACES: u8 = 8;
/// Bytes of a record in a page at most: to read one, all are read.
const LARGEST: usize = 1024;
/// Fewer are not worth a page.
const FEWEST: usize = 4;
/// The version of ids that follow each other, in the upper half of a byte.
const VERSION: u8 = 5;

/// Ids and records of new jobs.
pub(super) type Records<'i> = Vec<(IdBytes<'i>, Vec<u8>)>;

/// How many arguments the entries of the hash of records take, and how many the pages among them.
pub(super) fn arguments(runs: &[Range<usize>]) -> [u64; 2] {
    [wide(2 * runs.len()), wide(2 * runs.iter().filter(|run| run.len() > 1).count())]
}

/// Adds entries of the hash of records; then per page among them its name and which of its jobs are there.
pub(super) fn add(call: &mut Call<'_>, records: &Records<'_>, runs: &[Range<usize>]) {
    let mut pages = Vec::new();
    for run in runs {
        match &records[run.clone()] {
            [(id, record)] => {
                call.bytes(id).bytes(record);
            }
            run => {
                let (name, place) = run.first().and_then(|(id, _)| page_of(id)).unwrap_or_default();
                call.bytes(name).bytes(page(place, run));
                // At most as many as there are places.
                let places = (place..PLACES).zip(run);
                pages.push((name, [places.fold(0_u8, |live, (place, _)| live | 1 << place)]));
            }
        }
    }
    for (name, live) in pages {
        call.bytes(name).bytes(live);
    }
}

/// The jobs of each entry, in order: one, or those of a page.
pub(super) fn runs(records: &Records<'_>) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::with_capacity(records.len());
    let mut names: Vec<[u8; 17]> = Vec::new();
    let mut begin = 0;
    while begin < records.len() {
        let together = together(&records[begin..]);
        let name = page_of(&records[begin].0).map(|(name, _)| name);
        match name.filter(|name| together >= FEWEST && !names.contains(name)) {
            Some(name) => {
                names.push(name);
                runs.push(begin..begin + together);
            }
            None => runs.extend((begin..begin + together).map(|index| index..index + 1)),
        }
        begin += together;
    }
    runs
}

/// How many of the records, from the first one on, could share a page; at least one.
fn together(records: &[(IdBytes<'_>, Vec<u8>)]) -> usize {
    let fits = |record: &Vec<u8>| record.len() <= LARGEST && record.first() == Some(&PLAIN);
    let Some((first, _)) = records.first().filter(|(_, record)| fits(record)) else { return 1 };
    let Some((name, place)) = page_of(first) else { return 1 };
    let follow = (place + 1..PLACES).zip(&records[1..]);
    let follow = follow
        .take_while(|(place, (id, record))| fits(record) && page_of(id) == Some((name, *place)));
    1 + follow.count()
}

/// The name of the page that the job would be in, and its place there.
fn page_of(id: &IdBytes<'_>) -> Option<([u8; 17], u8)> {
    match id {
        IdBytes::Made(bytes) if bytes[7] >> 4 == VERSION => {
            let mut name = *bytes;
            name[0] = 2;
            name[16] -= name[16] % PLACES;
            Some((name, bytes[16] % PLACES))
        }
        _ => None,
    }
}

fn page(place: u8, run: &[(IdBytes<'_>, Vec<u8>)]) -> Vec<u8> {
    let sizes = || run.iter().map(|(_, record)| record.len());
    // There are at most 8 of at most 1 KiB.
    let short = |size: usize| u16::try_from(size).unwrap_or(u16::MAX).to_be_bytes();
    let mut page = Vec::with_capacity(4 + 2 * run.len() + sizes().sum::<usize>());
    page.extend([place, u8::try_from(run.len()).unwrap_or(PLACES)]);
    let first = sizes().next().unwrap_or(0);
    if sizes().all(|size| size == first) {
        page.extend(short(first));
    } else {
        page.extend(short(0));
        page.extend(
            sizes()
                .scan(0, |end, size| {
                    *end += size;
                    Some(short(*end))
                })
                .flatten(),
        );
    }
    for (_, record) in run {
        page.extend_from_slice(record);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{JobId, JobIds, RequestId};
    use crate::store::redis::codec::id_bytes;

    fn ids(count: u32) -> Vec<JobId> {
        let request = RequestId::parse("0192d8a0-0000-7000-8000-000000000001").unwrap();
        (0..count).map(|number| JobIds::of(&request).at(number)).collect()
    }

    fn lengths(ids: &[JobId], size: impl Fn(usize) -> usize) -> Vec<usize> {
        let records = (0..).zip(ids).map(|(at, id)| (id_bytes(id), vec![PLAIN; size(at)]));
        runs(&records.collect()).into_iter().map(|run| run.len()).collect()
    }

    #[test]
    fn ids_that_follow_each_other_share_pages_of_8() {
        assert_eq!(lengths(&ids(100), |_| 300), [vec![8; 12], vec![4]].concat());
    }

    #[test]
    fn a_few_or_others_ids_or_large_records_have_entries_of_their_own() {
        assert_eq!(lengths(&ids(3), |_| 300), [1, 1, 1]);
        let others: Vec<JobId> = (0..8).map(|_| JobId::generate()).collect();
        assert_eq!(lengths(&others, |_| 300), [1; 8]);
        let chosen: Vec<JobId> = (0..8).map(|n| JobId::parse(&format!("j{n}")).unwrap()).collect();
        assert_eq!(lengths(&chosen, |_| 300), [1; 8]);
        let is_large = |at| if at == 4 { LARGEST + 1 } else { LARGEST };
        assert_eq!(lengths(&ids(9), is_large), [4, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn what_lies_apart_in_a_page_has_one_page_only() {
        let ids = ids(8);
        let apart = [&ids[4..], &ids[..4]].concat();
        assert_eq!(lengths(&apart, |_| 1), [4, 1, 1, 1, 1]);
    }

    #[test]
    fn a_page_tells_where_each_record_ends() {
        let ids = ids(40);
        let records: Records<'_> =
            (0..).zip(&ids[34..37]).map(|(at, id)| (id_bytes(id), vec![at; 2])).collect();
        let (name, place) = page_of(&records[0].0).unwrap();
        assert_eq!((name[0], name[16] % PLACES, place), (2, 0, 2));
        assert_eq!(page(place, &records), [2, 3, 0, 2, 0, 0, 1, 1, 2, 2]);
        let records: Records<'_> =
            (1..).zip(&ids[..2]).map(|(at, id)| (id_bytes(id), vec![7; at])).collect();
        assert_eq!(page(0, &records), [0, 2, 0, 0, 0, 1, 0, 3, 7, 7, 7]);
    }
}
