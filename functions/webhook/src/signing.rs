//! The secrets that webhooks are signed with, which Stripe and the operator roll.

use secrecy::{ExposeSecret, SecretString};
use stripe::webhook_signature::{SignatureError, TOLERANCE_S, verify};
use web::RotatedSecret;

/// No signing secret is given: every signature would be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("STRIPE_WEBHOOK_SECRET must hold one or more secrets (whsec_…), separated by commas")]
pub struct NoSigningSecret;

/// The endpoints' signing secrets, from a comma-separated list: one for each
/// endpoint, and two of one while it is rolled.
///
/// # Errors
/// [`NoSigningSecret`] for a list of none.
pub fn signing_secrets(list: &SecretString) -> Result<Vec<SecretString>, NoSigningSecret> {
    let secrets: Vec<SecretString> = list
        .expose_secret()
        .split(',')
        .map(str::trim)
        .filter(|secret| !secret.is_empty())
        .map(SecretString::from)
        .collect();
    if secrets.is_empty() {
        Err(NoSigningSecret)
    } else {
        Ok(secrets)
    }
}

/// What is believed to be signed by Stripe.
#[derive(Clone, Debug)]
pub struct SigningSecrets(Source);

#[derive(Clone, Debug)]
enum Source {
    Fixed(Vec<SecretString>),
    Rotated(RotatedSecret),
}

impl SigningSecrets {
    /// The list that `secret` holds, looked up again when nothing of it fits.
    ///
    /// # Errors
    /// [`NoSigningSecret`] for a list of none.
    pub fn rotated(secret: RotatedSecret) -> Result<Self, NoSigningSecret> {
        signing_secrets(&secret.current())?;
        Ok(Self(Source::Rotated(secret)))
    }

    /// Whether `header` is Stripe's signature of `body`. What a stranger sends costs a read
    /// of the secret at most twice a minute, and nothing else is done for it.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub(crate) async fn verify(
        &self,
        header: &str,
        body: &[u8],
        now_unix_s: i64,
    ) -> Result<(), SignatureError> {
        let Self(source) = self;
        let check =
            |secrets: &[SecretString]| verify(header, body, secrets, now_unix_s, TOLERANCE_S);
        let secret = match source {
            Source::Fixed(secrets) => return check(secrets),
            Source::Rotated(secret) => secret,
        };
        let known = secret.current();
        let listed = |list: &SecretString| signing_secrets(list).unwrap_or_default();
        match check(&listed(&known)) {
            Err(SignatureError::NoMatch) if secret.renew(&known).await => {
                check(&listed(&secret.current()))
            }
            verified => verified,
        }
    }
}

impl From<Vec<SecretString>> for SigningSecrets {
    fn from(secrets: Vec<SecretString>) -> Self {
        Self(Source::Fixed(secrets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_secrets_are_separated_by_commas() {
        let secrets = signing_secrets(&SecretString::from(" whsec_1,whsec_2 ,,")).unwrap();
        let secrets: Vec<_> = secrets.iter().map(ExposeSecret::expose_secret).collect();
        assert_eq!(secrets, ["whsec_1", "whsec_2"]);
        assert_eq!(
            signing_secrets(&SecretString::from(" , ")).unwrap_err(),
            NoSigningSecret
        );
    }
}
