import assert from "node:assert/strict";
import { test } from "node:test";

import { AccessDenied, LimitReached, PerhapsRecorded, Refused } from "../src/index.js";
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

test("it holds no more than a limit leaves, and what is held is settled once", async () => {
  const fake = new FakeMeterline();
  const meterline = fake.client();
  fake.limit("cus_1", 10);
  const reservation = await meterline.reserve("cus_1", "page", 8, { reservationId: "run-1" });
  assert.equal(reservation.status, "held");
  assert.deepEqual(
    await meterline.reserve("cus_1", "page", 8, { reservationId: "run-1" }),
    reservation,
  );
  assert.equal(fake.heldUnits("cus_1"), 8);
  const more = await meterline.reserve("cus_1", "page", 3).catch((error: unknown) => error);
  assert.ok(more instanceof LimitReached && more.leftUnits === 2);
  const other = meterline.reserve("cus_1", "page", 1, { reservationId: "run-1" });
  await assert.rejects(other, Refused);

  const settling = { eventId: "a", quantity: 5, reservationId: "run-1" };
  assert.equal((await meterline.emit("cus_1", "page", settling)).reservation, "settled");
  const { reservationId, ...repeat } = settling;
  const { duplicate, reservation: again } = await meterline.emit("cus_1", "page", repeat);
  assert.deepEqual([duplicate, again], [true, "settled"]);
  assert.equal(fake.heldUnits("cus_1"), 0);
  assert.equal(fake.events[0]?.reservationId, "run-1");
  const late = await meterline.emit("cus_1", "page", { reservationId });
  assert.equal(late.reservation, "settled_before");
  assert.equal(await meterline.release("cus_1", "run-1"), "settled");
  assert.equal(fake.units("cus_1"), 6);
});

test("what is held ends by being given back, or when the test says that its time is over", async () => {
  const fake = new FakeMeterline();
  const meterline = fake.client();
  await meterline.reserve("cus_1", "page", 8, { reservationId: "run-1" });
  await meterline.reserve("cus_1", "page", 8, { reservationId: "run-2" });
  fake.limit("cus_1", 10);
  await assert.rejects(meterline.reserve("cus_1", "page", 1), LimitReached);
  assert.equal(await meterline.release("cus_1", "run-1"), "released");
  fake.expire("cus_1", "run-2");
  assert.throws(() => fake.expire("cus_2", "run-2"), /cus_2 has no reservation run-2/);
  assert.equal(await meterline.release("cus_1", "run-2"), "expired");
  const emit = (reservationId: string) => meterline.emit("cus_1", "page", { reservationId });
  assert.equal((await emit("run-1")).reservation, "released");
  assert.equal((await emit("run-2")).reservation, "expired");
  assert.equal((await emit("unheard-of")).reservation, "unknown");
  await assert.rejects(meterline.release("cus_1", "unheard-of"), Refused);
  const ended = await meterline
    .reserve("cus_1", "page", 8, { reservationId: "run-1" })
    .catch((error: unknown) => error);
  assert.ok(ended instanceof Refused && ended.problem?.reservationStatus === "released");
});

test("access is by the limit, too, and a metered action gives back what it did not use", async () => {
  const fake = new FakeMeterline();
  const meterline = fake.client();
  assert.equal((await meterline.checkAccess("cus_1")).spendingLimit, null);
  fake.limit("cus_1", 10);
  assert.equal((await meterline.checkAccess("cus_1", { units: 10 })).allowed, true);
  assert.equal((await meterline.checkAccess("cus_1", { units: 11 })).allowed, false);
  const failing = () => Promise.reject(new Error("no summary"));
  await assert.rejects(meterline.metered("cus_1", "page", failing, { reserve: 10 }), /no summary/);
  await meterline.metered("cus_1", "page", () => 1, { reserve: 10, quantity: 4 });
  await meterline.reserve("cus_1", "page", 6);
  const access = await meterline.checkAccess("cus_1");
  assert.equal(access.allowed, false);
  assert.equal(access.limit, 10);
  const { usedUnits, heldUnits, leftUnits, usedPercent } = access.spendingLimit ?? {};
  assert.deepEqual([usedUnits, heldUnits, leftUnits, usedPercent], [4, 6, 0, 40]);
  fake.limit("cus_1", null);
  assert.equal((await meterline.checkAccess("cus_1", { units: 11 })).allowed, true);
});
