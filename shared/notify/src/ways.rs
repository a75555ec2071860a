//! All ways by which news goes out, as a function finds them in its environment.

use web::Settings;

use crate::{Channels, Notifier, UnknownChannel};

/// The environment variable of the topic's ARN.
const TOPIC_ARN: &str = "NOTIFICATION_TOPIC_ARN";

/// The topic, and the channels beside it.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// The topic; the log, where there is none.
    pub notifier: Notifier,
    /// What else there is.
    pub channels: Channels,
}

impl Ways {
    /// As the environment says.
    ///
    /// # Errors
    /// [`UnknownChannel`].
    pub fn from_settings(settings: &Settings) -> Result<Self, UnknownChannel> {
        let topic = settings.variable(TOPIC_ARN).map(|topic_arn| {
            let config = aws_sdk_sns::config::Builder::from(settings.aws());
            let config = config.interceptor(settings.aws_calls()).build();
            Notifier::topic(aws_sdk_sns::Client::from_conf(config), topic_arn)
        });
        Ok(Self {
            notifier: topic.unwrap_or_default(),
            channels: Channels::from_variables(|name| settings.variable(name))?,
        })
    }
}
