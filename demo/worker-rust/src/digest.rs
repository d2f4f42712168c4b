//! The work itself: what a file's content comes to.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lessor_proto::v1::{Payload, payload::Body};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const CHUNK: usize = 1 << 20;

/// Why there is no digest.
pub(crate) enum Interrupted {
    /// The job belongs to somebody else by now.
    LeaseLost,
    /// What the broker shall be told.
    Failed { code: &'static str, message: String },
}

impl From<std::io::Error> for Interrupted {
    fn from(error: std::io::Error) -> Self {
        Self::Failed { code: "FILE_UNREADABLE", message: error.to_string() }
    }
}

/// SHA-256, size in bytes and number of newlines of the file that the task names, of any size.
pub(crate) fn digest(task: Option<Payload>, lost: &AtomicBool) -> Result<Value, Interrupted> {
    let path =
        path_of(task).map_err(|message| Interrupted::Failed { code: "BAD_TASK", message })?;
    let mut file = File::open(path)?;
    let (mut sha, mut size, mut lines) = (Sha256::new(), 0, 0);
    let mut chunk = vec![0; CHUNK];
    loop {
        if lost.load(Ordering::Relaxed) {
            return Err(Interrupted::LeaseLost);
        }
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        sha.update(&chunk[..read]);
        size += read;
        lines += chunk[..read].iter().map(|&byte| usize::from(byte == b'\n')).sum::<usize>();
    }
    Ok(json!({ "sha256": format!("{:x}", sha.finalize()), "size": size, "lines": lines }))
}

/// The path as the file system knows it: base64, as names need not be text.
fn path_of(task: Option<Payload>) -> Result<PathBuf, String> {
    let Some(Body::Data(data)) = task.and_then(|task| task.body) else {
        return Err("the payload is not bytes".to_owned());
    };
    let task: Value = serde_json::from_slice(&data).map_err(|error| error.to_string())?;
    let encoded = task["path_base64"].as_str().ok_or("the payload has no path_base64")?;
    let bytes = BASE64_STANDARD.decode(encoded).map_err(|error| error.to_string())?;
    Ok(std::ffi::OsString::from_vec(bytes).into())
}
