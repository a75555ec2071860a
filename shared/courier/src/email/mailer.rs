//! Amazon SES (Amazon SES API v2 Reference: SendEmail).

use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::types::{
    Body, Content, Destination, EmailContent, Message, MessageHeader, MessageTag,
};
use ledger::StoredNotification;

use super::header::mailbox;
use super::mail::{Mail, MailError, render, render_for_operator};
use crate::settings::{EmailSettings, Recipient};

/// By which whoever gets a mail twice knows that it is the same.
const ID_HEADER: &str = "X-Notification-Id";
/// What keeps answering machines from answering (RFC 3834, 5).
const AUTO_SUBMITTED: (&str, &str) = ("Auto-Submitted", "auto-generated");
/// By which SES's events tell what they are about.
const KIND_TAG: &str = "kind";
const CHARSET: &str = "UTF-8";

/// A mail did not get out, or nobody knows whether it did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// It cannot be written.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// It cannot be put into a request.
    #[error("it cannot be put into a request")]
    Build(#[from] BuildError),
    /// SES did not take it. Its message may hold an address, and is left out.
    #[error("SES did not take it: {0}")]
    Ses(String),
}

impl SendError {
    /// A word for it, without any address.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Mail(MailError::NoTemplate) => "no_template",
            Self::Mail(_) | Self::Build(_) => "no_mail",
            Self::Ses(code) => code,
        }
    }
}

impl From<SdkError<SendEmailError>> for SendError {
    fn from(error: SdkError<SendEmailError>) -> Self {
        let unanswered = match &error {
            SdkError::TimeoutError(_) => "timeout",
            SdkError::DispatchFailure(_) => "unreachable",
            _ => "unreadable_answer",
        };
        Self::Ses(error.code().unwrap_or(unanswered).to_owned())
    }
}

/// Sends mails through SES.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mailer<'a> {
    pub(crate) client: &'a Client,
    pub(crate) settings: &'a EmailSettings,
}

impl Mailer<'_> {
    /// Sends `notification` to `address`. SES knows no idempotency: sent again, it is
    /// a second mail, with the same id in its header.
    pub(crate) async fn send(
        &self,
        notification: &StoredNotification,
        address: &str,
    ) -> Result<(), SendError> {
        let EmailSettings {
            from, from_name, ..
        } = self.settings;
        let sender = if from_name.is_empty() {
            from
        } else {
            from_name
        };
        let write = match self.settings.recipient {
            Recipient::Customer => render,
            Recipient::Operator(_) => render_for_operator,
        };
        let mail = write(&notification.kind, &notification.message, sender)?;
        let kind = MessageTag::builder()
            .name(KIND_TAG)
            .value(&notification.kind);
        self.client
            .send_email()
            .from_email_address(mailbox(from_name, from))
            .destination(Destination::builder().to_addresses(address).build())
            .set_reply_to_addresses(self.settings.reply_to.clone().map(|address| vec![address]))
            .set_configuration_set_name(self.settings.configuration_set.clone())
            .content(content(&mail, &notification.id)?)
            .email_tags(kind.build()?)
            .send()
            .await?;
        Ok(())
    }
}

fn content(mail: &Mail, id: &str) -> Result<EmailContent, BuildError> {
    let text = |data: &str| Content::builder().data(data).charset(CHARSET).build();
    let header = |name, value| MessageHeader::builder().name(name).value(value).build();
    let body = Body::builder()
        .text(text(&mail.text)?)
        .html(text(&mail.html)?)
        .build();
    let message = Message::builder()
        .subject(text(&mail.subject)?)
        .body(body)
        .headers(header(ID_HEADER, id)?)
        .headers(header(AUTO_SUBMITTED.0, AUTO_SUBMITTED.1)?)
        .build();
    Ok(EmailContent::builder().simple(message).build())
}
