import assert from "node:assert/strict";
import { test } from "node:test";

import { sameContent, wireEvent } from "../src/event.js";
import { type EmitOptions, eventIdOfJob, InvalidUsage } from "../src/index.js";

/** A page read for a customer. */
function page(options: EmitOptions = {}) {
  return wireEvent({ customer: "cus_1", action: "page", ...options });
}

test("a job's event has the id that it has in every language", () => {
  assert.equal(
    eventIdOfJob("nightly-7", "document_processed"),
    "job-eb32d319a4b1c99165d1c0fdd3153a06eaaf98d7",
  );
  assert.equal(
    eventIdOfJob("Äpfel-日本-🚲", "page_read"),
    "job-954d27c73ab48c79cb3a173ad97371e8d6bad324",
  );
});

test("an event holds what was said, and no time that was not", () => {
  const event = wireEvent({ customer: "cus_1", action: "document_processed", eventId: "a" });
  assert.deepEqual(event, {
    event_id: "a",
    customer_id: "cus_1",
    action_type: "document_processed",
    quantity: 1,
  });
  const timed = page({
    jobId: "j",
    quantity: 3,
    occurredAt: new Date("2026-01-31T12:00:00Z"),
    subscriptionItem: "si_1",
  });
  assert.equal(timed.event_id, eventIdOfJob("j", "page"));
  assert.equal(timed.occurred_at, "2026-01-31T12:00:00.000Z");
  assert.equal(timed.subscription_item_id, "si_1");
});

test("without an id, each call has one of its own", () => {
  const ids = Array.from({ length: 100 }, () => page().event_id);
  assert.equal(new Set(ids).size, 100);
});

test("one time is the same time, however it is written", () => {
  const at = (occurred_at: string | number) => ({ ...page({ eventId: "a" }), occurred_at });
  const times = ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00.000+01:00", 1_769_860_800];
  for (const time of times) {
    assert.ok(sameContent(at("2026-01-31T12:00:00.000Z"), at(time)), String(time));
    assert.ok(!sameContent(at("2026-01-31T12:00:00.001Z"), at(time)), String(time));
    assert.ok(!sameContent(page({ eventId: "a" }), at(time)), String(time));
  }
});

test("an event is the same with and without its reservation", () => {
  const reserved = page({ eventId: "a", reservationId: "run-7" });
  assert.equal(reserved.reservation_id, "run-7");
  assert.ok(sameContent(page({ eventId: "a" }), reserved));
  assert.ok(sameContent(page({ eventId: "a", reservationId: "run-8" }), reserved));
  assert.ok(!sameContent(page({ eventId: "a", quantity: 2 }), reserved));
});

test("what no API would take is refused before anything is sent", () => {
  const wrong: [string, string, EmitOptions][] = [
    ["cus/1", "page", {}],
    ["", "page", {}],
    ["cus_1", "two words", {}],
    ["cus_1", "x".repeat(65), {}],
    ["cus_1", "page", { eventId: "a", jobId: "b" }],
    ["cus_1", "page", { eventId: "" }],
    ["cus_1", "page", { jobId: "" }],
    ["cus_1", "page", { eventId: "\ud800" }],
    ["cus_1", "page", { eventId: "é".repeat(128) }],
    ["cus_1", "page", { occurredAt: new Date(Number.NaN) }],
    ["cus_1", "page", { subscriptionItem: "si 1" }],
    ["cus_1", "page", { reservationId: "nobody's" }],
    ...[0, -1, 1.5, Number.NaN, 1e9 + 1, "3", true].map(
      (quantity): [string, string, EmitOptions] => [
        "cus_1",
        "page",
        { quantity: quantity as number },
      ],
    ),
  ];
  for (const [customer, action, options] of wrong) {
    const what = JSON.stringify([customer, action, options]);
    assert.throws(() => wireEvent({ ...options, customer, action }), InvalidUsage, what);
  }
  assert.ok(page({ eventId: "é".repeat(127), quantity: 1e9 }));
});
