//! X-Ray's daemon, which Lambda runs beside a function.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, OnceLock};

use super::subsegment::Subsegment;

/// Where it listens: `169.254.100.1:2000` (AWS Lambda Developer Guide: "Defined runtime
/// environment variables").
const ADDRESS: &str = "AWS_XRAY_DAEMON_ADDRESS";
/// What comes before each document, on a line of its own (AWS X-Ray Developer Guide:
/// "Sending segment documents to the X-Ray daemon").
const HEADER: &str = r#"{"format": "json", "version": 1}"#;

/// The daemon, by its address. Clones share a socket.
#[derive(Clone, Debug)]
pub struct Daemon(Arc<Way>);

#[derive(Debug)]
struct Way {
    address: SocketAddr,
    /// Opened by the first document; none where it could not be.
    socket: OnceLock<Option<UdpSocket>>,
}

impl Daemon {
    /// The one that `AWS_XRAY_DAEMON_ADDRESS` names; none where the variable is not set,
    /// or does not hold an address.
    pub fn from_environment() -> Option<Self> {
        let text = std::env::var(ADDRESS)
            .ok()
            .filter(|text| !text.is_empty())?;
        let address = parse_address(&text);
        if address.is_none() {
            tracing::warn!(
                text,
                "AWS_XRAY_DAEMON_ADDRESS is no address: nothing is traced"
            );
        }
        address.map(Self::at)
    }

    /// The one at `address`.
    pub fn at(address: SocketAddr) -> Self {
        let socket = OnceLock::new();
        Self(Arc::new(Way { address, socket }))
    }

    /// Sends a document, unless that would take time. Whether it arrives is not known.
    pub(super) fn send(&self, subsegment: &Subsegment<'_>) {
        let Self(way) = self;
        let socket = way.socket.get_or_init(|| open(way.address));
        let (Some(socket), Ok(document)) = (socket, serde_json::to_string(subsegment)) else {
            return;
        };
        let datagram = format!("{HEADER}\n{document}");
        if let Err(error) = socket.send_to(datagram.as_bytes(), way.address)
            && error.kind() != ErrorKind::WouldBlock
        {
            tracing::debug!(%error, "a subsegment was not sent");
        }
    }
}

/// A socket that waits for nothing.
fn open(daemon: SocketAddr) -> Option<UdpSocket> {
    let any: SocketAddr = match daemon {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    socket
        .inspect_err(|error| tracing::warn!(%error, "nothing is traced"))
        .ok()
}

/// `ADDRESS:PORT`, or `tcp:ADDRESS:PORT udp:ADDRESS:PORT` in any order. A name is none:
/// looking it up would take time.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let mut parts = text.split_whitespace();
    let udp = parts.clone().find_map(|part| part.strip_prefix("udp:"));
    udp.or_else(|| parts.next())?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_both_forms_and_a_name_is_none() {
        let lambda: SocketAddr = "169.254.100.1:2000".parse().unwrap();
        for text in [
            "169.254.100.1:2000",
            "tcp:127.0.0.1:2001 udp:169.254.100.1:2000",
            "udp:169.254.100.1:2000 tcp:127.0.0.1:2001",
        ] {
            assert_eq!(parse_address(text), Some(lambda), "{text}");
        }
        assert!(parse_address("[::1]:2000").is_some());
        for text in [
            "",
            " ",
            "localhost:2000",
            "169.254.100.1",
            "tcp:127.0.0.1:1",
        ] {
            assert_eq!(parse_address(text), None, "{text}");
        }
    }
}
