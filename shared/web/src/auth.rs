//! Who calls: API keys as `Authorization: Bearer mk_…`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::FromRef;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use billing::{Clock, CustomerId, SECOND_MS, Timestamp};
use ledger::{ApiKeyRow, Ledger, PresentedApiKey, RequestRate, Scope};

use crate::metrics::Unit;
use crate::request_limit::RequestLimiter;
use crate::{Metrics, Problem, ProblemType, telemetry};

/// How long a key is believed without a look at the table: how late a
/// revocation takes effect.
const KEY_FRESH_MS: i64 = 60_000;
/// How long a key that the table does not have is refused without another look:
/// short, for somebody may just be making it.
const UNKNOWN_KEY_FRESH_MS: i64 = 2_000;
/// Keys remembered at once.
const KEYS_MAX: usize = 10_000;
/// Looks at the table a second for keys that turn out to be none. Nobody can
/// guess a key; but each guess costs a read.
const GUESSES_PER_S_MAX: u32 = 10;

/// Checks API keys against the table, remembering each for a minute, and one
/// that is not there for two seconds; and counts what is asked for with each.
pub struct Authenticator {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    limiter: RequestLimiter,
    metrics: Metrics,
    memory: Mutex<Memory>,
}

/// What an environment knows of keys.
#[derive(Default)]
struct Memory {
    known: HashMap<String, Known>,
    /// Ids that the table does not have, and until when that is believed.
    unknown: HashMap<String, Timestamp>,
    guesses: u32,
    /// When the second began whose guesses are counted.
    guesses_since: Option<Timestamp>,
}

#[derive(Clone)]
struct Known {
    row: Arc<ApiKeyRow>,
    until: Timestamp,
}

/// What is to be done about an id.
enum Recalled {
    Key(Arc<ApiKeyRow>),
    NoKey,
    Look,
    /// After this long, since there were too many guesses.
    Wait(i64),
}

impl Authenticator {
    /// Checks keys against those in `ledger`. Those that have no rate of their
    /// own make as many requests as they like.
    pub fn new(ledger: Ledger, clock: Arc<dyn Clock>) -> Self {
        Self {
            limiter: RequestLimiter::new(ledger.clone(), RequestRate::UNLIMITED),
            ledger,
            clock,
            metrics: Metrics::default(),
            memory: Mutex::default(),
        }
    }

    /// Another one of the same keys, in which those that have no rate of their
    /// own have `default_rate`.
    #[must_use]
    pub fn with_default_rate(&self, default_rate: RequestRate) -> Arc<Self> {
        self.anew(default_rate, self.metrics.clone())
    }

    /// Another one of the same keys, which tells `metrics` of requests over a limit.
    #[must_use]
    pub fn with_metrics(&self, metrics: Metrics) -> Arc<Self> {
        self.anew(self.limiter.default_rate(), metrics)
    }

    fn anew(&self, default_rate: RequestRate, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            limiter: RequestLimiter::new(self.ledger.clone(), default_rate),
            metrics,
            ..Self::new(self.ledger.clone(), Arc::clone(&self.clock))
        })
    }

    /// The caller that `headers` name.
    ///
    /// # Errors
    /// A 401 [`Problem`], the same for every reason why a key is none: a guess
    /// learns nothing. A 429 where the key has made too many requests, or too
    /// many keys are guessed. A 503 where the table cannot be asked.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let presented = presented(headers).ok_or_else(unauthorized)?;
        let now = self.clock.now();
        let row = self.row(&presented.key_id, now).await?;
        let key = row
            .filter(|row| row.is(&presented) && row.is_valid_at(now))
            .ok_or_else(unauthorized)?;
        // Before it is counted: of a request over the limit, too, the log is to
        // say whose it is.
        telemetry::note_key(&key.key_id);
        // Only what bears the secret is counted: an id is no secret, and must
        // not let a stranger use up its key's requests.
        if let Err(over) = self.limiter.count(&key, now).await {
            self.metrics.write(&[("rate_limited", Unit::Count, 1)]);
            let detail = "this API key makes more requests than it may";
            return Err(too_many_requests(detail, over.wait_ms));
        }
        Ok(Caller { key })
    }

    async fn row(&self, key_id: &str, now: Timestamp) -> Result<Option<Arc<ApiKeyRow>>, Problem> {
        let recalled = self.memory().recall(key_id, now);
        match recalled {
            Recalled::Key(row) => return Ok(Some(row)),
            Recalled::NoKey => return Ok(None),
            Recalled::Wait(wait_ms) => {
                let detail = "too many unknown API keys are tried: this one was not looked at";
                return Err(too_many_requests(detail, wait_ms));
            }
            Recalled::Look => {}
        }
        let row = self.ledger.api_key(key_id).await?.map(Arc::new);
        self.memory().remember(key_id, row.clone(), now);
        Ok(row)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn recall(&mut self, key_id: &str, now: Timestamp) -> Recalled {
        match self.known.get(key_id) {
            Some(known) if now < known.until => return Recalled::Key(Arc::clone(&known.row)),
            // Not a guess: it was a key a minute ago.
            Some(_) => return Recalled::Look,
            None => {}
        }
        if self.unknown.get(key_id).is_some_and(|until| now < *until) {
            return Recalled::NoKey;
        }
        let second = self.guesses_since.map(|since| since.plus_ms(SECOND_MS));
        match second.filter(|end| now < *end) {
            Some(end) if self.guesses >= GUESSES_PER_S_MAX => Recalled::Wait(end.ms_since(now)),
            _ => Recalled::Look,
        }
    }

    fn remember(&mut self, key_id: &str, row: Option<Arc<ApiKeyRow>>, now: Timestamp) {
        let Some(row) = row else {
            self.known.remove(key_id);
            self.remember_guess(key_id, now);
            return;
        };
        if self.known.len() >= KEYS_MAX {
            self.known.retain(|_, known| now < known.until);
        }
        if self.known.len() >= KEYS_MAX {
            self.known.clear();
        }
        let until = now.plus_ms(KEY_FRESH_MS);
        self.known.insert(key_id.to_owned(), Known { row, until });
    }

    fn remember_guess(&mut self, key_id: &str, now: Timestamp) {
        let is_same_second = |since: &Timestamp| now < since.plus_ms(SECOND_MS);
        if !self.guesses_since.as_ref().is_some_and(is_same_second) {
            (self.guesses, self.guesses_since) = (0, Some(now));
            self.unknown.retain(|_, until| now < *until);
        }
        self.guesses = self.guesses.saturating_add(1);
        let until = now.plus_ms(UNKNOWN_KEY_FRESH_MS);
        self.unknown.insert(key_id.to_owned(), until);
    }
}

/// Who calls, by a key that was checked. As an extractor it refuses the request
/// before its body is read.
#[derive(Clone, Debug)]
pub struct Caller {
    key: Arc<ApiKeyRow>,
}

impl Caller {
    /// Whether the caller may do `scope` for anybody at all: what can be said before
    /// the body is read that names the customer.
    ///
    /// # Errors
    /// A 403 [`Problem`], the same as [`require`](Self::require) has.
    pub fn require_scope(&self, scope: Scope) -> Result<(), Problem> {
        if self.key.allows(scope) {
            return Ok(());
        }
        Err(forbidden())
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
        Err(forbidden())
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
        authenticator.authenticate(&parts.headers).await
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

fn forbidden() -> Problem {
    let detail = "this API key may not do this, or not for this customer";
    Problem::new(ProblemType::Forbidden, detail)
}

fn too_many_requests(detail: &str, wait_ms: i64) -> Problem {
    Problem::new(ProblemType::RateLimited, detail).retry_after_ms(wait_ms)
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
        assert!(agent.require_scope(Scope::Emit).is_ok());
        assert_eq!(
            agent.require_scope(Scope::Read),
            agent.require(Scope::Read, None)
        );
    }

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    fn asks_for_a_read(memory: &mut Memory, key_id: &str, now: Timestamp) -> bool {
        matches!(memory.recall(key_id, now), Recalled::Look)
    }

    #[test]
    fn guesses_are_read_ten_times_a_second_and_known_keys_all_the_same() {
        let mut memory = Memory::default();
        let row = NewApiKey::generate(vec![], NOW).unwrap().row;
        memory.remember("known", Some(Arc::new(row)), NOW);
        let later = NOW.plus_ms(KEY_FRESH_MS);
        for n in 0..GUESSES_PER_S_MAX {
            let guess = format!("guess-{n}");
            assert!(asks_for_a_read(&mut memory, &guess, later), "{n}");
            memory.remember(&guess, None, later);
        }
        let wait = memory.recall("one-more", later.plus_ms(400));
        assert!(matches!(wait, Recalled::Wait(600)));
        let again = memory.recall("guess-0", later);
        assert!(matches!(again, Recalled::NoKey));
        assert!(asks_for_a_read(&mut memory, "known", later));
        assert!(asks_for_a_read(
            &mut memory,
            "one-more",
            later.plus_ms(SECOND_MS)
        ));
    }

    #[test]
    fn what_is_no_key_is_forgotten_in_two_seconds() {
        let mut memory = Memory::default();
        memory.remember("new", None, NOW);
        assert!(!asks_for_a_read(&mut memory, "new", NOW.plus_ms(1_999)));
        let later = NOW.plus_ms(UNKNOWN_KEY_FRESH_MS);
        assert!(asks_for_a_read(&mut memory, "new", later));
        memory.remember("other", None, later);
        assert_eq!(memory.unknown.len(), 1);
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
