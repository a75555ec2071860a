//! Who calls: API keys as `Authorization: Bearer mk_…`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRef;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use billing::{Clock, CustomerId, Timestamp};
use ledger::{ApiKeyRow, Ledger, PresentedApiKey, Scope};

use crate::{Problem, ProblemType};

/// How long a key is believed without a look at the table: how late a
/// revocation takes effect.
const KEY_FRESH_MS: i64 = 60_000;
/// How long a key that the table does not have is refused without another look:
/// short, for somebody may just be making it.
const UNKNOWN_KEY_FRESH_MS: i64 = 2_000;
/// Keys remembered at once, unknown ones among them.
const KEYS_MAX: usize = 10_000;

/// Checks API keys against the table, remembering each for a minute, and one
/// that is not there for two seconds.
pub struct Authenticator {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<String, Remembered>>,
}

#[derive(Clone)]
struct Remembered {
    /// None for an id that the table does not have.
    row: Option<Arc<ApiKeyRow>>,
    until: Timestamp,
}

impl Authenticator {
    /// Checks keys against those in `ledger`.
    pub fn new(ledger: Ledger, clock: Arc<dyn Clock>) -> Self {
        Self {
            ledger,
            clock,
            known: Mutex::new(HashMap::new()),
        }
    }

    /// The caller that `headers` name.
    ///
    /// # Errors
    /// A 401 [`Problem`], the same for every reason why a key is none: a guess
    /// learns nothing. A 503 where the table cannot be asked.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let presented = presented(headers).ok_or_else(unauthorized)?;
        let now = self.clock.now();
        let row = self.row(&presented.key_id, now).await?;
        row.filter(|row| row.is(&presented) && row.is_valid_at(now))
            .map(|key| Caller { key })
            .ok_or_else(unauthorized)
    }

    async fn row(&self, key_id: &str, now: Timestamp) -> Result<Option<Arc<ApiKeyRow>>, Problem> {
        let recalled = self.known().get(key_id).cloned();
        if let Some(remembered) = recalled.filter(|remembered| now < remembered.until) {
            return Ok(remembered.row);
        }
        let row = self.ledger.api_key(key_id).await?.map(Arc::new);
        let mut known = self.known();
        if known.len() >= KEYS_MAX {
            known.retain(|_, remembered| now < remembered.until);
        }
        if known.len() >= KEYS_MAX {
            known.clear();
        }
        let fresh_ms = match row {
            Some(_) => KEY_FRESH_MS,
            None => UNKNOWN_KEY_FRESH_MS,
        };
        let remembered = Remembered {
            row: row.clone(),
            until: now.plus_ms(fresh_ms),
        };
        known.insert(key_id.to_owned(), remembered);
        Ok(row)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Remembered>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who calls, by a key that was checked. As an extractor it refuses the request
/// before its body is read.
#[derive(Clone, Debug)]
pub struct Caller {
    key: Arc<ApiKeyRow>,
}

impl Caller {
    /// The key's public half, for the log.
    pub fn key_id(&self) -> &str {
        &self.key.key_id
    }

    /// Whether the caller may do `scope`, and act for `customer` where one is named.
    ///
    /// # Errors
    /// A 403 [`Problem`]. It does not depend on whether the customer exists.
    pub fn require(&self, scope: Scope, customer: Option<&CustomerId>) -> Result<(), Problem> {
        let allowed = self.key.allows(scope)
            && customer.is_none_or(|customer_id| self.key.may_act_for(customer_id))
            // What concerns no customer in particular concerns all of them.
            && (customer.is_some() || self.key.customers.is_none());
        if allowed {
            return Ok(());
        }
        let detail = "this API key may not do this, or not for this customer";
        Err(Problem::new(ProblemType::Forbidden, detail))
    }
}

impl<S> FromRequestParts<S> for Caller
where
    Arc<Authenticator>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let authenticator = Arc::<Authenticator>::from_ref(state);
        let caller = authenticator.authenticate(&parts.headers).await?;
        crate::telemetry::note_key(caller.key_id());
        Ok(caller)
    }
}

fn presented(headers: &HeaderMap) -> Option<PresentedApiKey> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let key = scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())?;
    PresentedApiKey::parse(key).ok()
}

fn unauthorized() -> Problem {
    let detail = "a valid API key is needed: Authorization: Bearer mk_…";
    Problem::new(ProblemType::Unauthorized, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use ledger::NewApiKey;
    use stripe::ExposeSecret;

    fn caller(scopes: Vec<Scope>, customers: Option<Vec<CustomerId>>) -> Caller {
        let row = NewApiKey::generate(scopes, Timestamp::from_unix_s(0))
            .unwrap()
            .row;
        Caller {
            key: Arc::new(ApiKeyRow { customers, ..row }),
        }
    }

    fn customer(id: &str) -> CustomerId {
        CustomerId::parse(id).unwrap()
    }

    #[test]
    fn a_key_does_what_its_scopes_say_for_its_customers() {
        let agent = caller(vec![Scope::Emit], Some(vec![customer("cus_1")]));
        assert!(agent.require(Scope::Emit, Some(&customer("cus_1"))).is_ok());
        assert!(
            agent
                .require(Scope::Emit, Some(&customer("cus_2")))
                .is_err()
        );
        assert!(
            agent
                .require(Scope::Read, Some(&customer("cus_1")))
                .is_err()
        );
        assert!(agent.require(Scope::Emit, None).is_err());
        let admin = caller(vec![Scope::Admin], None);
        assert!(admin.require(Scope::Read, None).is_ok());
    }

    #[test]
    fn keys_are_read_from_bearer_alone() {
        let key = NewApiKey::generate(vec![], Timestamp::from_unix_s(0))
            .unwrap()
            .key;
        let key = key.expose_secret();
        for (header, is_key) in [
            (format!("Bearer {key}"), true),
            (format!("bearer {key}"), true),
            (format!("Basic {key}"), false),
            (key.to_owned(), false),
            ("Bearer mk_1".to_owned(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&header).unwrap());
            assert_eq!(presented(&headers).is_some(), is_key, "{header}");
        }
        assert!(presented(&HeaderMap::new()).is_none());
    }
}
