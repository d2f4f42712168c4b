//! HTTP/2 by hand: what no library sends.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest payload that a peer must take.
pub(crate) const MOST_PAYLOAD: usize = 16_384;

const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Why a connection is ended whose peer does too much.
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A connection.
pub(crate) struct Raw {
    stream: TcpStream,
    next: u32,
}

/// What came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

impl Raw {
    /// Opens a connection that has said hello, and nothing else.
    pub(crate) async fn to(address: SocketAddr) -> Self {
        let mut raw = Self { stream: TcpStream::connect(address).await.unwrap(), next: 1 };
        raw.stream.set_nodelay(true).unwrap();
        raw.write(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        raw
    }

    /// Waits until the broker takes as much as it lets anybody send.
    pub(crate) async fn has_room(&mut self) {
        let frame = self.next().await.expect("the connection lives");
        assert_eq!(frame.kind, WINDOW_UPDATE);
    }

    /// Writes bytes; what a broker that hung up does not take is lost.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.ok();
    }

    /// Begins a call, whose messages are to follow; its stream.
    pub(crate) async fn call(&mut self, path: &str) -> u32 {
        let (stream, head) = self.head(path);
        self.write(&frame(HEADERS, END_HEADERS, stream, &head)).await;
        stream
    }

    /// The next stream, and the head of a gRPC call.
    pub(crate) fn head(&mut self, path: &str) -> (u32, Vec<u8>) {
        let stream = self.next;
        self.next += 2;
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        (stream, fields.iter().flat_map(|(name, value)| literal(name, value)).collect())
    }

    /// Sends a part of a message.
    pub(crate) async fn data(&mut self, stream: u32, bytes: &[u8]) {
        for part in bytes.chunks(MOST_PAYLOAD) {
            self.write(&frame(DATA, 0, stream, part)).await;
        }
    }

    /// The next frame, but for the settings; `None` when the connection is closed.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            match kind {
                SETTINGS if flags & ACK == 0 => self.write(&frame(SETTINGS, ACK, 0, &[])).await,
                SETTINGS => {}
                _ => return Some(Frame { kind, payload }),
            }
        }
    }

    /// Waits until the broker closes the connection; the code of its goodbye, if it said one.
    pub(crate) async fn closed(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(Frame { kind, payload }) = self.next().await {
            if kind == GOAWAY {
                code = payload.get(4..8).map(|it| u32::from_be_bytes(it.try_into().unwrap()));
            }
        }
        code
    }
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field in HPACK, that is not to be remembered.
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0], &text(name)[..], &text(value)].concat()
}

/// A header field in HPACK, that is to be remembered as the newest.
pub(crate) fn remembered(name: &str, value: &str) -> Vec<u8> {
    [&[0x40], &text(name)[..], &text(value)].concat()
}

/// A string in HPACK, as it is: its length stands in seven bits, or behind them.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match text.len() {
        short @ 0..127 => bytes.push(u8::try_from(short).unwrap()),
        long => {
            bytes.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
    }
    bytes.extend(text.as_bytes());
    bytes
}

/// The beginning of a gRPC message: its length.
pub(crate) fn prefix(length: u32) -> Vec<u8> {
    [&[0], &length.to_be_bytes()[..]].concat()
}
