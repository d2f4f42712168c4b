//! What guards a broker, in the real binary: its audit log, its certificates, its tokens.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod audit;
mod jwks;
#[path = "../machine/mod.rs"]
#[expect(dead_code, reason = "nobody is killed here")]
mod machine;
mod renewal;
mod tls;

use std::fmt::Write;

use lessor_server::auth::secret::Digest;

const MEMORY: [&str; 4] = ["--listen", "127.0.0.1:0", "--store", "sqlite::memory:"];

/// A file of identities, each with a name, a role and queues. The token of each is its name and
/// `-token`.
fn identities(all: &[(&str, &str, &str)]) -> String {
    let mut text = String::new();
    for (name, role, queues) in all {
        let token = Digest::of(&format!("{name}-token"));
        writeln!(
            text,
            "[[identity]]\nname = '{name}'\ntokens = ['{token}']\nroles = ['{role}']\n\
             queues = ['{queues}']"
        )
        .unwrap();
    }
    text
}
