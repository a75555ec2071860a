import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Closed,
  InvalidUsage,
  LimitReached,
  MeterlineError,
  Refused,
  type ReserveOptions,
  Unavailable,
} from "../src/index.js";
import { setting } from "./support/setting.js";

/** The error that `call` ends with. */
async function errorOf(call: Promise<unknown>): Promise<MeterlineError> {
  const error = await call.then(
    () => assert.fail("it succeeded"),
    (error: unknown) => error,
  );
  assert.ok(error instanceof MeterlineError);
  return error;
}

test("units are held until an event settles them", async () => {
  const { api, meterline } = await setting();
  const reservation = await meterline.reserve("cus_1", "page", 40, {
    reservationId: "run-7",
    expiresInS: 60,
  });
  assert.deepEqual(reservation, {
    reservationId: "run-7",
    status: "held",
    quantity: 40,
    expiresAt: "2026-01-31T12:05:00Z",
  });
  assert.equal(api.reserved.get("cus_1\nrun-7")?.expires_in_s, 60);
  assert.equal(api.heldUnits, 40);
  const usage = { quantity: 38, reservationId: "run-7" };
  assert.equal((await meterline.emit("cus_1", "page", usage)).reservation, "settled");
  assert.equal(api.heldUnits, 0);
  assert.equal(await meterline.release("cus_1", "run-7"), "settled");
});

test("each of many events, and of a batch, is told of its own reservation", async () => {
  const { api, meterline } = await setting({ buffer: { eventsMax: 3, waitMs: 1_000_000 } });
  for (const reservationId of ["a", "b"]) {
    await meterline.reserve("cus_1", "page", 1, { reservationId });
  }
  const event = { customer: "cus_1", action: "page" };
  const outcomes = await meterline.emitMany([
    { ...event, reservationId: "a" },
    { ...event, reservationId: "unheard-of" },
    event,
  ]);
  assert.deepEqual(
    outcomes.map((outcome) => "reservation" in outcome && outcome.reservation),
    ["settled", "unknown", null],
  );
  assert.equal(api.heldUnits, 1);
});

test("an answer that is lost, cut off or late holds nothing twice", async () => {
  const { api, meterline, runtime } = await setting({ requestTimeoutMs: 300 });
  api.limit = 60;
  api.faults.push("lose_answer", "cut_answer", "reset", { statusAfter: 502 }, "hang");
  api.faults.push({ status: 429, retryAfterS: 7 });
  const { reservationId } = await meterline.reserve("cus_1", "page", 60);
  assert.deepEqual([...api.reserved.keys()], [`cus_1\n${reservationId}`]);
  assert.equal(api.heldUnits, 60);
  assert.equal(api.requests.length, 7);
  assert.deepEqual(runtime.sleeps, [50, 100, 200, 400, 800, 8600]);
});

test("an answer about another reservation, or one that is held no more, proves nothing", async () => {
  const { api, meterline } = await setting();
  const said = {
    reservation_id: "a",
    customer_id: "cus_1",
    status: "held",
    quantity: 1,
    expires_at: "2026-01-31T12:05:00Z",
  };
  const others = [{ reservation_id: "b" }, { customer_id: "cus_2" }, { status: "settled" }];
  for (const other of others) api.faults.push({ says: { ...said, ...other } });
  api.faults.push({ says: {} }, { says: [] });
  await meterline.reserve("cus_1", "page", 1, { reservationId: "a" });
  assert.equal(api.requests.length, 6);
  api.faults.push({ says: { ...said, reservation_id: "b", status: "settled" } });
  assert.equal(await meterline.release("cus_1", "a"), "released");
});

test("more than is left is not held, and not asked for again", async () => {
  const { api, meterline } = await setting();
  api.limit = 10;
  await meterline.reserve("cus_1", "page", 8, { reservationId: "first" });
  const error = await errorOf(meterline.reserve("cus_1", "page", 3, { reservationId: "second" }));
  assert.ok(error instanceof LimitReached);
  assert.equal(error.kind, "limit_reached");
  assert.equal(error.retryable, false);
  assert.equal(error.reservationId, "second");
  assert.equal(error.type, "urn:meterline:problem:limit-reached");
  assert.equal(error.leftUnits, 2);
  assert.equal(error.leftAmount, undefined);
  assert.equal(api.requests.length, 2);
  for (let time = 0; time < 2; time++) {
    assert.equal(await meterline.release("cus_1", "first"), "released");
  }
  await meterline.reserve("cus_1", "page", 3, { reservationId: "second" });
  assert.equal(api.heldUnits, 3);
});

test("without a clear answer the units are perhaps held, and asked for again under their id", async () => {
  const { api, meterline, runtime } = await setting({ retryBudgetMs: 1000 });
  for (let i = 0; i < 100; i++) api.faults.push("lose_answer");
  const error = await errorOf(meterline.reserve("cus_1", "page", 7));
  assert.ok(error instanceof Unavailable);
  assert.equal(error.retryable, true);
  assert.ok(runtime.nowMs() <= 1000);
  assert.equal(api.heldUnits, 7);
  api.faults.length = 0;
  const { reservationId } = error;
  await meterline.reserve("cus_1", "page", 7, { reservationId });
  assert.equal(api.heldUnits, 7);

  for (let i = 0; i < 100; i++) api.faults.push({ status: 503 });
  const unknown = await errorOf(meterline.release("cus_1", String(reservationId)));
  assert.ok(unknown instanceof Unavailable);
  assert.equal(unknown.reservationId, reservationId);
});

test("a refusal is an error at once, and names the reservation", async () => {
  const { api, meterline } = await setting();
  const options = { reservationId: "a" };
  await meterline.reserve("cus_1", "page", 2, options);
  const conflict = await errorOf(meterline.reserve("cus_1", "page", 3, options));
  assert.ok(conflict instanceof Refused);
  assert.equal(conflict.reservationId, "a");
  assert.equal(conflict.type, "urn:meterline:problem:conflict");
  assert.equal(conflict.problem?.reservationStatus, "held");
  api.faults.push({ status: 402, problem: "card-declined" });
  assert.ok((await errorOf(meterline.reserve("cus_1", "page", 1))) instanceof Refused);
  const nobodys = await errorOf(meterline.release("cus_1", "unheard-of"));
  assert.ok(nobodys instanceof Refused);
  assert.equal(nobodys.reservationId, "unheard-of");
  assert.equal(api.requests.length, 4);
});

test("a refusal after a lost answer says nothing, unless it speaks of the reservation itself", async () => {
  const { api, meterline } = await setting();
  const reserve = () => errorOf(meterline.reserve("cus_1", "page", 1));
  api.faults.push("lose_answer", { status: 403 });
  const perhaps = await reserve();
  assert.ok(perhaps instanceof Unavailable);
  assert.equal(perhaps.problem?.status, 403);
  api.faults.push({ status: 500 }, { status: 402, problem: "limit-reached" });
  assert.ok((await reserve()) instanceof LimitReached);
  api.faults.push({ status: 500 }, { status: 409, problem: "conflict" });
  assert.ok((await reserve()) instanceof Refused);
  api.faults.push({ status: 429 }, { status: 403 });
  assert.ok((await reserve()) instanceof Refused);

  const release = () => errorOf(meterline.release("cus_1", "a"));
  api.faults.push("lose_answer", { status: 403 });
  assert.ok((await release()) instanceof Unavailable);
  api.faults.push("lose_answer", { status: 404 });
  assert.ok((await release()) instanceof Refused);
});

test("what no API would take is refused before anything is sent", async () => {
  const { api, meterline } = await setting();
  const wrong: [string, string, number, ReserveOptions][] = [
    ["cus/1", "page", 1, {}],
    ["cus_1", "two words", 1, {}],
    ...[0, 1.5, 1e9 + 1].map((quantity): [string, string, number, ReserveOptions] => [
      "cus_1",
      "page",
      quantity,
      {},
    ]),
    ...[0, 1.5, 3601].map((expiresInS): [string, string, number, ReserveOptions] => [
      "cus_1",
      "page",
      1,
      { expiresInS },
    ]),
  ];
  for (const [customer, action, quantity, options] of wrong) {
    const error = await errorOf(meterline.reserve(customer, action, quantity, options));
    assert.ok(error instanceof InvalidUsage && error.reservationId, String(error));
  }
  for (const reservationId of ["", ".", "..", "a/b", "ä", "a\n", "x".repeat(129)]) {
    const reserved = errorOf(meterline.reserve("cus_1", "page", 1, { reservationId }));
    assert.ok((await reserved) instanceof InvalidUsage, reservationId);
    const released = errorOf(meterline.release("cus_1", reservationId));
    assert.ok((await released) instanceof InvalidUsage, reservationId);
  }
  assert.equal(api.requests.length, 0);
  for (const reservationId of ["...", "A.b_c~d:e-f", "x".repeat(128)]) {
    await meterline.reserve("cus_1", "page", 1, { reservationId });
    assert.equal(await meterline.release("cus_1", reservationId), "released");
  }
});

test("a client that is closed holds nothing more", async () => {
  const { api, meterline } = await setting();
  await meterline.close();
  const options = { reservationId: "a" };
  const error = await errorOf(meterline.reserve("cus_1", "page", 1, options));
  assert.ok(error instanceof Closed);
  assert.equal(error.reservationId, "a");
  assert.ok((await errorOf(meterline.release("cus_1", "a"))) instanceof Closed);
  assert.equal(api.requests.length, 0);
});
