//! Dashboard links: whoever has one sees one customer's dashboard, for a day.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use billing::{CustomerId, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use web::RotatedSecret;

/// How long a link works.
const LIFETIME_MS: i64 = 24 * 3_600_000;
/// A shorter secret could be guessed from one link.
const SECRET_BYTES_MIN: usize = 16;

/// What links are signed with, and where they lead.
#[derive(Clone)]
pub struct DashboardLinks {
    keys: Arc<RwLock<Keys>>,
    secret: RotatedSecret,
    public_url: Option<String>,
}

/// Links are signed with the current key. Those of the former one are still out.
#[derive(Clone)]
struct Keys {
    current: Hmac<Sha256>,
    former: Option<Hmac<Sha256>>,
}

/// Why no dashboard links can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLinkSettings {
    /// The secret could be guessed.
    #[error("DASHBOARD_LINK_SECRET must have at least {SECRET_BYTES_MIN} bytes")]
    Secret,
    /// Not an address to put a path behind.
    #[error("PUBLIC_URL must be an http or https address without a query")]
    PublicUrl,
}

/// A link, and until when it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DashboardLink {
    pub(crate) url: String,
    pub(crate) expires_at: Timestamp,
}

/// Why a link opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Never issued like this.
    Invalid,
    /// Its time is over.
    Expired,
}

impl DashboardLinks {
    /// Links signed with `secret`. They lead to `public_url`, else to the host
    /// that each request for a link was sent to.
    ///
    /// # Errors
    /// [`InvalidLinkSettings`].
    pub fn new(
        secret: &SecretString,
        public_url: Option<String>,
    ) -> Result<Self, InvalidLinkSettings> {
        Self::rotated(RotatedSecret::new(secret.clone(), None), None, public_url)
    }

    /// The same, signed with a secret that may be rotated: `former` is the one before it,
    /// whose links work until they expire.
    ///
    /// # Errors
    /// [`InvalidLinkSettings`].
    pub fn rotated(
        secret: RotatedSecret,
        former: Option<&SecretString>,
        public_url: Option<String>,
    ) -> Result<Self, InvalidLinkSettings> {
        let keys = Keys {
            current: key(&secret.current())?,
            former: former.and_then(|former| key(former).ok()),
        };
        let public_url = public_url.map(|url| url.trim_end_matches('/').to_owned());
        let is_base = |url: &String| {
            (url.starts_with("http://") || url.starts_with("https://")) && !url.contains(['?', '#'])
        };
        if public_url.as_ref().is_some_and(|url| !is_base(url)) {
            return Err(InvalidLinkSettings::PublicUrl);
        }
        Ok(Self {
            keys: Arc::new(RwLock::new(keys)),
            secret,
            public_url,
        })
    }

    /// A link to the dashboard of `customer_id`, made at `now` for a request
    /// with `headers`; none where they do not say where they were sent to.
    pub(crate) fn create(
        &self,
        customer_id: &CustomerId,
        now: Timestamp,
        headers: &HeaderMap,
    ) -> Option<DashboardLink> {
        let base = match &self.public_url {
            Some(url) => url.clone(),
            None => requested_base(headers)?,
        };
        let expires_unix_s = now.plus_ms(LIFETIME_MS).unix_s();
        let signature = mac(self.keys().current, customer_id.as_str(), expires_unix_s);
        let signature = signature.finalize().into_bytes();
        let signature = hex::encode(signature);
        Some(DashboardLink {
            url: format!(
                "{base}/dashboard?customer={customer_id}&expires={expires_unix_s}&signature={signature}"
            ),
            expires_at: Timestamp::from_unix_s(expires_unix_s),
        })
    }

    /// Whose dashboard a link opens at `now`. Where it is signed with a secret that is not
    /// known here, another function may have the next one already: it is looked up, at
    /// most twice a minute, whoever asks.
    pub(crate) async fn open(
        &self,
        customer: &str,
        expires: &str,
        signature: &str,
        now: Timestamp,
    ) -> Result<CustomerId, Refusal> {
        let known = self.secret.current();
        let checked = self.check(customer, expires, signature, now);
        if checked != Err(Refusal::Invalid) || !self.secret.renew(&known).await {
            return checked;
        }
        self.take_over().await;
        self.check(customer, expires, signature, now)
    }

    /// Signs with the secret as it is now; the former one is the version before it.
    async fn take_over(&self) {
        let Ok(current) = key(&self.secret.current()) else {
            tracing::error!("the new secret of dashboard links is too short: the old one stays");
            return;
        };
        let former = match self.secret.reader() {
            Some(reader) => reader.previous().await.unwrap_or_default(),
            None => None,
        };
        let former = former.and_then(|former| key(&former).ok());
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        *keys = Keys { current, former };
    }

    fn keys(&self) -> Keys {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }

    /// Whose dashboard a link opens at `now`, by the keys that are known. The signature is compared in
    /// constant time, and before anything else is believed.
    pub(crate) fn check(
        &self,
        customer: &str,
        expires: &str,
        signature: &str,
        now: Timestamp,
    ) -> Result<CustomerId, Refusal> {
        let customer_id = CustomerId::parse(customer).map_err(|_| Refusal::Invalid)?;
        let expires_unix_s: i64 = expires.parse().map_err(|_| Refusal::Invalid)?;
        // A plus sign or a zero before it was never issued.
        if expires_unix_s.to_string() != expires {
            return Err(Refusal::Invalid);
        }
        let signature = hex::decode(signature).map_err(|_| Refusal::Invalid)?;
        let Keys { current, former } = self.keys();
        let is_signed_by = |key| {
            let mac = mac(key, customer_id.as_str(), expires_unix_s);
            mac.verify_slice(&signature).is_ok()
        };
        if !is_signed_by(current) && !former.is_some_and(is_signed_by) {
            return Err(Refusal::Invalid);
        }
        if Timestamp::from_unix_s(expires_unix_s) <= now {
            return Err(Refusal::Expired);
        }
        Ok(customer_id)
    }
}

fn key(secret: &SecretString) -> Result<Hmac<Sha256>, InvalidLinkSettings> {
    let secret = secret.expose_secret().as_bytes();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(InvalidLinkSettings::Secret);
    }
    Hmac::new_from_slice(secret).map_err(|_| InvalidLinkSettings::Secret)
}

/// A customer id has no line break, so no two links share a text.
fn mac(key: Hmac<Sha256>, customer: &str, expires_unix_s: i64) -> Hmac<Sha256> {
    let signed = format!("meterline dashboard link 1\n{customer}\n{expires_unix_s}");
    key.chain_update(signed)
}

impl fmt::Debug for DashboardLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DashboardLinks")
            .field("public_url", &self.public_url)
            .finish_non_exhaustive()
    }
}

/// The scheme and host that a request was sent to, as API Gateway passes them
/// on. They only come back to the caller who sent them.
fn requested_base(headers: &HeaderMap) -> Option<String> {
    let host: Authority = headers.get(HOST)?.to_str().ok()?.parse().ok()?;
    let proto = headers
        .get("x-forwarded-proto")
        .and_then(|proto| proto.to_str().ok());
    let scheme = match proto {
        Some("https") => "https",
        _ => "http",
    };
    // Without what could stand before an @.
    let port = host
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    Some(format!("{scheme}://{}{port}", host.host()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    fn links(secret: &str) -> DashboardLinks {
        let public_url = Some("https://billing.example/".to_owned());
        DashboardLinks::new(&SecretString::from(secret), public_url).unwrap()
    }

    fn parts(link: &DashboardLink) -> [String; 3] {
        let (_, query) = link.url.split_once('?').unwrap();
        let values: Vec<String> = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap().1.to_owned())
            .collect();
        values.try_into().unwrap()
    }

    fn opened(links: &DashboardLinks, parts: [&str; 3], now: Timestamp) -> Result<String, Refusal> {
        let [customer, expires, signature] = parts;
        links
            .check(customer, expires, signature, now)
            .map(|id| id.to_string())
    }

    #[test]
    fn a_link_opens_its_own_customer_until_it_expires() {
        let links = links("a secret of 32 random characters");
        let customer_id = CustomerId::parse("cus_1").unwrap();
        let link = links.create(&customer_id, NOW, &HeaderMap::new()).unwrap();
        assert!(
            link.url
                .starts_with("https://billing.example/dashboard?customer=cus_1&")
        );
        let [customer, expires, signature] = parts(&link);
        let whole = [customer.as_str(), &expires, &signature];
        let last = link.expires_at.plus_ms(-1);
        assert_eq!(opened(&links, whole, last), Ok("cus_1".to_owned()));
        assert_eq!(
            opened(&links, whole, link.expires_at),
            Err(Refusal::Expired)
        );
        let later = (link.expires_at.unix_s() + 1).to_string();
        for altered in [
            ["cus_2", &expires, &signature],
            ["cus_1", &later, &signature],
            ["cus_1", &expires, &signature[2..]],
            ["cus_1", &expires, ""],
            ["cus_1", "soon", &signature],
            ["cus_1\n", &expires, &signature],
        ] {
            assert_eq!(
                opened(&links, altered, NOW),
                Err(Refusal::Invalid),
                "{altered:?}"
            );
        }
        let others = self::links("another secret of 32 characters!");
        assert_eq!(opened(&others, whole, NOW), Err(Refusal::Invalid));
    }

    #[test]
    fn without_an_address_of_its_own_a_link_leads_where_it_was_asked_for() {
        let links = DashboardLinks::new(&SecretString::from("x".repeat(16)), None).unwrap();
        let customer_id = CustomerId::parse("cus_1").unwrap();
        let link = |host: &'static str, proto: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            if let Some(proto) = proto {
                headers.insert("x-forwarded-proto", HeaderValue::from_static(proto));
            }
            let link = links.create(&customer_id, NOW, &headers)?;
            Some(link.url.split_once("/dashboard").unwrap().0.to_owned())
        };
        assert_eq!(
            link("127.0.0.1:8080", None).as_deref(),
            Some("http://127.0.0.1:8080")
        );
        assert_eq!(
            link("a.example", Some("https")).as_deref(),
            Some("https://a.example")
        );
        assert_eq!(
            link("u@a.example", Some("gopher")).as_deref(),
            Some("http://a.example")
        );
        assert_eq!(link("a.example/x?y", None), None);
        assert_eq!(links.create(&customer_id, NOW, &HeaderMap::new()), None);
    }

    #[test]
    fn settings_that_make_no_safe_link_are_refused() {
        let refusal = |secret: &str, url: Option<&str>| {
            DashboardLinks::new(&SecretString::from(secret), url.map(str::to_owned)).unwrap_err()
        };
        assert_eq!(refusal("short", None), InvalidLinkSettings::Secret);
        for url in ["billing.example", "ftp://a", "https://a?b"] {
            assert_eq!(
                refusal(&"x".repeat(64), Some(url)),
                InvalidLinkSettings::PublicUrl
            );
        }
        assert!(!format!("{:?}", links("a secret of 32 random characters")).contains("secret"));
    }
}
