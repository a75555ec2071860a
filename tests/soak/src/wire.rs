//! HTTP/1.1 as bytes: just enough to see where a message ends and what it is
//! called, so that a proxy can break it at any byte.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

const HEAD_END: &[u8] = b"\r\n\r\n";

/// Far above any head or body that is sent here.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A request or an answer, whole.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    head_length: usize,
}

impl Message {
    /// The first line and the headers.
    fn head(&self) -> &str {
        let head = self.bytes.get(..self.head_length).unwrap_or_default();
        std::str::from_utf8(head).unwrap_or_default()
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(self.head(), name)
    }

    /// What follows the head.
    pub(crate) fn body(&self) -> &[u8] {
        self.bytes.get(self.head_length..).unwrap_or_default()
    }

    /// Method and path of a request, without its query.
    pub(crate) fn target(&self) -> (&str, &str) {
        let mut words = self.head().split(' ');
        let method = words.next().unwrap_or_default();
        let path = words.next().unwrap_or_default();
        (method, path.split('?').next().unwrap_or_default())
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.split("\r\n").skip(1);
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    headers
        .find(|(header, _)| header.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// Reads the next message; none where the other side closed before it began.
/// What was read beyond it stays in `buffer`.
pub(crate) async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Message>> {
    let head_length = loop {
        if let Some(at) = find(buffer, HEAD_END) {
            break at + HEAD_END.len();
        }
        if read_more(stream, buffer).await? == 0 {
            return if buffer.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
    };
    let body_length = body_length(buffer.get(..head_length).unwrap_or_default())?;
    let length = head_length + body_length;
    while buffer.len() < length {
        if read_more(stream, buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let rest = buffer.split_off(length);
    let bytes = std::mem::replace(buffer, rest);
    Ok(Some(Message { bytes, head_length }))
}

async fn read_more(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<usize> {
    if buffer.len() > MESSAGE_BYTES_MAX {
        return Err(io::Error::other("a message is too large"));
    }
    stream.read_buf(buffer).await
}

fn body_length(head: &[u8]) -> io::Result<usize> {
    let head = std::str::from_utf8(head).map_err(io::Error::other)?;
    if header(head, "transfer-encoding").is_some() {
        return Err(io::Error::other("a message without a length"));
    }
    match header(head, "content-length") {
        Some(length) => length.parse().map_err(io::Error::other),
        None => Ok(0),
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn messages(bytes: &[u8]) -> Vec<(String, String)> {
        let (mut stream, mut buffer) = (bytes, Vec::new());
        let mut messages = Vec::new();
        while let Some(message) = read_message(&mut stream, &mut buffer).await.unwrap() {
            let (method, path) = message.target();
            let body = String::from_utf8(message.body().to_vec()).unwrap();
            messages.push((format!("{method} {path}"), body));
        }
        messages
    }

    #[tokio::test]
    async fn messages_end_where_their_length_says() {
        let bytes = b"POST /a?b=c HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzGET / HTTP/1.1\r\n\r\n";
        let expected = [("POST /a", "xyz"), ("GET /", "")];
        let expected = expected.map(|(target, body)| (target.to_owned(), body.to_owned()));
        assert_eq!(messages(bytes).await, expected);
    }

    #[tokio::test]
    async fn a_message_that_is_cut_off_is_none() {
        for bytes in [
            &b"POST / HTTP/1.1\r\nContent-Le"[..],
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nxy",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            let (mut stream, mut buffer) = (bytes, Vec::new());
            assert!(read_message(&mut stream, &mut buffer).await.is_err());
        }
    }
}
