import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { inspect } from "node:util";

import {
  AccessDenied,
  Closed,
  InvalidUsage,
  LimitReached,
  Meterline,
  PerhapsRecorded,
  Refused,
  SpoolFailed,
  Unavailable,
} from "../src/index.js";
import { folder, gate, setting } from "./support/setting.js";

test("an action's result comes with its record", async () => {
  const { api, meterline } = await setting();
  const { result, usage } = await meterline.metered("cus_1", "page", async () => "summary", {
    jobId: "a",
  });
  assert.equal(result, "summary");
  assert.equal(usage.status, "delivered");
  assert.equal(api.units, 1);
});

test("an action that throws bills nothing, and its error comes through as it is", async () => {
  const { api, meterline } = await setting();
  const failure = new TypeError("no summary");
  const run = meterline.metered("cus_1", "page", () => Promise.reject(failure));
  assert.equal(await run.catch((error: unknown) => error), failure);
  assert.equal(api.requests.length, 0);
});

test("the same job again is billed once", async () => {
  const { api, meterline } = await setting();
  const run = () => meterline.metered("cus_1", "page", () => 7, { jobId: "a" });
  assert.equal((await run()).usage.duplicate, false);
  assert.deepEqual((await run()).result, 7);
  assert.equal(api.units, 1);
});

test("a result is withheld while its record is in doubt", async () => {
  const { api, meterline } = await setting({ retryBudgetMs: 0 });
  api.faults.push("lose_answer");
  const run = () => meterline.metered("cus_1", "page", () => "summary", { jobId: "a" });
  const error = await run().catch((error: unknown) => error);
  assert.ok(error instanceof PerhapsRecorded);
  assert.ok(!JSON.stringify(error).includes("summary"));
  assert.equal((await run()).usage.duplicate, true);
  assert.equal(api.units, 1);
});

test("whoever is told perhaps finishes with what the error carries, and no log shows it", async () => {
  const { api, meterline } = await setting({ retryBudgetMs: 0 });
  api.faults.push("lose_answer");
  const pages = () => ["one", "two"];
  const error = await meterline
    .metered("cus_1", "page", pages, { quantity: (pages) => pages.length })
    .catch((error: unknown) => error);
  assert.ok(error instanceof PerhapsRecorded && error.event);
  assert.deepEqual(error.result, ["one", "two"]);
  assert.ok(!inspect(error, { depth: 9 }).includes("two"));
  const [finished] = await meterline.emitMany([error.event]);
  assert.ok(!(finished instanceof Error) && finished?.duplicate === true);
  assert.equal(finished.quantity, 2);
  assert.equal(api.units, 2);
});

test("an event that could not be spooled is recorded elsewhere as it is, and settles its hold", async () => {
  const spoolDir = join(await folder(), "file");
  await writeFile(spoolDir, "");
  const { api, meterline } = await setting({ spoolDir });
  const said = { eventId: "a", occurredAt: "2026-01-31T12:00:00Z", subscriptionItem: "si_1" };
  const error = await meterline
    .metered("cus_1", "page", () => 7, { ...said, quantity: (pages) => pages, reserve: 9 })
    .catch((error: unknown) => error);
  assert.ok(error instanceof SpoolFailed && error.event);
  assert.equal(error.result, 7);
  const { reservationId } = error;
  const event = { customer: "cus_1", action: "page", quantity: 7, ...said, reservationId };
  assert.deepEqual(error.event, event);
  assert.equal(api.heldUnits, 9);
  const elsewhere = new Meterline({ url: api.url, apiKey: "mk_test" });
  await elsewhere.emitMany([error.event]);
  assert.deepEqual([api.units, api.heldUnits], [7, 0]);
});

test("units that cannot be reckoned leave the result, and no event", async () => {
  const { api, meterline } = await setting();
  const failure = new RangeError("no pages");
  const failing = () => {
    throw failure;
  };
  for (const quantity of [() => 0, () => 1.5, failing]) {
    const error = await meterline
      .metered("cus_1", "page", () => "summary", { eventId: "a", quantity })
      .catch((error: unknown) => error);
    assert.ok(error instanceof InvalidUsage);
    assert.deepEqual([error.eventId, error.event, error.result], ["a", undefined, "summary"]);
    if (quantity === failing) assert.equal(error.cause, failure);
  }
  assert.equal(api.requests.length, 0);
});

test("units may be reckoned from the result", async () => {
  const { api, meterline } = await setting();
  const pages = () => ["one", "two", "three"];
  await meterline.metered("cus_1", "page", pages, { quantity: (pages) => pages.length });
  assert.equal(api.units, 3);
  const none = meterline.metered("cus_1", "page", () => [], { quantity: (pages) => pages.length });
  await assert.rejects(none, InvalidUsage);
  assert.equal(api.units, 3);
});

test("who may not act is not worked for", async () => {
  const { api, meterline } = await setting({ retryBudgetMs: 0 });
  const mustNotRun = () => assert.fail("it ran");
  const options = { jobId: "a", checkAccess: true };
  const denied = await meterline
    .metered("cus_suspended", "page", mustNotRun, options)
    .catch((error: unknown) => error);
  assert.ok(denied instanceof AccessDenied);
  assert.equal(denied.access.status, "suspended");
  assert.ok(denied.eventId?.startsWith("job-"));

  api.faults.push({ status: 503 });
  const unknown = meterline.metered("cus_1", "page", mustNotRun, options);
  await assert.rejects(unknown, Unavailable);
  assert.equal(api.recorded.size, 0);
});

test("wrong arguments are found before the action is run", async () => {
  const { api, meterline } = await setting();
  const mustNotRun = () => assert.fail("it ran");
  const wrong = [{ quantity: 0 }, { reserve: 0 }, { reserve: 2, reservationId: "run-7" }];
  for (const options of wrong) {
    await assert.rejects(meterline.metered("cus_1", "page", mustNotRun, options), InvalidUsage);
  }
  assert.equal(api.requests.length, 0);
});

test("an action holds what it may use before it is run, and its event settles it", async () => {
  const { api, meterline } = await setting();
  const heldMeanwhile = async () => api.heldUnits;
  const options = { jobId: "a", quantity: 4, reserve: 9, checkAccess: true };
  const { result, usage } = await meterline.metered("cus_1", "page", heldMeanwhile, options);
  assert.equal(result, 9);
  assert.equal(usage.reservation, "settled");
  assert.equal(api.heldUnits, 0);
  assert.equal(api.units, 4);
  assert.deepEqual(
    api.requests.map(({ path }) => path),
    ["/v1/customers/cus_1/access", "/v1/usage/reservations", "/v1/usage"],
  );
});

test("an action whose units are not held is not run", async () => {
  const { api, meterline } = await setting({ retryBudgetMs: 0 });
  const mustNotRun = () => assert.fail("it ran");
  const metered = () =>
    meterline
      .metered("cus_1", "page", mustNotRun, { eventId: "a", reserve: 9 })
      .catch((error: unknown) => error);
  api.limit = 8;
  const reached = await metered();
  assert.ok(reached instanceof LimitReached && reached.leftUnits === 8);
  assert.equal(reached.eventId, "a");
  api.faults.push({ status: 503 });
  const unknown = await metered();
  assert.ok(unknown instanceof Unavailable && unknown.reservationId);
  assert.equal(unknown.eventId, "a");
  assert.equal(api.requests.length, 2);
});

test("an action that throws gives back what it had held, in one attempt, and its error is the same", async () => {
  const { api, meterline, backgroundErrors } = await setting();
  const failure = new TypeError("no summary");
  const failing = () => Promise.reject(failure);
  const metered = (run: () => unknown) =>
    meterline
      .metered("cus_1", "page", run, { reserve: 9, quantity: () => Number.NaN })
      .catch((error: unknown) => error);
  assert.equal(await metered(failing), failure);
  assert.equal(api.heldUnits, 0);

  // Units that cannot be reckoned are no event, either.
  assert.ok((await metered(() => 1)) instanceof InvalidUsage);
  assert.equal(api.heldUnits, 0);

  const { length } = api.requests;
  const failingSilently = async () => {
    api.faults.push("reset");
    throw failure;
  };
  assert.equal(await metered(failingSilently), failure);
  assert.equal(api.requests.length, length + 2);
  assert.equal(api.heldUnits, 9);
  const [untold] = backgroundErrors;
  assert.ok(untold instanceof Unavailable && untold.reservationId);
});

test("an event that is refused gives back what it had held, and goes on without", async () => {
  const { api, meterline } = await setting();
  const metered = (options: object) =>
    meterline
      .metered("cus_unknown", "page", () => "summary", { ...options, eventId: "a" })
      .catch((error: unknown) => error);
  const error = await metered({ reserve: 9 });
  assert.ok(error instanceof Refused && error.event);
  assert.equal(error.result, "summary");
  assert.equal(api.heldUnits, 0);
  assert.equal(error.event.eventId, "a");
  assert.equal(error.event.reservationId, undefined);

  // What its caller holds is its caller's.
  await meterline.reserve("cus_unknown", "page", 4, { reservationId: "run-1" });
  const own = await metered({ reservationId: "run-1" });
  assert.ok(own instanceof Refused && own.event?.reservationId === "run-1");
  assert.equal(api.heldUnits, 4);
});

test("an event that is refused for its key settles what it holds once the key is mended", async () => {
  const { api, meterline } = await setting();
  const run = async () => void api.faults.push({ status: 403 });
  const error = await meterline
    .metered("cus_1", "page", run, { reserve: 9 })
    .catch((error: unknown) => error);
  assert.ok(error instanceof Refused && error.event);
  assert.equal(api.heldUnits, 9);
  await meterline.emitMany([error.event]);
  assert.equal(api.heldUnits, 0);
});

test("while a record is in doubt, its units stay held", async () => {
  const { api, meterline } = await setting({ retryBudgetMs: 0 });
  const run = async () => void api.faults.push("reset");
  const error = await meterline
    .metered("cus_1", "page", run, { reserve: 9 })
    .catch((error: unknown) => error);
  assert.ok(error instanceof PerhapsRecorded);
  assert.equal(api.heldUnits, 9);
  const { eventId, reservationId } = error;
  const settled = await meterline.emit("cus_1", "page", { eventId, reservationId });
  assert.equal(settled.reservation, "settled");
});

test("closing waits for an action that runs, sends its event at once, and lets no other begin", async () => {
  const { api, meterline } = await setting({ buffer: { waitMs: 1_000_000 } });
  const [begun, ending] = [gate(), gate()];
  const told: string[] = [];
  const running = meterline
    .metered("cus_1", "page", async () => {
      begun.open();
      await ending.passed;
      // It waits for what is sent, and not for its own caller.
      await meterline.flush();
      return "summary";
    })
    .then(({ result }) => told.push(result));
  await begun.passed;
  const closing = meterline.close().then(() => told.push("closed"));
  const mustNotRun = () => assert.fail("it ran");
  await assert.rejects(meterline.metered("cus_1", "page", mustNotRun), Closed);
  ending.open();
  await Promise.all([running, closing]);
  assert.deepEqual(told, ["summary", "closed"]);
  assert.equal(api.units, 1);
});

test("an action that begins by asking for access is under way, too", async () => {
  const { api, meterline } = await setting();
  const [asked, answering] = [gate(), gate()];
  api.beforeAnswer = async () => {
    asked.open();
    await answering.passed;
  };
  const running = meterline.metered("cus_1", "page", () => 7, { checkAccess: true });
  await asked.passed;
  const closing = meterline.close();
  answering.open();
  assert.equal((await running).result, 7);
  await closing;
  assert.equal(api.units, 1);
});
