// What the client costs, beside raw `fetch` in the same run: `npm run bench`. By turns, so that both
// meet the same machine. Against a server that answers at once, or, with METERLINE_URL,
// METERLINE_API_KEY and CUSTOMER_ID, against the API, where it records real usage.

import { fork } from "node:child_process";
import { once } from "node:events";
import { cpus } from "node:os";

import { Meterline } from "../src/index.js";

const QUICK = process.argv.includes("--quick");
/** Events of one block. */
const BLOCK = QUICK ? 50 : 1_000;
/** How often the ways take turns, after one that warms up and does not count. */
const ROUNDS = 5;
const CALLERS = 128;
const EVENTS_AT_ONCE = QUICK ? 500 : 20_000;
/** Numbers of events that no block has. */
const FIRST_AT_ONCE = 1_000_000;
const RUN = `bench-${Date.now()}`;

/** A way to record the event of a number. */
type Emit = (number: number) => Promise<unknown>;

interface Target {
  url: string;
  apiKey: string;
  customer: string;
  stop(): void;
}

async function target(): Promise<Target> {
  const { METERLINE_URL: url, METERLINE_API_KEY: apiKey, CUSTOMER_ID: customer } = process.env;
  if (url && apiKey && customer) return { url, apiKey, customer, stop: () => {} };
  const server = fork(new URL("server.js", import.meta.url));
  const [port] = (await once(server, "message")) as [number];
  const stop = () => server.disconnect();
  return { url: `http://127.0.0.1:${port}`, apiKey: "mk_bench", customer: "cus_bench", stop };
}

/** What somebody writes who has no client: no retries, and no look at the answer but its status. */
function rawEmit({ url, apiKey, customer }: Target, way: string): Emit {
  return async (number) => {
    const response = await fetch(`${url}/v1/usage`, {
      method: "POST",
      headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
      body: JSON.stringify({
        event_id: `${RUN}-${way}-${number}`,
        customer_id: customer,
        action_type: "document_processed",
        quantity: 1,
      }),
    });
    const body = await response.json();
    if (!response.ok) throw new Error(JSON.stringify(body));
  };
}

function clientEmit(meterline: Meterline, { customer }: Target, way: string): Emit {
  return (number) =>
    meterline.emit(customer, "document_processed", { eventId: `${RUN}-${way}-${number}` });
}

/** The milliseconds that each event took, one after the other. */
async function oneByOne(emit: Emit, from: number): Promise<number[]> {
  const took: number[] = [];
  for (let number = from; number < from + BLOCK; number++) {
    const startedMs = performance.now();
    await emit(number);
    took.push(performance.now() - startedMs);
  }
  return took;
}

/** Events a second, with many callers at once. */
async function atOnce(emit: Emit, from: number): Promise<number> {
  let next = 0;
  const startedMs = performance.now();
  await Promise.all(
    Array.from({ length: CALLERS }, async () => {
      while (next < EVENTS_AT_ONCE) await emit(from + next++);
    }),
  );
  return EVENTS_AT_ONCE / ((performance.now() - startedMs) / 1000);
}

function quantile(sorted: readonly number[], part: number): string {
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0).toFixed(3);
}

const api = await target();
const { url, apiKey } = api;
const single = new Meterline({ url, apiKey });
const buffered = new Meterline({ url, apiKey, buffer: {} });
const raw = rawEmit(api, "raw");
const client = clientEmit(single, api, "client");
const took: { raw: number[]; client: number[] } = { raw: [], client: [] };

for (let block = 0; block <= ROUNDS; block++) {
  const times = {
    raw: await oneByOne(raw, block * BLOCK),
    client: await oneByOne(client, block * BLOCK),
  };
  if (block > 0) {
    took.raw.push(...times.raw);
    took.client.push(...times.client);
  }
}
for (const times of Object.values(took)) times.sort((one, other) => one - other);

console.log(`Node ${process.version}, ${cpus().length} processors\n`);
console.log("| one event after the other, ms | events | p50 | p99 |\n| --- | ---: | ---: | ---: |");
for (const [way, times] of Object.entries({ "raw fetch": took.raw, client: took.client })) {
  console.log(`| ${way} | ${times.length} | ${quantile(times, 0.5)} | ${quantile(times, 0.99)} |`);
}
const ways: { way: string; emit: Emit; rates: number[] }[] = [
  { way: "raw fetch", emit: raw, rates: [] },
  { way: "client", emit: client, rates: [] },
  { way: "client, with its buffer", emit: clientEmit(buffered, api, "buffered"), rates: [] },
];
for (let round = 0; round <= ROUNDS; round++) {
  for (const { emit, rates } of ways) {
    const rate = await atOnce(emit, (1 + round) * FIRST_AT_ONCE);
    if (round > 0) rates.push(rate);
  }
}
console.log(`\n| ${CALLERS} callers at once, median of ${ROUNDS} | events | events a second |`);
console.log("| --- | ---: | ---: |");
for (const { way, rates } of ways) {
  const median = rates.sort((one, other) => one - other)[rates.length >> 1] ?? 0;
  console.log(`| ${way} | ${EVENTS_AT_ONCE} | ${Math.round(median)} |`);
}
await Promise.all([single.close(), buffered.close()]);
api.stop();
