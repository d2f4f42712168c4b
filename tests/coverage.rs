//! `docs/coverage.md` names a test for each thing that users bring from other systems: all of them
//! are there, and each test it names exists.

#![expect(clippy::unwrap_used, reason = "a test that can't go on says where")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Rows of the document, which count what users bring.
const ROWS: usize = 76;

/// What a row says instead of a test, and what it waits for.
const LATER: [&str; 3] = ["Later: HTTP", "Later: security", "Later: flows, keys and limits"];

/// The last column of each row, by the row's number.
fn rows() -> BTreeMap<usize, Vec<String>> {
    let text = read("docs/coverage.md");
    let mut rows = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("| ")) {
        let cells: Vec<&str> = line.trim_end_matches(" |").split(" | ").collect();
        let Ok(number) = cells[0].parse::<usize>() else { continue };
        assert_eq!(cells.len(), 3, "row {number} has number, what it is and what shows it");
        let shown = cells[2].split("<br>").map(|one| one.trim().to_owned()).collect();
        assert!(rows.insert(number, shown).is_none(), "row {number} is there twice");
    }
    rows
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_row_is_there_and_shown_or_said_to_come_later() {
    let rows = rows();
    assert!(rows.keys().copied().eq(1..=ROWS), "{:?}", rows.keys());
    for (number, shown) in rows {
        for one in shown {
            let is_test = one.starts_with('`') && one.ends_with('`') && one.contains("::");
            assert!(is_test || LATER.contains(&one.as_str()), "row {number}: {one}");
        }
    }
}

#[test]
fn each_test_that_is_named_exists() {
    for (number, shown) in rows() {
        for one in shown.iter().filter_map(|one| one.strip_prefix('`')?.strip_suffix('`')) {
            let (file, name) = one.split_once("::").unwrap();
            let text = read(file);
            let heads = [
                format!("fn {name}("),
                format!("def {name}("),
                format!("func {name}("),
                format!("\n    {name},"),
                format!("scenario(\"{name}\""),
                format!("\ntest(\"{name}\""),
                format!("\n  - name: {name}\n"),
            ];
            assert!(
                heads.iter().any(|head| text.contains(head)),
                "row {number}: there is no {name} in {file}"
            );
        }
    }
}
