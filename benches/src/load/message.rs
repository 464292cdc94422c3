//! The request and its answer: of a fixed size, and proper HTTP/1.1 for whoever looks at the wire.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

pub(super) const REQUEST_LENGTH: usize = 100;
pub(super) const RESPONSE_LENGTH: usize = 200;

/// Larger than any message, so that one read that finds nothing more than a message also shows that there is no more.
pub(super) type Buffer = [u8; 1024];

pub(super) fn request() -> Vec<u8> {
    padded("GET / HTTP/1.1\r\nhost: server\r\nx-pad: ", "\r\n\r\n", REQUEST_LENGTH)
}

pub(super) fn response() -> Vec<u8> {
    padded(
        "HTTP/1.1 200 OK\r\ncontent-length: 150\r\nx-pad: ",
        &format!("\r\n\r\n{}", "b".repeat(150)),
        RESPONSE_LENGTH,
    )
}

fn padded(start: &str, end: &str, length: usize) -> Vec<u8> {
    let padding = "p".repeat(length.saturating_sub(start.len() + end.len()));
    [start, &padding, end].concat().into_bytes()
}

/// Reads one message of `length`. `false`: there is none, the peer has ended.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    length: usize,
    buffer: &mut Buffer,
) -> io::Result<bool> {
    let mut had = 0;
    while had < length {
        let room = buffer.get_mut(had..).unwrap_or_default();
        match stream.read(room).await? {
            0 if had == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => had += more,
        }
    }
    if had == length { Ok(true) } else { Err(io::Error::other("more than one message at a time")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_lengths_and_are_http() {
        assert_eq!(request().len(), REQUEST_LENGTH);
        let response = String::from_utf8(response()).unwrap();
        assert_eq!(response.len(), RESPONSE_LENGTH);
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), 150);
    }

    fn read_from(mut bytes: &[u8]) -> io::Result<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(read(&mut bytes, REQUEST_LENGTH, &mut [0; 1024]))
    }

    #[test]
    fn a_message_is_whole_or_absent() {
        assert!(read_from(&request()).unwrap());
        assert!(!read_from(b"").unwrap());
        assert_eq!(read_from(b"GET").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(read_from(&request().repeat(2)).is_err());
    }
}
