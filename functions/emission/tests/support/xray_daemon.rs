//! X-Ray's daemon: a socket that documents come to (AWS X-Ray Developer Guide:
//! "Sending segment documents to the X-Ray daemon").
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::io::ErrorKind;
use std::net::UdpSocket;

use serde_json::Value;

pub(crate) const TRACE_ID: &str = "1-5759e988-bd862e3fe1be46a994272793";
pub(crate) const PARENT_ID: &str = "53995c3f42cd8ad8";
/// What comes before each document.
const HEADER: &str = r#"{"format": "json", "version": 1}"#;
/// More than any document has.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct XrayDaemon(UdpSocket);

impl XrayDaemon {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// As `AWS_XRAY_DAEMON_ADDRESS` has it.
    pub(crate) fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// The documents that have come since the last look.
    pub(crate) fn told(&self) -> Vec<Value> {
        let mut told = Vec::new();
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            match self.0.recv(&mut datagram) {
                Ok(length) => {
                    let text = std::str::from_utf8(&datagram[..length]).unwrap();
                    let (header, document) = text.split_once('\n').unwrap();
                    assert_eq!(header, HEADER);
                    told.push(serde_json::from_str(document).unwrap());
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return told;
                }
            }
        }
    }
}

/// What Lambda says of an invocation: `sampled` is `1`, or `0`.
pub(crate) fn trace(sampled: &str) -> String {
    format!("Root={TRACE_ID};Parent={PARENT_ID};Sampled={sampled}")
}
