//! The ways by which notifications go out beside the topic.

use std::fmt;
use std::str::FromStr;

use ledger::Channel;

/// The environment variable of the channels: `none`, or `email` and `webhook` with a
/// comma between them.
pub const CHANNELS: &str = "NOTIFICATION_CHANNELS";

/// No channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{CHANNELS}: {0:?} is no channel: it is email, webhook, both with a comma, or none")]
pub struct UnknownChannel(String);

/// The channels that there are beside the topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels(Vec<Channel>);

impl Channels {
    /// As the environment says, which `variable` looks up: by default none.
    ///
    /// # Errors
    /// [`UnknownChannel`].
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, UnknownChannel> {
        variable(CHANNELS).map_or_else(|| Ok(Self::default()), |list| list.parse())
    }

    /// Each of them.
    pub fn as_slice(&self) -> &[Channel] {
        &self.0
    }

    /// Whether `channel` is one of them.
    pub fn contains(&self, channel: Channel) -> bool {
        self.0.contains(&channel)
    }
}

impl FromStr for Channels {
    type Err = UnknownChannel;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        if list.trim() == "none" {
            return Ok(Self::default());
        }
        let mut channels = Vec::new();
        for word in list.split(',').map(str::trim) {
            let channel = match word {
                "email" => Channel::Email,
                "webhook" => Channel::Webhook,
                other => return Err(UnknownChannel(other.to_owned())),
            };
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
        Ok(Self(channels))
    }
}

impl fmt::Display for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let words: Vec<&str> = self.0.iter().map(|channel| channel.as_str()).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_named_by_a_list() {
        let channels = |list: &str| list.parse::<Channels>();
        assert_eq!(channels("none"), Ok(Channels::default()));
        let both = channels("email,webhook").unwrap();
        assert_eq!(both.as_slice(), [Channel::Email, Channel::Webhook]);
        assert_eq!(both.to_string(), "email,webhook");
        assert_eq!(channels("webhook").unwrap().as_slice(), [Channel::Webhook]);
        for list in ["", "sms", "email,,webhook", "email;webhook"] {
            assert!(channels(list).is_err(), "{list}");
        }
        assert_eq!(Channels::from_variables(|_| None), Ok(Channels::default()));
    }
}
