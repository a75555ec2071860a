import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";

import {
  Closed,
  InvalidUsage,
  Meterline,
  MeterlineError,
  PerhapsRecorded,
  Refused,
  Unavailable,
} from "../src/index.js";
import { setting } from "./support/setting.js";

const PAGE = { customer: "cus_1", action: "page" };

test("an event is recorded under the key, and a repeat is a duplicate", async () => {
  const { api, meterline } = await setting();
  const first = await meterline.emit("cus_1", "page", { eventId: "a", quantity: 3 });
  assert.deepEqual(first, {
    eventId: "a",
    status: "delivered",
    duplicate: false,
    quantity: 3,
    customerStatus: "active",
    reservation: null,
  });
  const again = await meterline.emit("cus_1", "page", { eventId: "a", quantity: 3 });
  assert.equal(again.duplicate, true);
  assert.equal(api.units, 3);
  assert.equal(api.requests[0]?.authorization, "Bearer mk_test");
});

test("an answer that is lost, cut off or late is asked for again under the same id", async () => {
  const { api, meterline } = await setting({ requestTimeoutMs: 300 });
  api.faults.push("lose_answer", "cut_answer", "reset", { statusAfter: 502 }, "hang");
  const outcome = await meterline.emit("cus_1", "page");
  assert.equal(outcome.duplicate, true);
  assert.equal(api.requests.length, 6);
  const ids = new Set(api.requests.map(({ events }) => events[0]?.event_id));
  assert.deepEqual([...ids], [outcome.eventId]);
  assert.equal(api.units, 1);
});

test("an answer that is too long is none", async () => {
  const { api, meterline } = await setting();
  const recorded = { event_id: "a", status: "delivered", duplicate: false, quantity: 1 };
  api.faults.push({ says: { ...recorded, stripe_record_id: "x".repeat(5 * 1024 * 1024) } });
  await meterline.emit("cus_1", "page", { eventId: "a" });
  assert.equal(api.requests.length, 2);
});

test("an answer about another event is none", async () => {
  const { api, meterline } = await setting();
  const other = { event_id: "b", status: "delivered", duplicate: false, quantity: 1 };
  api.faults.push({ says: other }, { says: {} }, { says: [] });
  const outcome = await meterline.emit("cus_1", "page", { eventId: "a" });
  assert.equal(outcome.eventId, "a");
  assert.equal(api.requests.length, 4);
});

test("waits double up to a bound, and come after what the API asks for, which is the same of all", async () => {
  const { api, meterline, runtime } = await setting();
  for (let i = 0; i < 7; i++) api.faults.push({ status: 503 });
  api.faults.push({ status: 429, retryAfterS: 7 });
  await meterline.emit("cus_1", "page");
  assert.deepEqual(runtime.sleeps, [50, 100, 200, 400, 800, 1600, 2000, 9000]);
});

test("a time to come again is as long after the answer's own, whatever the clock is here", async () => {
  const { api, meterline, runtime } = await setting();
  const date = "Sat, 31 Jan 2026 23:59:55 GMT";
  const says = (headers: Record<string, string>) => api.faults.push({ status: 503, headers });
  says({ date, "retry-after": "Sun, 01 Feb 2026 00:00:02 GMT" });
  says({ date, "retry-after": "Sat, 31 Jan 2026 23:59:00 GMT" });
  // Neither of these says how long.
  says({ "retry-after": "Sun, 01 Feb 2026 00:00:02 GMT" });
  says({ date, "retry-after": "Sun, 01 Feb 2026" });
  says({ date: "now", "retry-after": "Sun, 01 Feb 2026 00:00:02 GMT" });
  says({ date, "retry-after": "Sun Feb  1 00:00:02 2026" });
  await meterline.emit("cus_1", "page");
  assert.deepEqual(runtime.sleeps, [7050, 100, 200, 400, 800, 1600]);
});

test("a time to come again that is too far away is not waited for", async () => {
  const { api, meterline, runtime } = await setting();
  const headers = {
    date: "Sat, 31 Jan 2026 23:59:55 GMT",
    "retry-after": "Fri, 31 Dec 9999 23:59:59 GMT",
  };
  api.faults.push({ status: 503, headers });
  await assert.rejects(meterline.emit("cus_1", "page"), PerhapsRecorded);
  assert.deepEqual(runtime.sleeps, []);
});

test("after the budget the error says perhaps, and the caller goes on under its id", async () => {
  const { api, meterline, runtime } = await setting({ retryBudgetMs: 1000 });
  for (let i = 0; i < 100; i++) api.faults.push("lose_answer");
  const error = await meterline.emit("cus_1", "page").catch((error: unknown) => error);
  assert.ok(error instanceof PerhapsRecorded);
  assert.equal(error.kind, "perhaps_recorded");
  assert.equal(error.retryable, true);
  assert.ok(runtime.nowMs() <= 1000);
  api.faults.length = 0;
  const outcome = await meterline.emit("cus_1", "page", { eventId: error.eventId });
  assert.equal(outcome.duplicate, true);
  assert.equal(api.units, 1);
});

test("a wait that would end after the budget is not begun", async () => {
  const { api, meterline, runtime } = await setting({ retryBudgetMs: 2000 });
  api.faults.push({ status: 429, retryAfterS: 3600 });
  await assert.rejects(meterline.emit("cus_1", "page"), PerhapsRecorded);
  assert.deepEqual(runtime.sleeps, []);
  assert.equal(api.requests.length, 1);
});

test("a refusal is an error at once, with the API's words", async () => {
  const { api, meterline } = await setting();
  const error = await meterline
    .emit("cus_unknown", "page", { eventId: "a" })
    .catch((error: unknown) => error);
  assert.ok(error instanceof Refused && error instanceof MeterlineError);
  assert.equal(error.retryable, false);
  assert.equal(error.eventId, "a");
  assert.equal(error.type, "urn:meterline:problem:customer-not-found");
  assert.equal(error.detail, "as it is");
  assert.equal(error.problem?.status, 404);
  assert.equal(api.requests.length, 1);
});

test("a redirect is not followed: it would take the key elsewhere", async () => {
  const { api, meterline } = await setting({ retryBudgetMs: 0 });
  api.faults.push({ status: 307, headers: { location: "/v1/usage" } });
  await assert.rejects(meterline.emit("cus_1", "page"), PerhapsRecorded);
  assert.equal(api.requests.length, 1);
});

test("a refusal in somebody else's name is none, and is tried again", async () => {
  const { api, meterline } = await setting({ retryBudgetMs: 1000 });
  api.faults.push({ status: 404 }, { status: 407 }, { status: 400 });
  assert.equal((await meterline.emit("cus_1", "page")).status, "delivered");
  assert.equal(api.requests.length, 4);

  for (let i = 0; i < 100; i++) api.faults.push({ status: 404 });
  const perhaps = await meterline.emit("cus_1", "page").catch((error: unknown) => error);
  assert.ok(perhaps instanceof PerhapsRecorded);
  assert.equal(perhaps.problem?.status, 404);
  await assert.rejects(meterline.checkAccess("cus_1"), Unavailable);
  await assert.rejects(meterline.release("cus_1", "run-1"), Unavailable);
});

test("a refusal after a lost answer is perhaps, unless it speaks of the event itself", async () => {
  const { api, meterline } = await setting();
  api.faults.push("lose_answer", { status: 403 });
  const perhaps = await meterline.emit("cus_1", "page").catch((error: unknown) => error);
  assert.ok(perhaps instanceof PerhapsRecorded);
  assert.equal(perhaps.problem?.status, 403);

  api.faults.push({ status: 500 }, { status: 409, problem: "conflict" });
  await assert.rejects(meterline.emit("cus_1", "page"), Refused);
});

test("a refusal after attempts that recorded nothing is a refusal", async () => {
  const { api, meterline } = await setting();
  api.faults.push({ status: 429 }, { status: 403 });
  await assert.rejects(meterline.emit("cus_1", "page"), Refused);
});

test("whoever nobody listens to is told perhaps", async () => {
  const { api, meterline, runtime } = await setting({ retryBudgetMs: 500 });
  await api.stop();
  await assert.rejects(meterline.emit("cus_1", "page"), /ECONNREFUSED/);
  assert.deepEqual(runtime.sleeps, [50, 100, 200]);
});

test("access is asked for with the same patience", async () => {
  const { api, meterline } = await setting({ retryBudgetMs: 300 });
  api.faults.push({ status: 503 }, "reset");
  const access = await meterline.checkAccess("cus_suspended");
  assert.equal(access.allowed, false);
  assert.equal(access.status, "suspended");
  assert.equal(api.requests.length, 3);

  for (let i = 0; i < 9; i++) api.faults.push({ status: 503 });
  const error = await meterline.checkAccess("cus_1").catch((error: unknown) => error);
  assert.ok(error instanceof Unavailable && error.retryable);
  api.faults.length = 0;
  api.faults.push({ status: 403 });
  await assert.rejects(meterline.checkAccess("cus_1"), Refused);
  await assert.rejects(meterline.checkAccess("../usage"), InvalidUsage);
});

test("who asks for access says how much is wanted, and of what", async () => {
  const { api, meterline } = await setting();
  await meterline.checkAccess("cus_1", { units: 40 });
  await meterline.checkAccess("cus_1", { units: 40, action: "llm:input" });
  assert.deepEqual(
    api.requests.map(({ path }) => new URL(path, api.url).searchParams.toString()),
    ["units=40", "units=40&action_type=llm%3Ainput"],
  );
  const wrong = [
    { units: 0 },
    { units: 1.5 },
    { units: 1e15 + 1 },
    { units: 1, action: "two words" },
    { action: "page" },
  ];
  for (const options of wrong) {
    await assert.rejects(meterline.checkAccess("cus_1", options), InvalidUsage);
  }
  assert.equal(api.requests.length, 2);
});

test("access says what is left of the limit, whatever version of the API says it", async () => {
  const { api, meterline } = await setting();
  const limitNow = async (spending_limit: unknown) => {
    api.accessMembers = { spending_limit };
    return (await meterline.checkAccess("cus_1")).spendingLimit;
  };
  const whole = {
    units: null,
    amount: "20.00",
    currency: "usd",
    enforcement: "hard",
    thresholds_percent: [50, 80],
    set_at: "2026-01-02T09:00:00Z",
    used_units: 1000,
    used_amount: "12.50",
    used_currency: "usd",
    held_units: 40,
    used_percent: 62,
    left_units: null,
    left_amount: "6.70",
    alerts: [{ threshold_percent: 50, raised_at: "2026-01-31T12:00:01.500Z" }],
  };
  const read = {
    units: null,
    amount: "20.00",
    currency: "usd",
    enforcement: "hard",
    thresholdsPercent: [50, 80],
    setAt: "2026-01-02T09:00:00Z",
    usedUnits: 1000,
    usedAmount: "12.50",
    usedCurrency: "usd",
    heldUnits: 40,
    usedPercent: 62,
    leftUnits: null,
    leftAmount: "6.70",
    alerts: [{ thresholdPercent: 50, raisedAt: "2026-01-31T12:00:01.500Z" }],
  };
  assert.deepEqual(await limitNow(whole), read);
  assert.deepEqual(await limitNow({ ...whole, burst: { units: 5 } }), read, "a later version");
  const { used_currency, held_units, alerts, ...earlier } = whole;
  assert.deepEqual(
    await limitNow(earlier),
    { ...read, usedCurrency: null, heldUnits: null, alerts: [] },
    "an earlier version",
  );
  assert.equal(await limitNow(null), null);
  assert.equal(await limitNow(undefined), null);
});

test("a client that is closed takes nothing more", async () => {
  const { api, meterline } = await setting();
  await meterline.close();
  await assert.rejects(meterline.emit("cus_1", "page"), Closed);
  await assert.rejects(meterline.checkAccess("cus_1"), Closed);
  assert.equal(api.requests.length, 0);
});

test("addresses, keys and settings that cannot be used are refused, and no key is shown", () => {
  const url = "https://meter.example";
  // The last is a key in the address's place.
  for (const wrong of ["", "meter.example", "ftp://meter.example", "mk_secret"]) {
    assert.throws(
      () => new Meterline({ url: wrong, apiKey: "mk_secret" }),
      (error: unknown) => error instanceof InvalidUsage && !inspect(error).includes("mk_s"),
      wrong,
    );
  }
  for (const apiKey of ["", "mk_secret\n", "mk_sécret"]) {
    assert.throws(
      () => new Meterline({ url, apiKey }),
      (error: unknown) => error instanceof InvalidUsage && !inspect(error).includes("mk_s"),
    );
  }
  for (const eventsMax of [0, 101, Number.NaN]) {
    assert.throws(
      () => new Meterline({ url, apiKey: "mk_secret", buffer: { eventsMax } }),
      InvalidUsage,
    );
  }
  const meterline = new Meterline({ url, apiKey: "mk_secret" });
  assert.ok(!inspect(meterline, { depth: 9, showHidden: true }).includes("mk_secret"));
});

test("many go in one request, with an outcome for each", async () => {
  const { api, meterline } = await setting();
  const outcomes = await meterline.emitMany([
    { customer: "cus_1", action: "page", eventId: "a" },
    { customer: "cus_unknown", action: "page", eventId: "b" },
    { customer: "cus_1", action: "page", eventId: "a" },
  ]);
  const [first, refused, repeat] = outcomes;
  assert.ok(!(first instanceof Error) && first?.duplicate === false);
  assert.ok(refused instanceof Refused && refused.eventId === "b");
  assert.ok(!(repeat instanceof Error) && repeat?.duplicate === true);
  assert.equal(api.requests.length, 1);

  const many = Array.from({ length: 250 }, () => ({ customer: "cus_1", action: "page" }));
  assert.equal((await meterline.emitMany(many)).length, 250);
  assert.equal(api.requests.length, 4);
  assert.deepEqual(await meterline.emitMany([]), []);
  await assert.rejects(meterline.emitMany([{ customer: "", action: "page" }]), InvalidUsage);
  assert.equal(api.requests.length, 4);
});

test("a hundred that is refused takes no other with it", async () => {
  const { api, meterline } = await setting();
  api.faults.push({ status: 403, problem: "forbidden" });
  const many = Array.from({ length: 250 }, (_, n) => ({ ...PAGE, eventId: `e${n}` }));
  const outcomes = await meterline.emitMany(many);
  const refused = new Set(api.requests[0]?.events.map(({ event_id }) => event_id));
  assert.equal(api.requests.length, 3);
  outcomes.forEach((outcome, n) => {
    assert.equal(outcome.eventId, `e${n}`);
    assert.equal(outcome instanceof Refused, refused.has(`e${n}`));
    assert.equal(outcome instanceof MeterlineError, refused.has(`e${n}`));
  });
  assert.equal(api.units, 250 - refused.size);
});

test("of a hundred that cannot be read as a whole, each is sent by itself", async () => {
  const { api, meterline } = await setting();
  api.faults.push({ status: 400, problem: "invalid-request" });
  const many = Array.from({ length: 100 }, () => PAGE);
  const outcomes = await meterline.emitMany([
    ...many.slice(1),
    { ...PAGE, customer: "cus_unknown" },
  ]);
  assert.equal(outcomes.filter((outcome) => outcome instanceof MeterlineError).length, 1);
  assert.ok(outcomes.at(-1) instanceof Refused);
  assert.equal(api.requests.length, 101);
  assert.equal(api.units, 99);
});

test("many that meet an outage are each perhaps recorded, and finished under their ids", async () => {
  const { api, meterline } = await setting({ retryBudgetMs: 200 });
  const many = Array.from({ length: 150 }, (_, n) => ({ ...PAGE, eventId: `e${n}` }));
  // Of one hundred the work is done, and no answer comes.
  api.faults.push("lose_answer", ...Array.from({ length: 50 }, () => ({ status: 503 })));
  const outcomes = await meterline.emitMany(many);
  assert.ok(outcomes.every((outcome) => outcome instanceof PerhapsRecorded && outcome.retryable));
  assert.deepEqual(
    outcomes.map(({ eventId }) => eventId),
    many.map(({ eventId }) => eventId),
  );
  const { size } = api.recorded;
  api.faults.length = 0;
  const finished = await meterline.emitMany(many);
  const duplicates = finished.filter((outcome) => "duplicate" in outcome && outcome.duplicate);
  assert.equal(duplicates.length, size);
  assert.equal(api.units, 150);
});
