import assert from "node:assert/strict";
import { test } from "node:test";

import { AccessDenied, PerhapsRecorded, Refused } from "../src/index.js";
import { FakeMeterline } from "../src/testing.js";

test("it records as the API does: an id once, and one content of it", async () => {
  const fake = new FakeMeterline();
  const meterline = fake.client();
  assert.equal((await meterline.emit("cus_1", "page", { jobId: "a" })).duplicate, false);
  assert.equal((await meterline.emit("cus_1", "page", { jobId: "a" })).duplicate, true);
  const other = meterline.emit("cus_1", "page", { jobId: "a", quantity: 2 });
  await assert.rejects(other, Refused);
  await meterline.metered("cus_1", "search", () => 1, { quantity: 5, eventId: "s" });
  await meterline.emitMany([
    { customer: "cus_1", action: "search", quantity: 5, eventId: "s" },
    { customer: "cus_2", action: "search", eventId: "s" },
  ]);
  assert.equal(fake.units("cus_1"), 6);
  assert.equal(fake.units("cus_1", "search"), 5);
  assert.deepEqual(fake.events.map(({ customer, eventId }) => [customer, eventId]).slice(1), [
    ["cus_1", "s"],
    ["cus_2", "s"],
  ]);
});

test("it fails, refuses and denies as it is told, and the client in front of it is the real one", async () => {
  const fake = new FakeMeterline();
  const meterline = fake.client();
  fake.drop();
  fake.fail(503);
  assert.equal((await meterline.emit("cus_1", "page")).status, "delivered");
  fake.fail();
  const impatient = fake.client({ retryBudgetMs: 0 });
  await assert.rejects(impatient.emit("cus_1", "page"), PerhapsRecorded);
  fake.refuse("rejected", 422);
  await assert.rejects(meterline.emit("cus_1", "page"), { type: "urn:meterline:problem:rejected" });
  assert.equal(fake.units("cus_1"), 1);
});

test("who is denied is not worked for", async () => {
  const fake = new FakeMeterline();
  fake.deny("cus_1");
  const denied = fake.client().metered("cus_1", "page", () => 1, { checkAccess: true });
  await assert.rejects(denied, AccessDenied);
  assert.equal(fake.events.length, 0);
});
