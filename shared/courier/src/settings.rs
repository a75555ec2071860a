//! What the operator chose: which channels there are, and what goes by which.
//!
//! The template makes the settings of its parameters and keeps them in a secret,
//! since they are longer than a version of a function can tell; see `template.yaml`.

use ledger::Channel;
use notify::Channels;
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::email::EMAIL_KINDS;

/// The secret, or for local work the environment variable, of the settings.
pub const SETTINGS: &str = "NOTIFICATION_SETTINGS";
/// The secret of what the requests are signed with.
pub const WEBHOOK_SECRET: &str = "NOTIFICATION_WEBHOOK_SECRET";

/// What a list of kinds says that has all of them.
const ALL: &str = "all";
/// Whom a mail goes to whose address is Stripe's.
const CUSTOMER: &str = "customer";
const ADDRESS_BYTES_MAX: usize = 254;
const NAME_CHARACTERS_MAX: usize = 64;

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    /// No JSON of the form that is wanted.
    #[error("the settings of notifications cannot be read: {0}")]
    Json(String),
    /// No address of a mailbox.
    #[error("email.{member} is {value:?}, which is no mail address")]
    Address {
        /// The setting.
        member: &'static str,
        /// Its value.
        value: String,
    },
    /// No name to stand before an address.
    #[error(
        "email.from_name must have at most {NAME_CHARACTERS_MAX} characters, and none of \" \\ < >"
    )]
    Name,
    /// A kind that there is not, or that has no mail.
    #[error("{channel}.kinds has {kind:?}, which is not one of: {known}")]
    Kind {
        /// The channel.
        channel: Channel,
        /// What is none.
        kind: String,
        /// Those that there are.
        known: String,
    },
    /// Nowhere to send to.
    #[error("webhook.url is {value:?}: {reason}")]
    Url {
        /// The address.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Where outgoing webhooks may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By https, to addresses of the public Internet alone: whoever can set the
    /// address, or the name server behind it, reaches nothing that is private.
    Public,
    /// Anywhere, and by http too: of a system on one machine, whose receiver is
    /// there as well.
    Anywhere,
}

/// What goes by which way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Mails; none where there are to be none.
    pub email: Option<EmailSettings>,
    /// Requests; none where there are to be none.
    pub webhook: Option<WebhookSettings>,
}

/// How mails are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailSettings {
    /// The sender's address, of an identity that SES has verified.
    pub from: String,
    /// The name before it.
    pub from_name: String,
    /// Where answers go, if not to the sender.
    pub reply_to: Option<String>,
    /// Whom mails go to.
    pub recipient: Recipient,
    /// What is told by mail.
    pub kinds: Kinds,
    /// SES's configuration set, by which bounces and complaints are told.
    pub configuration_set: Option<String>,
}

/// Whom mails go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The customer that the news is about, at the address that Stripe has.
    Customer,
    /// An address of the operator's.
    Operator(String),
}

/// Where requests are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// The address.
    pub url: Url,
    /// What is told by it.
    pub kinds: Kinds,
}

/// Some kinds of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds(Vec<String>);

impl Kinds {
    /// Those of `list`, separated by commas, each of which `known` has; or all of `known`.
    fn parse(channel: Channel, list: &str, known: &[&str]) -> Result<Self, InvalidSettings> {
        if list.trim() == ALL {
            return Ok(Self(known.iter().map(|&kind| kind.to_owned()).collect()));
        }
        let words = list.split(',').map(str::trim);
        let words = words.filter(|word| !word.is_empty());
        let kind = |word: &str| {
            if known.contains(&word) {
                return Ok(word.to_owned());
            }
            Err(InvalidSettings::Kind {
                channel,
                kind: word.to_owned(),
                known: known.join(", "),
            })
        };
        words.map(kind).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `kind` is one of them.
    pub fn contains(&self, kind: &str) -> bool {
        let Self(kinds) = self;
        kinds.iter().any(|it| it == kind)
    }
}

/// The settings as they are stored, each channel's unread. What is left empty is as if
/// it were not there.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Stored {
    email: Option<Value>,
    webhook: Option<Value>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StoredEmail {
    from: String,
    from_name: String,
    reply_to: String,
    to: String,
    kinds: String,
    configuration_set: String,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StoredWebhook {
    url: String,
    kinds: String,
}

impl Default for StoredEmail {
    fn default() -> Self {
        Self {
            from: String::new(),
            from_name: String::new(),
            reply_to: String::new(),
            to: CUSTOMER.to_owned(),
            kinds: ALL.to_owned(),
            configuration_set: String::new(),
        }
    }
}

impl Default for StoredWebhook {
    fn default() -> Self {
        Self {
            url: String::new(),
            kinds: ALL.to_owned(),
        }
    }
}

impl Settings {
    /// The settings of `channels` in `json`; of what is no channel nothing is asked.
    ///
    /// # Errors
    /// An [`InvalidSettings`] that names the setting.
    pub fn parse(channels: &Channels, json: &str, reach: Reach) -> Result<Self, InvalidSettings> {
        let (settings, invalid) = Self::parse_each(channels, json, reach)?;
        match invalid.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(settings),
        }
    }

    /// As [`parse`](Self::parse), but for a channel whose settings cannot be used: it
    /// is left out, and why is told beside it, so that the other one can go on.
    ///
    /// # Errors
    /// [`InvalidSettings::Json`] where nothing can be read at all.
    pub fn parse_each(
        channels: &Channels,
        json: &str,
        reach: Reach,
    ) -> Result<(Self, Vec<(Channel, InvalidSettings)>), InvalidSettings> {
        let stored: Stored =
            serde_json::from_str(json).map_err(|error| InvalidSettings::Json(error.to_string()))?;
        let (mut settings, mut invalid) = (Self::default(), Vec::new());
        for channel in channels.as_slice().iter().copied() {
            let read = match channel {
                Channel::Email => member(channel, stored.email.as_ref())
                    .and_then(EmailSettings::of)
                    .map(|email| settings.email = Some(email)),
                Channel::Webhook => member(channel, stored.webhook.as_ref())
                    .and_then(|stored| WebhookSettings::of(&stored, reach))
                    .map(|webhook| settings.webhook = Some(webhook)),
            };
            invalid.extend(read.err().map(|error| (channel, error)));
        }
        Ok((settings, invalid))
    }
}

/// What is stored of `channel`; the defaults, where nothing is.
fn member<T>(channel: Channel, stored: Option<&Value>) -> Result<T, InvalidSettings>
where
    T: Default + DeserializeOwned,
{
    let Some(stored) = stored else {
        return Ok(T::default());
    };
    T::deserialize(stored).map_err(|error| InvalidSettings::Json(format!("{channel}: {error}")))
}

impl EmailSettings {
    fn of(stored: StoredEmail) -> Result<Self, InvalidSettings> {
        if !is_name(&stored.from_name) {
            return Err(InvalidSettings::Name);
        }
        let recipient = match stored.to.as_str() {
            CUSTOMER => Recipient::Customer,
            _ => Recipient::Operator(address("to", stored.to)?),
        };
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let reply_to = given(stored.reply_to).map(|reply_to| address("reply_to", reply_to));
        Ok(Self {
            from: address("from", stored.from)?,
            from_name: stored.from_name,
            reply_to: reply_to.transpose()?,
            recipient,
            kinds: Kinds::parse(Channel::Email, &stored.kinds, &EMAIL_KINDS)?,
            configuration_set: given(stored.configuration_set),
        })
    }
}

impl WebhookSettings {
    fn of(stored: &StoredWebhook, reach: Reach) -> Result<Self, InvalidSettings> {
        let refused = |reason| InvalidSettings::Url {
            value: stored.url.clone(),
            reason,
        };
        let url = Url::parse(&stored.url).map_err(|_| refused("it is no address"))?;
        if !matches!(
            (url.scheme(), reach),
            ("https", _) | ("http", Reach::Anywhere)
        ) {
            return Err(refused("it must begin with https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it must hold no user and no password"));
        }
        // A number is looked up nowhere, so nobody would check it.
        if reach == Reach::Public && url.domain().is_none() {
            return Err(refused("its host must be a name, no number"));
        }
        Ok(Self {
            url,
            kinds: Kinds::parse(Channel::Webhook, &stored.kinds, &notify::KINDS)?,
        })
    }
}

fn address(member: &'static str, value: String) -> Result<String, InvalidSettings> {
    if is_address(&value) {
        Ok(value)
    } else {
        Err(InvalidSettings::Address { member, value })
    }
}

/// Whether `text` is an address such as `billing@example.com`: of those that RFC 5321
/// allows, the ones that nothing has to be quoted in.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let is_local = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~-.".contains(c);
    let is_label = |label: &str| {
        let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(is_inner)
    };
    text.len() <= ADDRESS_BYTES_MAX
        && !local.is_empty()
        && local.chars().all(is_local)
        && domain.contains('.')
        && domain.split('.').all(is_label)
}

/// Whether `text` may stand before an address, between quotes.
fn is_name(text: &str) -> bool {
    let is_fine = |c: char| !c.is_control() && !"\"\\<>".contains(c);
    text.chars().count() <= NAME_CHARACTERS_MAX && text.chars().all(is_fine)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
