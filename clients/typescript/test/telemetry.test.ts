import assert from "node:assert/strict";
import { test } from "node:test";

import { context, propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";

import { setting } from "./support/setting.js";

const exporter = new InMemorySpanExporter();
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
trace.setGlobalTracerProvider(provider);
propagation.setGlobalPropagator(new W3CTraceContextPropagator());
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());

test("an emission is a span that says what became of the event, and goes to the API", async () => {
  exporter.reset();
  const { api, meterline } = await setting();
  await meterline.emit("cus_1", "page", { eventId: "a", quantity: 3 });
  const [span] = exporter.getFinishedSpans();
  assert.equal(span?.name, "meterline.emit");
  assert.equal(span?.kind, SpanKind.CLIENT);
  assert.deepEqual(span?.attributes, {
    "meterline.events": 1,
    "meterline.customer_id": "cus_1",
    "meterline.action_type": "page",
    "meterline.event_id": "a",
    "meterline.quantity": 3,
    "meterline.status": "delivered",
    "meterline.duplicates": 0,
  });
  const { traceId } = span?.spanContext() ?? {};
  assert.match(api.requests[0]?.traceparent ?? "", new RegExp(`^00-${traceId}-`));
});

test("a failure is in its span, and many are counted by what became of them", async () => {
  exporter.reset();
  const { meterline } = await setting();
  await meterline.emit("cus_unknown", "page").catch(() => undefined);
  const event = { customer: "cus_1", action: "page" };
  await meterline.emitMany([event, event, { ...event, customer: "cus_unknown" }]);
  const [one, many] = exporter.getFinishedSpans();
  assert.equal(one?.status.code, SpanStatusCode.ERROR);
  assert.equal(one?.attributes["meterline.status"], "refused");
  assert.equal(many?.attributes["meterline.events.delivered"], 2);
  assert.equal(many?.attributes["meterline.events.refused"], 1);
});

test("a question for access is a span", async () => {
  exporter.reset();
  const { meterline } = await setting();
  await meterline.checkAccess("cus_1");
  assert.equal(exporter.getFinishedSpans()[0]?.name, "meterline.check_access");
});

test("a reservation is a span that says what became of it, and its event names it", async () => {
  exporter.reset();
  const { api, meterline } = await setting();
  await meterline.reserve("cus_1", "page", 3, { reservationId: "run-7" });
  await meterline.emit("cus_1", "page", { eventId: "a", reservationId: "run-7" });
  await meterline.release("cus_1", "run-7");
  api.limit = 3;
  await meterline.reserve("cus_1", "page", 3).catch(() => undefined);
  const [held, settling, release, refused] = exporter.getFinishedSpans();
  assert.equal(held?.name, "meterline.reserve");
  assert.deepEqual(held?.attributes, {
    "meterline.customer_id": "cus_1",
    "meterline.action_type": "page",
    "meterline.quantity": 3,
    "meterline.reservation_id": "run-7",
    "meterline.status": "held",
  });
  assert.equal(settling?.attributes["meterline.reservation_id"], "run-7");
  assert.equal(release?.name, "meterline.release");
  assert.equal(refused?.attributes["meterline.status"], "limit_reached");
  assert.equal(refused?.status.code, SpanStatusCode.ERROR);
});
