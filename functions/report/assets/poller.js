// Asks for JSON again and again, under the page's own link: often while something
// changes, seldom while nothing does, not at all while nobody looks, and ever more
// patiently while there is no answer. What has not changed is not sent again.

const ANSWER_TIMEOUT_MS = 15_000;
const PATIENCE_FIRST_MS = 2_000;
const PATIENCE_MAX_MS = 60_000;

// How long to wait between two looks, by how long ago something changed.
export class Pace {
  #steps;
  #changedAt = performance.now();

  // `steps` are pairs: up to so many milliseconds of quiet, wait so many.
  constructor(steps) {
    this.#steps = steps;
  }

  noteChange() {
    this.#changedAt = performance.now();
  }

  // Somebody is there: as if something had changed a moment ago, but not just now. Says
  // whether the looks were further apart until now.
  noteReader() {
    const [busy] = this.#steps[0];
    const beforeMs = this.delayMs;
    this.#changedAt = Math.max(this.#changedAt, performance.now() - busy);
    return this.delayMs < beforeMs;
  }

  get delayMs() {
    const quietMs = performance.now() - this.#changedAt;
    const step = this.#steps.find(([upToMs]) => quietMs < upToMs) ?? this.#steps.at(-1);
    return step[1];
  }
}

export class Poller {
  #url;
  #pace;
  #onData;
  #onState;
  #tag = null;
  #timer = null;
  #isAsking = false;
  #hasEnded = false;
  #failures = 0;
  #since = new Date();

  // `onData` gets what is new; `onState` gets { kind: 'live' }, { kind: 'failing', since,
  // retryMs }, or { kind: 'ended', reason }.
  constructor(url, pace, onData, onState) {
    this.#url = url;
    this.#pace = pace;
    this.#onData = onData;
    this.#onState = onState;
  }

  start() {
    document.addEventListener('visibilitychange', () => this.askNow());
    window.addEventListener('online', () => this.askNow());
    // A page that comes back from the browser's memory is old.
    window.addEventListener('pageshow', ({ persisted }) => persisted && this.askNow());
    this.askNow();
  }

  askNow() {
    clearTimeout(this.#timer);
    if (this.#hasEnded || this.#isAsking || document.hidden) return;
    this.#ask();
  }

  stop() {
    this.#hasEnded = true;
    clearTimeout(this.#timer);
  }

  async #ask() {
    this.#isAsking = true;
    let delayMs;
    try {
      delayMs = await this.#look();
      this.#failures = 0;
      this.#since = new Date();
      if (!this.#hasEnded) this.#onState({ kind: 'live' });
    } catch (failure) {
      delayMs = this.#patienceMs(failure.retryAfterMs ?? 0);
      this.#onState({ kind: 'failing', since: this.#since, retryMs: delayMs });
    }
    this.#isAsking = false;
    if (!this.#hasEnded && !document.hidden) this.#timer = setTimeout(() => this.askNow(), delayMs);
  }

  async #look() {
    const response = await fetch(this.#url, {
      headers: this.#tag === null ? {} : { 'if-none-match': this.#tag },
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
      referrerPolicy: 'no-referrer',
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
    if (response.status === 304) return this.#pace.delayMs;
    if (response.ok) {
      const data = await response.json();
      this.#tag = response.headers.get('etag');
      this.#pace.noteChange();
      this.#onData(data);
      return this.#pace.delayMs;
    }
    const problem = await response.json().catch(() => ({}));
    const reason = endOf(response.status, problem);
    if (reason !== null) {
      this.stop();
      this.#onState({ kind: 'ended', reason });
      return 0;
    }
    throw new Failure(response);
  }

  #patienceMs(leastMs) {
    const doubled = PATIENCE_FIRST_MS * 2 ** this.#failures;
    this.#failures += 1;
    // Apart from each other, or all open pages would come back at the same moment.
    const apart = 0.75 + Math.random() / 2;
    return Math.max(leastMs, Math.min(doubled, PATIENCE_MAX_MS) * apart);
  }
}

class Failure extends Error {
  constructor(response) {
    super(`answered ${response.status}`);
    const seconds = Number(response.headers.get('retry-after'));
    this.retryAfterMs = Number.isFinite(seconds) ? seconds * 1_000 : 0;
  }
}

// Why no later answer will be another; null where one may be. Only Meterline's own words
// count: what stands before it may refuse for a moment.
function endOf(status, problem) {
  const type = problem.type ?? '';
  if (status === 403 && type.endsWith(':forbidden')) return problem.reason ?? 'invalid';
  if (status === 404 && type.endsWith(':customer-not-found')) return 'gone';
  return null;
}
