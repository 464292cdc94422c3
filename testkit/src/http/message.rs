//! One HTTP/1.1 message from a stream (RFC 9112): a head, and a body of a length that the head tells.

use std::io::{self, BufRead, Read as _};

/// The first line and the body of a request or a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) start: String,
    pub(super) body: Vec<u8>,
    pub(super) closes: bool,
}

/// More of a head would be a mistake.
const HEAD: u64 = 16 << 10;
/// More of a body would be a mistake.
const BODY: u64 = 16 << 20;

impl Message {
    /// Reads the next message; `None` when the stream ends before one begins.
    ///
    /// # Errors
    ///
    /// What the stream says; `InvalidData` for a message that is too large, or has no `Content-Length` where one is
    /// needed; `UnexpectedEof` for one that is cut off.
    pub(super) fn read(stream: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = stream.take(HEAD);
        let Some(start) = line(&mut head)? else { return Ok(None) };
        let (mut length, mut closes) = (0, false);
        loop {
            let header = line(&mut head)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?,
                "transfer-encoding" => return Err(io::ErrorKind::InvalidData.into()),
                "connection" => closes = value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        if length > BODY {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = Vec::new();
        let read = stream.take(length).read_to_end(&mut body)?;
        if u64::try_from(read).is_ok_and(|read| read == length) {
            Ok(Some(Self { start, body, closes }))
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// A line without its end; `None` at the end of the stream.
fn line(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    match line.strip_suffix('\n') {
        Some(whole) => Ok(Some(whole.trim_end_matches('\r').to_owned())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> Result<Option<Message>, io::ErrorKind> {
        Message::read(&mut bytes).map_err(|error| error.kind())
    }

    #[test]
    fn messages_follow_each_other() {
        let mut stream: &[u8] =
            b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nconnection: close\r\n\r\n";
        let first = Message::read(&mut stream).unwrap().unwrap();
        assert_eq!(first, Message { start: "POST / HTTP/1.1".into(), body: b"hi".to_vec(), closes: false });
        let second = Message::read(&mut stream).unwrap().unwrap();
        assert_eq!(second, Message { start: "GET / HTTP/1.1".into(), body: vec![], closes: true });
        assert_eq!(Message::read(&mut stream).unwrap(), None);
    }

    #[test]
    fn what_is_cut_off_is_no_message() {
        assert_eq!(read(b"GET / HTTP/1.1\r\nHost: x\r\n"), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(read(b"GET / HT"), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(read(b"POST /\r\nContent-Length: 3\r\n\r\nhi"), Err(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn what_has_no_known_length_is_refused() {
        assert_eq!(read(b"POST /\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(io::ErrorKind::InvalidData));
        assert_eq!(read(b"POST /\r\nContent-Length: 99999999999\r\n\r\n"), Err(io::ErrorKind::InvalidData));
        assert_eq!(read(b"POST /\r\nContent-Length: x\r\n\r\n"), Err(io::ErrorKind::InvalidData));
    }

    #[test]
    fn an_endless_head_is_refused() {
        let head = [b"GET / HTTP/1.1\r\n".as_slice(), &b"a: b\r\n".repeat(10_000)].concat();
        assert_eq!(read(&head), Err(io::ErrorKind::UnexpectedEof));
    }
}
