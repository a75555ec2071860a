// The local system as a process, and what people and agents do with it.

import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';

const PROGRAMS = path.resolve(process.env.BROWSER_PROGRAMS ?? 'target/debug');
const STRIPE_VERSION = '2026-06-24.dahlia';
// Far longer than anything here should take.
const PATIENCE_MS = 60_000;
const PAUSE_MS = 50;

export const HOUR_S = 3_600;
export const DAY_S = 24 * HOUR_S;

// Calls `probe` until it neither throws nor returns false; the last failure is the test's.
export async function eventually(what, probe) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      const found = await probe();
      if (found !== false) return found;
      throw new Error(`${what}: not yet`);
    } catch (failure) {
      if (Date.now() > deadline) throw failure;
    }
    await new Promise((resume) => setTimeout(resume, PAUSE_MS));
  }
}

export class System {
  #process;
  #folder;
  #environment;

  // Starts one on free ports, in a folder of its own, with variables of its own.
  static async start(variables = {}) {
    const system = new System();
    system.#folder = await mkdtemp(path.join(tmpdir(), 'meterline-browser-'));
    const ports = { METERLINE_PORT: '0', DYNAMODB_PORT: '0', STRIPE_PORT: '0' };
    system.#process = spawn(path.join(PROGRAMS, 'meterline-local'), ['serve'], {
      env: { ...process.env, ...ports, ...variables, LOCAL_DIR: system.#folder, RUST_LOG: 'error' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    // The line that says where the keys are is the last: it listens then.
    let listens = false;
    for await (const line of createInterface({ input: system.#process.stdout })) {
      listens = line.startsWith('Keys ');
      if (listens) break;
    }
    system.#process.stdout.resume();
    if (!listens) throw new Error('the local system did not start');
    const text = await readFile(path.join(system.#folder, 'env'), 'utf8');
    const pairs = text.split('\n').map((line) => /^(\w+)='?(.*?)'?$/.exec(line)).filter(Boolean);
    system.#environment = Object.fromEntries(pairs.map(([, name, value]) => [name, value]));
    return system;
  }

  async stop() {
    const ended = new Promise((resume) => this.#process.once('exit', resume));
    this.#process.kill('SIGTERM');
    await ended;
    await rm(this.#folder, { recursive: true, force: true });
  }

  get url() {
    return this.#environment.METERLINE_URL;
  }

  // The API's answer, which must be a good one.
  async call(method, at, body) {
    const response = await fetch(`${this.url}${at}`, {
      method,
      headers: { authorization: `Bearer ${this.#environment.METERLINE_API_KEY}` },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${method} ${at}: ${JSON.stringify(answer)}`);
    return answer;
  }

  // Stripe's answer, which must be a good one.
  async stripe(method, at, form) {
    const response = await fetch(`${this.#environment.STRIPE_API_BASE}${at}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#environment.STRIPE_SECRET_KEY}`,
        'stripe-version': STRIPE_VERSION,
      },
      body: form === undefined ? undefined : new URLSearchParams(form),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${method} ${at}: ${JSON.stringify(answer)}`);
    return answer;
  }

  // A customer who pays, or does not; on a test clock if it is to be moved, and on terms of its own.
  async onboard(externalId, { paymentMethod = 'pm_card_visa', since, ...terms } = {}) {
    const body = {
      email: `${externalId}@example.com`,
      payment_method: paymentMethod,
      external_id: externalId,
      ...terms,
    };
    if (since !== undefined) {
      const made = await this.stripe('POST', '/v1/test_helpers/test_clocks', { frozen_time: since });
      body.test_clock = made.id;
    }
    const customer = await this.call('POST', '/v1/customers', body);
    return { id: customer.customer_id, testClock: body.test_clock, events: 0 };
  }

  // So many units of one action, `occurredAt` in unix seconds or now.
  async use(customer, actionType, quantity, occurredAt, eventId) {
    customer.events += 1;
    const event = {
      event_id: eventId ?? `event-${customer.events}`,
      customer_id: customer.id,
      quantity,
      action_type: actionType,
    };
    if (occurredAt !== undefined) event.occurred_at = occurredAt;
    return this.call('POST', '/v1/usage', event);
  }

  async useMany(customer, uses) {
    for (let start = 0; start < uses.length; start += 100) {
      const events = uses.slice(start, start + 100).map(([actionType, quantity, occurredAt]) => {
        customer.events += 1;
        return {
          event_id: `event-${customer.events}`,
          customer_id: customer.id,
          quantity,
          action_type: actionType,
          occurred_at: occurredAt,
        };
      });
      const answer = await this.call('POST', '/v1/usage/batch', { events });
      if (answer.rejected !== 0) throw new Error(JSON.stringify(answer));
    }
  }

  usage(customer) {
    return this.call('GET', `/v1/customers/${customer.id}/usage`);
  }

  async setLimit(customer, terms) {
    const answer = await this.call('PUT', `/v1/customers/${customer.id}/spending-limit`, terms);
    return answer.spending_limit;
  }

  async limit(customer) {
    return (await this.call('GET', `/v1/customers/${customer.id}/spending-limit`)).spending_limit;
  }

  // A price in another currency, which whoever is onboarded from now on pays.
  async sellIn(currency, unitAmountDecimal) {
    const [current] = (await this.stripe('GET', '/v1/prices?lookup_keys[]=agent_operations_monthly')).data;
    await this.stripe('POST', '/v1/prices', {
      product: current.product,
      currency,
      unit_amount_decimal: unitAmountDecimal,
      'recurring[interval]': 'month',
      'recurring[usage_type]': 'metered',
      'recurring[meter]': current.recurring.meter,
      lookup_key: current.lookup_key,
      transfer_lookup_key: 'true',
    });
  }

  // The units of a customer's events in Stripe, as the simulator counts them by itself.
  async unitsInStripe(customer) {
    const query = new URLSearchParams({ customer: customer.id, limit: '0' });
    return (await this.stripe('GET', `/_simulator/meter_events?${query}`)).value;
  }

  async moveClock(customer, to) {
    await this.stripe('POST', `/v1/test_helpers/test_clocks/${customer.testClock}/advance`, { frozen_time: to });
    await eventually('the test clock', async () => {
      const clock = await this.stripe('GET', `/v1/test_helpers/test_clocks/${customer.testClock}`);
      return clock.status === 'ready';
    });
  }

  // Past the period's end and the invoice's draft, so that it is charged.
  async endPeriod(customer) {
    const { period_end: end } = await this.usage(customer);
    const endS = Date.parse(end) / 1_000;
    await this.moveClock(customer, endS + 2 * HOUR_S);
    return endS + 2 * HOUR_S;
  }

  async link(customer, wishes = {}) {
    return (await this.call('POST', `/v1/customers/${customer.id}/dashboard-links`, wishes)).url;
  }

  // One that was made long ago, so that it ends in so many seconds. The system itself only
  // makes links for a day.
  async endingLink(customer, seconds) {
    const secret = await readFile(path.join(this.#folder, 'dashboard-link-secret'), 'utf8');
    const expires = Math.floor(Date.now() / 1_000) + seconds;
    const signed = `meterline dashboard link 1\n${customer.id}\n${expires}`;
    const signature = createHmac('sha256', secret.trim()).update(signed).digest('hex');
    const query = new URLSearchParams({ customer: customer.id, expires, signature });
    return `${this.url}/dashboard?${query}`;
  }
}
