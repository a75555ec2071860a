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
  assert.ok(sameContent(at("2026-01-31t12:00:00z"), at("2026-01-31 12:00:00-00:00")));
  assert.ok(!sameContent(at("2026-03-02T12:00:00Z"), at("2026-02-30T12:00:00Z")), "no such day");
});

test("an event is the same with and without its reservation", () => {
  const reserved = page({ eventId: "a", reservationId: "run-7" });
  assert.equal(reserved.reservation_id, "run-7");
  assert.ok(sameContent(page({ eventId: "a" }), reserved));
  assert.ok(sameContent(page({ eventId: "a", reservationId: "run-8" }), reserved));
  assert.ok(!sameContent(page({ eventId: "a", quantity: 2 }), reserved));
});

test("a time is taken as a Date, RFC 3339 or unix seconds, from 2000 to 2100", () => {
  const texts = [
    "2026-01-31T12:00:00Z",
    "2026-01-31t12:00:00.123456789z",
    "2026-01-31 12:00:00+05:30",
    "2024-02-29T23:59:59-23:59",
    "2000-01-01T00:00:00Z",
    "2100-01-01T00:00:00Z",
    "2100-01-01T01:00:00+01:00",
  ];
  for (const occurredAt of [...texts, 946_684_800, 4_102_444_800]) {
    assert.equal(page({ occurredAt }).occurred_at, occurredAt);
  }
  const first = new Date("2000-01-01T00:00:00Z");
  assert.equal(page({ occurredAt: first }).occurred_at, "2000-01-01T00:00:00.000Z");
});

test("a time that no API would take is refused by its name, before anything is sent", () => {
  const noTimes = [
    "",
    "yesterday",
    "2026-01-31",
    "2026-01-31T12:00:00",
    "2026-01-31T12:00Z",
    "2026-01-31T12:00:00.Z",
    "2026-01-31T12:00:00+0100",
    "2026-01-31T12:00:00Z\n",
    "2026-02-30T12:00:00Z",
    "2026-13-01T12:00:00Z",
    "2026-01-31T24:00:00Z",
    "2026-01-31T12:00:60Z",
    "2026-01-31T12:00:00+24:00",
    "1769860800",
    1_769_860_800.5,
    Number.NaN,
    new Date(Number.NaN),
    null as unknown as string,
    true as unknown as string,
    { toString: () => "2026-01-31T12:00:00Z" } as string,
  ];
  const outside = [
    "1999-12-31T23:59:59.999Z",
    "2100-01-01T00:00:00.001Z",
    "2100-01-01T00:00:00-00:01",
    "0000-01-01T00:00:00Z",
    946_684_799,
    4_102_444_801,
    // Milliseconds, given as seconds.
    1_769_860_800_000,
    new Date("1999-12-31T23:59:59.999Z"),
    new Date(8_640_000_000_000_000),
  ];
  for (const occurredAt of [...noTimes, ...outside]) {
    const isOutside = outside.includes(occurredAt as string);
    const reason = isOutside ? /occurredAt must lie between/ : /occurredAt must be a valid Date/;
    assert.throws(
      () => page({ eventId: "a", occurredAt }),
      (error) =>
        error instanceof InvalidUsage && error.eventId === "a" && reason.test(error.message),
      String(occurredAt),
    );
  }
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
