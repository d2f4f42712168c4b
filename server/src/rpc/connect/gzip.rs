//! Compression of messages: none, or gzip.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use tonic::Status;

use crate::rpc::DECODE_LIMIT;
use crate::rpc::convert::field::Violations;

/// Below this a message does not become smaller worth mentioning.
const WORTHWHILE: usize = 1024;

/// What a header may ask for.
pub(super) const KNOWN: &str = "gzip";

/// Whether messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// How requests come, by their header.
    pub(super) fn of_request(header: Option<&str>) -> Result<Self, Status> {
        match header {
            None | Some("" | "identity") => Ok(Self::Identity),
            Some(KNOWN) => Ok(Self::Gzip),
            Some(other) => {
                let why = format!("compression {other:?} is not known; known is {KNOWN}");
                Err(Status::unimplemented(why))
            }
        }
    }

    /// How replies go, by what the caller accepts.
    pub(super) fn of_reply(header: Option<&str>) -> Self {
        let mut accepted = header.unwrap_or_default().split(',');
        let takes_gzip = accepted.any(|one| {
            let (name, weight) = one.split_once(';').unwrap_or((one, ""));
            name.trim() == KNOWN && weight.trim().replace(' ', "") != "q=0"
        });
        if takes_gzip { Self::Gzip } else { Self::Identity }
    }

    /// Compresses a message if it is worthwhile.
    pub(super) fn shrink(self, message: Bytes) -> (bool, Bytes) {
        if self == Self::Identity || message.len() < WORTHWHILE {
            return (false, message);
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        match encoder.write_all(&message).and_then(|()| encoder.finish()) {
            Ok(small) => (true, small.into()),
            // A vector takes all that is written.
            Err(_) => (false, message),
        }
    }
}

/// Undoes gzip, within the limit of a request.
pub(super) fn expand(message: &[u8]) -> Result<Bytes, Status> {
    let mut whole = Vec::new();
    let most = u64::try_from(DECODE_LIMIT).unwrap_or(u64::MAX) + 1;
    if MultiGzDecoder::new(message).take(most).read_to_end(&mut whole).is_err() {
        return Err(Violations::from("is not valid gzip").into());
    }
    if whole.len() > DECODE_LIMIT {
        return Err(Violations::too_large(DECODE_LIMIT, whole.len()).into());
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn what_was_compressed_expands_and_a_bomb_does_not() {
        let text = Bytes::from(vec![b'x'; 5000]);
        let (is_small, small) = Encoding::Gzip.shrink(text.clone());
        assert!(is_small && small.len() < 500);
        assert_eq!(expand(&small).unwrap(), text);
        let (_, bomb) = Encoding::Gzip.shrink(vec![0; 100 << 20].into());
        assert_eq!(expand(&bomb).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(expand(&small[..20]).unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn a_caller_says_what_it_takes() {
        for (header, encoding) in [
            (None, Encoding::Identity),
            (Some("br, gzip"), Encoding::Gzip),
            (Some("gzip; q=0"), Encoding::Identity),
            (Some("gzip;q=0.5"), Encoding::Gzip),
            (Some("gzipped"), Encoding::Identity),
        ] {
            assert_eq!(Encoding::of_reply(header), encoding, "{header:?}");
        }
    }
}
