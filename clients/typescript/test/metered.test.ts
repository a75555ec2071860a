import assert from "node:assert/strict";
import { test } from "node:test";

import { AccessDenied, Closed, InvalidUsage, PerhapsRecorded, Unavailable } from "../src/index.js";
import { gate, setting } from "./support/setting.js";

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
  const { meterline } = await setting();
  const mustNotRun = () => assert.fail("it ran");
  await assert.rejects(
    meterline.metered("cus_1", "page", mustNotRun, { quantity: 0 }),
    InvalidUsage,
  );
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
