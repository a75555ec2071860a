//! Dashboard links: whoever has one sees one customer's dashboard, for a day, and can go
//! on to Stripe's billing portal from there if the link was made for that.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use billing::{CustomerId, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use web::RotatedSecret;

/// How long a link works.
const LIFETIME_MS: i64 = 24 * 3_600_000;
/// Marks a link that leads on to the billing portal.
const PORTAL_PARAMETER: &str = "&billing_portal=1";
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

/// What a link opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Whose dashboard.
    pub(crate) customer_id: CustomerId,
    /// Until when.
    pub(crate) expires_at: Timestamp,
    /// Whether it leads on to Stripe's billing portal, where a customer changes how they
    /// pay: more than to look.
    pub(crate) billing_portal: bool,
}

/// The query of a link, as it was issued or as somebody made it up.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LinkQuery {
    customer: String,
    expires: String,
    billing_portal: Option<String>,
    signature: String,
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

    /// A link to the dashboard of `customer_id`, and from there to the billing portal if
    /// it may be, made at `now` for a request with `headers`; none where they do not say
    /// where they were sent to.
    pub(crate) fn create(
        &self,
        customer_id: &CustomerId,
        billing_portal: bool,
        now: Timestamp,
        headers: &HeaderMap,
    ) -> Option<DashboardLink> {
        let base = self.base(headers)?;
        let expires_unix_s = now.plus_ms(LIFETIME_MS).unix_s();
        let opened = Opened {
            customer_id: customer_id.clone(),
            expires_at: Timestamp::from_unix_s(expires_unix_s),
            billing_portal,
        };
        let signature = mac(self.keys().current, &opened).finalize().into_bytes();
        let signature = hex::encode(signature);
        let portal = if billing_portal { PORTAL_PARAMETER } else { "" };
        Some(DashboardLink {
            url: format!(
                "{base}/dashboard?customer={customer_id}&expires={expires_unix_s}{portal}\
                 &signature={signature}"
            ),
            expires_at: opened.expires_at,
        })
    }

    /// Where the dashboard is, seen from whoever made a request with `headers`: a scheme
    /// and a host, perhaps a path. None where they do not say.
    pub(crate) fn base(&self, headers: &HeaderMap) -> Option<String> {
        let known = self.public_url.clone();
        known.or_else(|| requested_base(headers))
    }

    /// Whose dashboard a link opens at `now`. Where it is signed with a secret that is not
    /// known here, another function may have the next one already: it is looked up, at
    /// most twice a minute, whoever asks.
    pub(crate) async fn open(&self, link: &LinkQuery, now: Timestamp) -> Result<Opened, Refusal> {
        let known = self.secret.current();
        let checked = self.check(link, now);
        if checked != Err(Refusal::Invalid) || !self.secret.renew(&known).await {
            return checked;
        }
        self.take_over().await;
        self.check(link, now)
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

    /// What a link opens at `now`, by the keys that are known. The signature is compared in
    /// constant time, and before anything else is believed.
    fn check(&self, link: &LinkQuery, now: Timestamp) -> Result<Opened, Refusal> {
        let customer_id = CustomerId::parse(&link.customer).map_err(|_| Refusal::Invalid)?;
        let expires_unix_s: i64 = link.expires.parse().map_err(|_| Refusal::Invalid)?;
        // A plus sign or a zero before it was never issued.
        if expires_unix_s.to_string() != link.expires {
            return Err(Refusal::Invalid);
        }
        let billing_portal = match link.billing_portal.as_deref() {
            None => false,
            Some("1") => true,
            Some(_) => return Err(Refusal::Invalid),
        };
        let opened = Opened {
            customer_id,
            expires_at: Timestamp::from_unix_s(expires_unix_s),
            billing_portal,
        };
        let signature = hex::decode(&link.signature).map_err(|_| Refusal::Invalid)?;
        let Keys { current, former } = self.keys();
        let is_signed_by = |key| mac(key, &opened).verify_slice(&signature).is_ok();
        if !is_signed_by(current) && !former.is_some_and(is_signed_by) {
            return Err(Refusal::Invalid);
        }
        if opened.expires_at <= now {
            return Err(Refusal::Expired);
        }
        Ok(opened)
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
fn mac(key: Hmac<Sha256>, link: &Opened) -> Hmac<Sha256> {
    let kind = if link.billing_portal {
        "meterline dashboard and billing portal link 1"
    } else {
        "meterline dashboard link 1"
    };
    let (customer_id, expires_unix_s) = (&link.customer_id, link.expires_at.unix_s());
    key.chain_update(format!("{kind}\n{customer_id}\n{expires_unix_s}"))
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
    use axum::extract::Query;
    use axum::http::HeaderValue;

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    fn links(secret: &str) -> DashboardLinks {
        let public_url = Some("https://billing.example/".to_owned());
        DashboardLinks::new(&SecretString::from(secret), public_url).unwrap()
    }

    fn query(link: &DashboardLink) -> LinkQuery {
        let uri: axum::http::Uri = link.url.parse().unwrap();
        Query::try_from_uri(&uri).map(|Query(query)| query).unwrap()
    }

    fn opened(links: &DashboardLinks, link: &LinkQuery, now: Timestamp) -> Result<bool, Refusal> {
        let opened = links.check(link, now)?;
        assert_eq!(opened.customer_id.as_str(), "cus_1");
        Ok(opened.billing_portal)
    }

    /// Ways to change a link.
    const ALTERATIONS: [fn(&mut LinkQuery); 8] = [
        |link| link.customer = "cus_2".to_owned(),
        |link| link.customer.push('\n'),
        |link| link.expires = format!("{}0", link.expires),
        |link| link.expires = "soon".to_owned(),
        |link| link.signature = link.signature.split_off(2),
        |link| link.signature.clear(),
        |link| link.billing_portal = Some("true".to_owned()),
        |link| {
            link.billing_portal = match link.billing_portal {
                Some(_) => None,
                None => Some("1".to_owned()),
            };
        },
    ];

    #[test]
    fn a_link_opens_its_own_customer_until_it_expires() {
        let links = links("a secret of 32 random characters");
        let customer_id = CustomerId::parse("cus_1").unwrap();
        for billing_portal in [false, true] {
            let link = links.create(&customer_id, billing_portal, NOW, &HeaderMap::new());
            let link = link.unwrap();
            let address = "https://billing.example/dashboard?customer=cus_1&";
            assert!(link.url.starts_with(address), "{}", link.url);
            let whole = query(&link);
            let last = link.expires_at.plus_ms(-1);
            assert_eq!(opened(&links, &whole, last), Ok(billing_portal));
            let expired = opened(&links, &whole, link.expires_at);
            assert_eq!(expired, Err(Refusal::Expired));
            for alter in ALTERATIONS {
                let mut altered = whole.clone();
                alter(&mut altered);
                let refused = opened(&links, &altered, NOW);
                assert_eq!(refused, Err(Refusal::Invalid), "{altered:?}");
            }
            let others = self::links("another secret of 32 characters!");
            assert_eq!(opened(&others, &whole, NOW), Err(Refusal::Invalid));
        }
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
            let link = links.create(&customer_id, false, NOW, &headers)?;
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
        let nowhere = links.create(&customer_id, false, NOW, &HeaderMap::new());
        assert_eq!(nowhere, None);
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
