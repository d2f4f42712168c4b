//! Who may name whom in `src/`: the arrows of the architecture, held by a table.
//!
//! The sources are read, not compiled: comments, strings and tests are left out, `use` trees are
//! spread out, and `self`, `super` and child modules become full paths. A name that a `use` brought
//! in is judged by that `use`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop right there")]

use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// Files whose path begins with `within`, but with none of `except`, name nothing that begins with
/// one of `forbidden`: a path, or a method with its dot.
struct Rule {
    within: &'static str,
    except: &'static [&'static str],
    forbidden: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        within: "job/",
        except: &[],
        forbidden: &["tokio", "futures_util", "crate::store", "crate::broker", "crate::rpc"],
        why: "the rules are pure and know nobody",
    },
    Rule {
        within: "store/",
        except: &[],
        forbidden: &["crate::broker", "crate::rpc", "crate::config"],
        why: "a store serves those above it and does not know them",
    },
    Rule {
        within: "store/",
        except: &["store/observed"],
        forbidden: &["crate::telemetry"],
        why: "a store is watched from outside",
    },
    Rule {
        within: "broker/",
        except: &[],
        forbidden: &[
            "crate::rpc",
            "crate::config",
            "crate::telemetry",
            "crate::store::redis",
            "crate::store::sqlite",
        ],
        why: "the use cases know no wire and no particular store",
    },
    Rule {
        within: "auth/",
        except: &[],
        forbidden: &["crate::rpc", "crate::config", "crate::store"],
        why: "who may do what is decided without the wire and the store",
    },
    Rule {
        within: "push/",
        except: &[],
        forbidden: &["crate::rpc", "crate::config", "crate::store"],
        why: "whoever sends jobs is a worker and knows the use cases",
    },
    Rule {
        within: "",
        except: &["push/", "auth/"],
        forbidden: &["hyper_util", "hyper_rustls"],
        why: "only the sender of jobs and the reader of keys call others over HTTP",
    },
    Rule {
        within: "rpc/",
        except: &[],
        forbidden: &["crate::store::redis", "crate::store::sqlite", "crate::store::open"],
        why: "the wire knows no particular store",
    },
    Rule {
        within: "",
        except: &["store/redis/"],
        forbidden: &["redis"],
        why: "only the Redis store knows the client of Redis",
    },
    Rule {
        within: "",
        except: &["store/sqlite/"],
        forbidden: &["rusqlite"],
        why: "only the SQLite store knows SQLite",
    },
    Rule {
        within: "",
        except: &["job/schedule/cron.rs"],
        forbidden: &["croner", "jiff"],
        why: "only the rules of schedules know a calendar",
    },
    Rule {
        within: "",
        except: &["rpc/"],
        forbidden: &[
            "tonic",
            "tonic_types",
            "tonic_health",
            "tonic_reflection",
            "tonic_web",
            "prost_reflect",
            "lessor_proto",
        ],
        why: "only the wire knows gRPC and the protocol",
    },
    Rule {
        within: "",
        except: &["http.rs", "lib.rs", "rpc/"],
        forbidden: &["axum"],
        why: "only the wire and its pages know HTTP",
    },
    Rule {
        within: "",
        except: &["telemetry/", "store/observed/"],
        forbidden: &["opentelemetry", "opentelemetry_sdk", "opentelemetry_otlp", "prometheus"],
        why: "only telemetry knows who is told",
    },
    Rule {
        within: "",
        except: &["clock.rs"],
        forbidden: &[
            "std::time::SystemTime",
            "std::time::Instant",
            "tokio::time::Instant",
            "tokio::time::sleep",
        ],
        why: "only the clock reads time",
    },
    Rule {
        within: "",
        except: &["crew.rs", "store/sqlite/writer.rs", "store/sqlite/flusher.rs"],
        forbidden: &[".spawn", "tokio::spawn", "tokio::task::spawn", "std::thread::spawn"],
        why: "only the crew hires, so that every task is waited for; SQLite has threads of its own",
    },
    Rule {
        within: "",
        except: &["config.rs", "files.rs", "lib.rs", "store/sqlite/"],
        forbidden: &["std::fs"],
        why: "files are those of the configuration, secrets and SQLite",
    },
    Rule {
        within: "",
        except: &["config.rs", "telemetry/"],
        forbidden: &["std::env"],
        why: "the environment is read as configuration, and for the colours of the log",
    },
];

impl Rule {
    /// The first name that the file at `path` names against this rule.
    fn broken_by<'n>(&self, path: &str, names: &'n [String]) -> Option<&'n String> {
        let applies = path.starts_with(self.within);
        let is_excepted = self.except.iter().any(|home| path.starts_with(home));
        if applies && !is_excepted { self.forbidden_in(names) } else { None }
    }

    fn forbidden_in<'n>(&self, names: &'n [String]) -> Option<&'n String> {
        names.iter().find(|name| {
            self.forbidden.iter().any(|forbidden| {
                let rest = name.strip_prefix(forbidden);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            })
        })
    }
}

#[test]
fn nobody_names_whom_they_may_not_name() {
    let violations: Vec<String> =
        sources().iter().flat_map(|(path, source)| violations(path, source)).collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn every_exception_is_needed() {
    let sources = sources();
    for rule in RULES {
        for home in rule.except {
            let mut files = sources.iter().filter(|(path, _)| path.starts_with(home));
            let is_needed =
                files.any(|(path, source)| rule.forbidden_in(&names(path, source)).is_some());
            assert!(is_needed, "{home} names none of {:?}", rule.forbidden);
        }
    }
}

#[test]
fn a_planted_violation_is_found_in_whatever_form() {
    for (path, source) in [
        ("job/retry.rs", "use crate::store::Store;"),
        ("job/retry.rs", "use crate::{clock::Timestamp, store::{self, Claim}};"),
        ("job/retry.rs", "use super::super::store::Store;"),
        ("job/mod.rs", "pub use super::{clock, broker as boss};"),
        ("job/mod.rs", "fn f() { crate::rpc::serve(); }"),
        ("job/mod.rs", "fn f<'a>(x: &'a tokio::sync::Mutex<u8>) -> char { '\\'' }"),
        ("store/open.rs", "fn f() -> ::redis::Client { todo() }"),
        ("store/memory.rs", "use redis::Client;"),
        ("broker/mod.rs", "use crate::store::sqlite::SqliteStore;"),
        ("broker/mod.rs", "fn f() -> Result<lessor_proto::v1::Job, tonic::Status> {}"),
        ("broker/mod.rs", "fn f() { tracker.spawn(work()); }"),
        ("broker/mod.rs", "/* not /* here */ */ use std::time::{Duration, Instant};"),
        ("rpc/mod.rs", "#[cfg(test)] mod tests { } fn f() { std::env::var(\"HOME\"); }"),
    ] {
        assert_eq!(violations(path, source).len(), 1, "{path}: {source}");
    }
}

#[test]
fn what_looks_like_a_violation_is_none() {
    for (path, source) in [
        ("job/mod.rs", "//! As crate::store does.\n// use crate::store::Store;"),
        ("job/mod.rs", "/// See [`crate::store`].\n/* use tokio; /* and redis::x */ */ fn f() {}"),
        ("job/mod.rs", "const TEXT: &str = \"crate::store \\\" tokio::spawn\";"),
        ("job/mod.rs", "const TEXT: &str = r#\"a \" crate::store::x\"#;"),
        ("job/mod.rs", "#[cfg(test)]\nmod tests { use tokio::time; fn f() { {} } }"),
        ("job/tests.rs", "use tokio::time;"),
        ("job/mod.rs", "mod tokio_like; use crate::storefront; use crate::job::store;"),
        ("store/mod.rs", "pub mod redis; pub use redis::RedisStore;"),
        ("store/open.rs", "use super::redis::RedisStore;"),
        ("broker/mod.rs", "use std::time::Duration; fn f() { respawn(); instant.elapsed(); }"),
    ] {
        assert_eq!(violations(path, source), [""; 0], "{path}: {source}");
    }
}

/// Every file under `src/`, by its path from there.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut sources) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let parts = path.strip_prefix(&root).unwrap().iter();
                let parts: Vec<_> = parts.map(|part| part.to_string_lossy()).collect();
                sources.push((parts.join("/"), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(sources.len() > 10, "the sources are not where they were");
    sources
}

fn violations(path: &str, source: &str) -> Vec<String> {
    let names = names(path, source);
    let broken = RULES.iter().filter_map(|rule| Some((rule, rule.broken_by(path, &names)?)));
    broken.map(|(rule, name)| format!("{path} names {name}, but {}", rule.why)).collect()
}

/// All paths that a file names, in full, and all methods.
fn names(path: &str, source: &str) -> Vec<String> {
    if path.ends_with("tests.rs") {
        return Vec::new();
    }
    let tokens = without_tests(&tokens(source));
    let children: Vec<&String> =
        tokens.windows(2).filter(|two| two[0] == "mod").map(|two| &two[1]).collect();
    let full = |name: &str| {
        let module = module(path);
        let mut base: Vec<&str> = module.split("::").collect();
        let mut parts: Vec<&str> = name.split("::").collect();
        match parts[0] {
            // Written `::name`: a crate.
            "" => return parts[1..].join("::"),
            "crate" => return name.to_owned(),
            "self" => drop(parts.remove(0)),
            "super" => {}
            first if children.iter().any(|child| *child == first) => {}
            _ => return name.to_owned(),
        }
        while parts.first() == Some(&"super") {
            parts.remove(0);
            base.pop();
        }
        [base, parts].concat().join("::")
    };
    let mut names = Vec::new();
    let mut rest = tokens.as_slice();
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        if token == "use" {
            let mut tree = Vec::new();
            rest = spread(after, "", &mut tree);
            names.extend(tree.iter().map(|name| full(name)));
        } else if token == "." && after.first().is_some_and(|name| is_word(name)) {
            names.push(format!(".{}", after[0]));
            rest = &after[1..];
        } else if is_word(token) || token == "::" {
            let (name, after) = whole_path(token, after);
            names.push(full(&name));
            rest = after;
        }
    }
    names
}

/// The module that the file at `path` is.
fn module(path: &str) -> String {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    if path == "lib" { "crate".to_owned() } else { format!("crate::{}", path.replace('/', "::")) }
}

/// The path that begins with `first`, and what follows it.
fn whole_path<'t>(first: &str, mut rest: &'t [String]) -> (String, &'t [String]) {
    let mut name = first.to_owned();
    while let Some(next) = rest.first() {
        let (word, colons) = (is_word(next), next == "::");
        if (colons && !name.ends_with("::")) || (word && name.ends_with("::")) {
            name.push_str(next);
            rest = &rest[1..];
        } else {
            break;
        }
    }
    (name.trim_end_matches("::").to_owned(), rest)
}

/// Spreads a `use` tree out into paths; answers what follows it.
fn spread<'t>(tokens: &'t [String], prefix: &str, into: &mut Vec<String>) -> &'t [String] {
    let mut name = prefix.to_owned();
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        match token.as_str() {
            "{" => {
                rest = spread(rest, &name, into);
                name.clear();
            }
            "as" => rest = &rest[1..],
            "," | "}" | ";" => {
                if !name.is_empty() && name != prefix {
                    into.push(name.trim_end_matches("::self").trim_end_matches("::*").to_owned());
                }
                if token != "," {
                    return rest;
                }
                prefix.clone_into(&mut name);
            }
            other => name.push_str(other),
        }
    }
    rest
}

/// The tokens without items under `#[cfg(test)]`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().map(String::as_str).take(TEST.len()).eq(TEST) {
            at = end_of_item(tokens, at + TEST.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Where the item that begins at `at` has ended.
fn end_of_item(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            ";" => {}
            _ => continue,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphanumeric() || first == '_')
}

/// Words, `::` and other signs; neither comments nor literals.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    flatten(source.parse().unwrap(), &mut tokens);
    tokens
}

fn flatten(stream: TokenStream, into: &mut Vec<String>) {
    let mut stream = stream.into_iter().peekable();
    while let Some(token) = stream.next() {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                into.push(open.to_owned());
                flatten(group.stream(), into);
                into.push(close.to_owned());
            }
            TokenTree::Punct(sign) if sign.as_char() == ':' && sign.spacing() == Spacing::Joint => {
                let other = stream.next_if(|next| next.to_string() == ":");
                into.push(if other.is_some() { "::" } else { ":" }.to_owned());
            }
            // A lifetime.
            TokenTree::Punct(sign) if sign.as_char() == '\'' => drop(stream.next()),
            TokenTree::Literal(_) => into.push("\"".to_owned()),
            other => into.push(other.to_string()),
        }
    }
}
