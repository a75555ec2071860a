//! The ports of what runs on this machine.

use std::net::{Ipv4Addr, TcpListener};

use crate::options::Options;
use crate::start_error::StartError;

/// The ports of what runs here.
pub(crate) struct Listeners {
    pub(crate) api: TcpListener,
    pub(crate) dynamodb: Option<TcpListener>,
    pub(crate) stripe: Option<TcpListener>,
}

impl Listeners {
    pub(crate) fn bind(options: &Options) -> Result<Self, StartError> {
        let dynamodb = options.dynamodb_elsewhere.is_none();
        let dynamodb = dynamodb.then(|| listen("DYNAMODB_PORT", options.dynamodb_port));
        let stripe = options.stripe_elsewhere.is_none();
        let stripe = stripe.then(|| listen("STRIPE_PORT", options.stripe_port));
        Ok(Self {
            api: listen("METERLINE_PORT", options.meterline_port)?,
            dynamodb: dynamodb.transpose()?,
            stripe: stripe.transpose()?,
        })
    }
}

fn listen(variable: &'static str, port: u16) -> Result<TcpListener, StartError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|source| StartError::Port {
        variable,
        port,
        source,
    })
}
