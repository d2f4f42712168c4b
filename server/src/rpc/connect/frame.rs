//! Messages with five bytes in front: flags and a length. gRPC and Connect streams share the form.

use bytes::{Buf, BufMut, Bytes, BytesMut};

const HEAD: usize = 5;

/// The message is compressed.
pub(super) const COMPRESSED: u8 = 1;
/// Connect: what ends a stream.
pub(super) const END: u8 = 2;

/// Puts the five bytes in front.
pub(super) fn framed(flags: u8, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + message.len());
    frame.put_u8(flags);
    // Messages are bounded far below this.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// Cuts messages out of what arrives in pieces.
#[derive(Default)]
pub(super) struct Frames {
    buffer: BytesMut,
}

/// A message is longer than it may be; it is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong(pub(super) usize);

impl Frames {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// Nothing is left over.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next message with its flags, once all of it is there.
    pub(super) fn next(&mut self, limit: usize) -> Result<Option<(u8, Bytes)>, TooLong> {
        let Some((flags, length)) = self.head() else { return Ok(None) };
        if length > limit {
            return Err(TooLong(length));
        }
        if self.buffer.len() < HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        Ok(Some((flags, self.buffer.split_to(length).freeze())))
    }

    fn head(&self) -> Option<(u8, usize)> {
        let mut head = self.buffer.get(..HEAD)?;
        let flags = head.get_u8();
        Some((flags, usize::try_from(head.get_u32()).unwrap_or(usize::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_whole_however_they_are_cut() {
        let sent = [framed(0, b"one"), framed(END, b""), framed(COMPRESSED, b"three")].concat();
        for size in 1..=sent.len() {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for piece in sent.chunks(size) {
                frames.push(piece);
                while let Some((flags, message)) = frames.next(5).unwrap() {
                    seen.push((flags, message.to_vec()));
                }
            }
            let expected = [(0, b"one".to_vec()), (END, vec![]), (COMPRESSED, b"three".to_vec())];
            assert_eq!(seen, expected);
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_the_message_comes() {
        let mut frames = Frames::default();
        frames.push(&[0, 255, 255, 255, 255]);
        assert_eq!(frames.next(1 << 20), Err(TooLong(u32::MAX as usize)));
    }
}
