import assert from "node:assert/strict";
import { test } from "node:test";

import { type Recorded, Refused } from "../src/index.js";
import { gate, setting } from "./support/setting.js";

/** Longer than any test: what is sent was sent for another reason. */
const NEVER_MS = 1_000_000;

test("two hundred at once go in two requests, and each caller gets its own outcome", async () => {
  const { api, meterline } = await setting({ buffer: { waitMs: NEVER_MS } });
  const emitted = Array.from({ length: 200 }, (_, i) =>
    meterline.emit("cus_1", "page", { eventId: `e${i}`, quantity: i + 1 }),
  );
  const outcomes = await Promise.all(emitted);
  assert.deepEqual(
    api.requests.map(({ path, events }) => [path, events.length]),
    [
      ["/v1/usage/batch", 100],
      ["/v1/usage/batch", 100],
    ],
  );
  outcomes.forEach((outcome: Recorded, i) => {
    assert.equal(outcome.eventId, `e${i}`);
    assert.equal(outcome.quantity, i + 1);
  });
});

test("one alone is sent after a moment", async () => {
  const { api, meterline } = await setting({ buffer: { waitMs: 1 } });
  assert.equal((await meterline.emit("cus_1", "page")).status, "delivered");
  assert.equal(api.requests.length, 1);
});

test("one bad event spoils no other", async () => {
  const { api, meterline } = await setting({ buffer: { eventsMax: 3, waitMs: NEVER_MS } });
  const [good, bad, other] = await Promise.allSettled([
    meterline.emit("cus_1", "page"),
    meterline.emit("cus_unknown", "page"),
    meterline.emit("cus_1", "page"),
  ]);
  assert.equal(good.status, "fulfilled");
  assert.equal(other.status, "fulfilled");
  assert.ok(bad.status === "rejected" && bad.reason instanceof Refused);
  assert.equal(api.requests.length, 1);
});

test("a batch that cannot be read as a whole is sent one by one", async () => {
  const { api, meterline } = await setting({ buffer: { eventsMax: 3, waitMs: NEVER_MS } });
  api.faults.push({ status: 400 });
  const emitted = [1, 2, 3].map((n) => meterline.emit("cus_1", "page", { eventId: `e${n}` }));
  await Promise.all(emitted);
  assert.deepEqual(api.requests.map(({ path }) => path).slice(1), Array(3).fill("/v1/usage"));
  assert.equal(api.units, 3);
});

test("a batch whose answer is lost is sent again under the same ids", async () => {
  const { api, meterline } = await setting({ buffer: { eventsMax: 2, waitMs: NEVER_MS } });
  api.faults.push("lose_answer", "cut_answer", { status: 503 });
  const outcomes = await Promise.all([
    meterline.emit("cus_1", "page"),
    meterline.emit("cus_1", "page"),
  ]);
  assert.deepEqual(
    outcomes.map(({ duplicate }) => duplicate),
    [true, true],
  );
  assert.equal(api.requests.length, 4);
  assert.equal(api.units, 2);
});

test("a batch's answer that leaves events out, or mixes them up, is none", async () => {
  const { api, meterline } = await setting({ buffer: { eventsMax: 2, waitMs: NEVER_MS } });
  const result = (event_id: string) => ({
    event_id,
    status: "delivered",
    duplicate: false,
    quantity: 1,
  });
  const [a, b] = [result("a"), result("b")];
  const odd = [null, 3, "x", {}, { error: null }, { error: "x", status: "invalid" }, { error: {} }];
  const said = [[a, b, b], [b, a], null, "x", ...odd.map((result) => [result, result])];
  for (const results of said) api.faults.push({ says: { results } });
  const emitted = ["a", "b"].map((eventId) => meterline.emit("cus_1", "page", { eventId }));
  await Promise.all(emitted);
  assert.equal(api.requests.length, said.length + 1);
  assert.equal(api.units, 2);
});

test("a flush sends what waits, and resolves when it is settled", async () => {
  const { api, meterline } = await setting({ buffer: { waitMs: NEVER_MS } });
  const settled: string[] = [];
  const emitted = ["a", "b"].map((eventId) =>
    meterline.emit("cus_1", "page", { eventId }).then(() => settled.push(eventId)),
  );
  const answering = gate();
  api.beforeAnswer = () => answering.passed;
  const flushed = meterline.flush().then(() => settled.push("flushed"));
  answering.open();
  await Promise.all([...emitted, flushed]);
  assert.deepEqual(settled, ["a", "b", "flushed"]);
  assert.equal(api.requests.length, 1);
});

test("a flush waits for what was there, and for no later call", async () => {
  const { api, meterline } = await setting();
  const answering = gate();
  api.beforeAnswer = async () => {
    if (api.requests.at(-1)?.events[0]?.event_id === "later") await answering.passed;
  };
  const told: string[] = [];
  const emit = async (eventId: string) => {
    await meterline.emit("cus_1", "page", { eventId });
    told.push(eventId);
  };
  const first = emit("first");
  const flushed = meterline.flush().then(() => told.push("flushed"));
  const later = emit("later");
  // The client is never idle.
  for (let call = 0; call < 100 && !told.includes("flushed"); call++) {
    await meterline.checkAccess("cus_1");
  }
  answering.open();
  await Promise.all([first, flushed, later]);
  assert.deepEqual(told, ["first", "flushed", "later"]);
});

test("while a flush is under way, later events still wait for each other", async () => {
  const { api, meterline } = await setting({ buffer: { eventsMax: 2, waitMs: NEVER_MS } });
  const [asked, answering] = [gate(), gate()];
  api.beforeAnswer = async () => {
    if (api.requests.at(-1)?.events[0]?.event_id !== "a") return;
    asked.open();
    await answering.passed;
  };
  const emit = (eventId: string) => meterline.emit("cus_1", "page", { eventId });
  const first = emit("a");
  const flushed = meterline.flush();
  await asked.passed;
  const later = emit("b");
  // It has had its time to go alone.
  for (let turn = 0; turn < 5; turn++) await meterline.checkAccess("cus_1");
  await Promise.all([later, emit("c")]);
  answering.open();
  await Promise.all([first, flushed]);
  const sent = api.requests.map(({ events }) => events.map(({ event_id }) => event_id));
  assert.deepEqual(
    sent.filter((ids) => ids.length > 0),
    [["a"], ["b", "c"]],
  );
});

test("closing sends what waits", async () => {
  const { api, meterline } = await setting({ buffer: { waitMs: NEVER_MS } });
  const emitted = meterline.emit("cus_1", "page");
  await meterline.close();
  assert.equal((await emitted).status, "delivered");
  assert.equal(api.units, 1);
});

test("however much comes at once, eight batches are under way and the others wait", async () => {
  const { api, meterline } = await setting({ buffer: { eventsMax: 10, waitMs: NEVER_MS } });
  const answering = gate();
  let underWay = 0;
  let most = 0;
  api.beforeAnswer = async () => {
    underWay++;
    most = Math.max(most, underWay);
    if (underWay === 8) answering.open();
    await answering.passed;
    // The others, if they are there, come before this one's answer is sent.
    for (let turn = 0; turn < 10; turn++) await new Promise((next) => setImmediate(next));
    underWay--;
  };
  const one = Array.from({ length: 1000 }, () => meterline.emit("cus_1", "page"));
  const many = Array.from({ length: 1000 }, () => ({ customer: "cus_1", action: "page" }));
  await Promise.all([...one, meterline.emitMany(many)]);
  assert.equal(most, 8);
  assert.equal(api.units, 2000);
});
