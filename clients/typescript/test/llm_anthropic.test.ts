import assert from "node:assert/strict";
import { after, test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";

import { AccessDenied, Closed, InvalidUsage } from "../src/index.js";
import {
  type MeterOptions,
  meterAnthropic,
  UnreportedUsage,
  UsageNotRecorded,
} from "../src/llm/index.js";
import { FakeMeterline } from "../src/testing.js";
import { collectGarbage } from "./support/garbage.js";
import { ModelServer, named } from "./support/models.js";
import { setting as apiSetting, gate } from "./support/setting.js";

const MODEL = "claude-haiku-4-5";
const REQUEST = {
  model: MODEL,
  max_tokens: 100,
  messages: [{ role: "user", content: "Hello" }],
} satisfies Anthropic.MessageCreateParams;

async function setting(options: MeterOptions = {}) {
  const server = await ModelServer.start();
  const fake = new FakeMeterline();
  const backgroundErrors: Error[] = [];
  const onBackgroundError = (error: Error) => void backgroundErrors.push(error);
  const meterline = fake.client({ onBackgroundError });
  const plain = new Anthropic({ apiKey: "any", baseURL: server.url, maxRetries: 2 });
  const anthropic = meterAnthropic(plain, meterline, "cus_1", options);
  after(() => server.stop());
  return { server, fake, meterline, anthropic, backgroundErrors };
}

/** What was recorded, as `kind: tokens` by response id. */
function recorded(fake: FakeMeterline): Record<string, number> {
  return Object.fromEntries(fake.events.map((event) => [event.eventId, event.quantity]));
}

function message(id: string, usage: object, content: object[] = [{ type: "text", text: "Hi" }]) {
  const stop_reason = content.some((block) => "input" in block) ? "tool_use" : "end_turn";
  return {
    id,
    type: "message",
    role: "assistant",
    model: MODEL,
    content,
    stop_reason,
    stop_sequence: null,
    usage,
  };
}

/** The events of a streamed message that ends with `output` tokens, and what else it used. */
function streamed(id: string, usage: object, output: number, more: object = {}): string[] {
  const start = { ...message(id, { output_tokens: 1, ...usage }, []), stop_reason: null };
  const delta = { type: "content_block_delta", index: 0 };
  return [
    named({ type: "message_start", message: start }),
    named({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } }),
    named({ type: "ping" }),
    named({ ...delta, delta: { type: "text_delta", text: "Grüße, " } }),
    named({ ...delta, delta: { type: "text_delta", text: "世界 🚲" } }),
    named({ type: "content_block_stop", index: 0 }),
    named({
      type: "message_delta",
      delta: { stop_reason: "end_turn", stop_sequence: null },
      usage: { output_tokens: output, ...more },
    }),
    named({ type: "message_stop" }),
  ];
}

/** What an answer is, of which nothing else is looked at, nor held any more. */
async function contentType(created: { asResponse(): Promise<Response> }): Promise<string | null> {
  const { headers } = await created.asResponse();
  return headers.get("content-type");
}

function fail(message: string): never {
  throw new RangeError(message);
}

test("a message is billed by kinds of tokens that do not overlap", async () => {
  const { server, fake, anthropic } = await setting();
  const usage = {
    input_tokens: 10,
    cache_read_input_tokens: 200,
    cache_creation_input_tokens: 30,
    output_tokens: 4,
  };
  server.says.push({ status: 200, body: message("msg_1", usage) });
  const answer = await anthropic.messages.create(REQUEST);
  assert.deepEqual(answer.content, [{ type: "text", text: "Hi" }]);
  assert.deepEqual(recorded(fake), {
    "msg_1:input": 10,
    "msg_1:output": 4,
    "msg_1:cache_read": 200,
    "msg_1:cache_write": 30,
  });
  assert.equal(fake.units("cus_1", "llm.cache_read"), 200);
});

test("the summary of a long context is billed, too, and nothing that the counts have in them", async () => {
  const { server, fake, anthropic } = await setting();
  const iterations = [
    { type: "compaction", input_tokens: 1000, output_tokens: 50, cache_read_input_tokens: 300 },
    { type: "message", input_tokens: 10, output_tokens: 4, cache_read_input_tokens: 0 },
  ];
  server.says.push(
    { status: 200, body: message("msg_1", { input_tokens: 10, output_tokens: 4, iterations }) },
    { events: streamed("msg_2", { input_tokens: 10, iterations: null }, 4, { iterations }) },
  );
  await anthropic.beta.messages.create(REQUEST);
  for await (const _ of await anthropic.beta.messages.create({ ...REQUEST, stream: true }));
  assert.deepEqual(
    Object.entries(recorded(fake)),
    ["msg_1", "msg_2"].flatMap((id) => [
      [`${id}:input`, 1010],
      [`${id}:output`, 54],
      [`${id}:cache_read`, 300],
    ]),
  );
});

test("an advisor is billed as the model that it is", async () => {
  const { server, fake, anthropic } = await setting();
  const advice = (model: string, output_tokens: number) => {
    return { type: "advisor_message", model, input_tokens: 800, output_tokens };
  };
  const iterations = [advice("wise", 500), advice("wise", 20), advice("wiser", 3)];
  server.says.push(
    { status: 200, body: message("msg_1", { input_tokens: 10, output_tokens: 4, iterations }) },
    { events: streamed("msg_2", { input_tokens: 10 }, 4, { iterations }) },
  );
  await anthropic.beta.messages.create(REQUEST);
  for await (const _ of await anthropic.beta.messages.create({ ...REQUEST, stream: true }));
  assert.deepEqual(
    Object.entries(recorded(fake)),
    ["msg_1", "msg_2"].flatMap((id) => [
      [`${id}:input`, 10],
      [`${id}:output`, 4],
      [`${id}:advisor:wise:input`, 1600],
      [`${id}:advisor:wise:output`, 520],
      [`${id}:advisor:wiser:input`, 800],
      [`${id}:advisor:wiser:output`, 3],
    ]),
  );
});

test("an answer without an id is not billed as one with others of its kind", async () => {
  const { server, fake, anthropic } = await setting();
  server.says.push(
    { status: 200, body: message("", { input_tokens: 3, output_tokens: 4 }) },
    { events: streamed("", { input_tokens: 3 }, 4) },
  );
  const unreported = (error: unknown) =>
    error instanceof UnreportedUsage && /no id.* 3 tokens of input and 4/.test(error.message);
  await assert.rejects(anthropic.messages.create(REQUEST).then(), unreported);
  const stream = await anthropic.messages.create({ ...REQUEST, stream: true });
  await assert.rejects(async () => {
    for await (const _ of stream);
  }, unreported);
  assert.equal(fake.events.length, 0);
});

test("the use of a tool is two messages, each billed", async () => {
  const { server, fake, anthropic } = await setting();
  const call = { type: "tool_use", id: "toolu_1", name: "weather", input: { city: "Oslo" } };
  server.says.push(
    { status: 200, body: message("msg_1", { input_tokens: 50, output_tokens: 9 }, [call]) },
    { status: 200, body: message("msg_2", { input_tokens: 70, output_tokens: 5 }) },
  );
  const first = await anthropic.messages.create(REQUEST);
  assert.equal(first.stop_reason, "tool_use");
  await anthropic.messages.create(REQUEST);
  assert.deepEqual(recorded(fake), {
    "msg_1:input": 50,
    "msg_1:output": 9,
    "msg_2:input": 70,
    "msg_2:output": 5,
  });
});

test("a stream is handed out whole, and its last counts are billed", async () => {
  const { server, fake, anthropic, backgroundErrors } = await setting();
  const usage = { input_tokens: 10, cache_read_input_tokens: 7 };
  server.says.push({ events: streamed("msg_1", usage, 42) });
  let text = "";
  for await (const event of await anthropic.messages.create({ ...REQUEST, stream: true })) {
    if (event.type === "content_block_delta" && event.delta.type === "text_delta") {
      text += event.delta.text;
      assert.equal(fake.events.length, 0, "text comes before the bill");
    }
  }
  assert.equal(text, "Grüße, 世界 🚲");
  assert.deepEqual(recorded(fake), {
    "msg_1:input": 10,
    "msg_1:output": 42,
    "msg_1:cache_read": 7,
  });
  assert.deepEqual(backgroundErrors, []);
});

test("the SDK's helper for streams is billed the same", async () => {
  const { server, fake, anthropic } = await setting();
  server.says.push({ events: streamed("msg_1", { input_tokens: 3 }, 5) });
  const final = await anthropic.messages.stream(REQUEST).finalMessage();
  assert.equal(final.usage.output_tokens, 5);
  assert.deepEqual(recorded(fake), { "msg_1:input": 3, "msg_1:output": 5 });
});

test("a stream that is left in the middle is billed for what it reported, and says so", async () => {
  const { server, fake, meterline, anthropic, backgroundErrors } = await setting();
  const before = gate();
  server.says.push({
    events: streamed("msg_1", { input_tokens: 10 }, 42),
    before: async (index) => {
      if (index === 4) await before.passed;
    },
  });
  for await (const event of await anthropic.messages.create({ ...REQUEST, stream: true })) {
    if (event.type === "content_block_delta") break;
  }
  await meterline.flush();
  before.open();
  assert.deepEqual(recorded(fake), { "msg_1:input": 10, "msg_1:output": 1 });
  const [error] = backgroundErrors;
  assert.ok(error instanceof UnreportedUsage);
  assert.match(error.message, /msg_1 .* 10 tokens of input and 1 of output/);
});

test("a stream that is left when its text is over is billed whole", async () => {
  const { server, fake, meterline, anthropic, backgroundErrors } = await setting();
  server.says.push({ events: streamed("msg_1", { input_tokens: 10 }, 42) });
  for await (const event of await anthropic.messages.create({ ...REQUEST, stream: true })) {
    if (event.type === "content_block_stop") break;
  }
  await meterline.close();
  assert.deepEqual(recorded(fake), { "msg_1:input": 10, "msg_1:output": 42 });
  assert.deepEqual(backgroundErrors, []);
});

test("a flush lets nothing wait that a stream is billed for which was left before", async () => {
  const { server, fake } = await setting();
  const meterline = fake.client({ buffer: { waitMs: 1_000_000 } });
  const plain = new Anthropic({ apiKey: "any", baseURL: server.url });
  const anthropic = meterAnthropic(plain, meterline, "cus_1");
  const reporting = gate();
  server.says.push({
    events: streamed("msg_1", { input_tokens: 10 }, 42),
    before: async (index) => {
      if (index === 6) await reporting.passed;
    },
  });
  for await (const event of await anthropic.messages.create({ ...REQUEST, stream: true })) {
    if (event.type === "content_block_stop") break;
  }
  const flushed = meterline.flush();
  reporting.open();
  await flushed;
  assert.deepEqual(recorded(fake), { "msg_1:input": 10, "msg_1:output": 42 });
});

test("who leaves while the usage is being recorded hears of a failure by the hook", async () => {
  const { server } = await setting();
  const { api, meterline, backgroundErrors } = await apiSetting({ retryBudgetMs: 0 });
  const plain = new Anthropic({ apiKey: "any", baseURL: server.url });
  const anthropic = meterAnthropic(plain, meterline, "cus_1");
  server.says.push({ events: streamed("msg_1", { input_tokens: 10 }, 42) });
  const [asked, answering] = [gate(), gate()];
  api.faults.push({ status: 503 });
  api.beforeAnswer = async () => {
    asked.open();
    await answering.passed;
  };
  const stream = await anthropic.messages.create({ ...REQUEST, stream: true });
  const reading = (async () => {
    for await (const _ of stream);
  })().catch(() => undefined);
  await asked.passed;
  stream.controller.abort();
  answering.open();
  await reading;
  await meterline.close();
  assert.ok(backgroundErrors[0] instanceof UsageNotRecorded);
});

test("an answer that is not read to its end is billed, or it is said", async () => {
  const { server, fake, meterline, anthropic } = await setting();
  server.says.push({ status: 200, body: message("msg_1", { input_tokens: 3, output_tokens: 4 }) });
  const response = await anthropic.messages.create(REQUEST).asResponse();
  await response.body?.cancel();
  await meterline.flush();
  assert.deepEqual(recorded(fake), { "msg_1:input": 3, "msg_1:output": 4 });
});

test("an answer that nobody reads is billed once nobody holds it", async () => {
  const { server, fake, meterline, anthropic, backgroundErrors } = await setting();
  server.says.push({ status: 200, body: message("msg_1", { input_tokens: 3, output_tokens: 4 }) });
  // The signal outlives the answer.
  const { signal } = new AbortController();
  const type = await contentType(anthropic.messages.create(REQUEST, { signal }));
  assert.equal(type, "application/json");
  await collectGarbage(() => fake.events.length > 0);
  await meterline.flush();
  assert.deepEqual(recorded(fake), { "msg_1:input": 3, "msg_1:output": 4 });
  assert.deepEqual(backgroundErrors, []);
  assert.ok(!signal.aborted);
});

test("a stream that nobody reads is told of once nobody holds it", async () => {
  const { server, fake, anthropic, backgroundErrors } = await setting();
  server.says.push({ events: streamed("msg_1", { input_tokens: 10 }, 42) });
  const { signal } = new AbortController();
  const type = await contentType(
    anthropic.messages.create({ ...REQUEST, stream: true }, { signal }),
  );
  assert.equal(type, "text/event-stream");
  await collectGarbage(() => backgroundErrors.length > 0);
  assert.equal(fake.events.length, 0);
  assert.ok(backgroundErrors[0] instanceof UnreportedUsage);
  assert.equal(backgroundErrors.length, 1);
  assert.ok(!signal.aborted);
});

test("a stream whose reader waits for more is no garbage", async () => {
  const { server, fake, anthropic, backgroundErrors } = await setting();
  server.says.push({
    events: streamed("msg_1", { input_tokens: 10 }, 42),
    before: async (index) => {
      if (index === 4) await collectGarbage(() => backgroundErrors.length > 0);
    },
  });
  const types: string[] = [];
  for await (const { type } of await anthropic.messages.create({ ...REQUEST, stream: true })) {
    types.push(type);
  }
  assert.equal(types.at(-1), "message_stop");
  assert.deepEqual(recorded(fake), { "msg_1:input": 10, "msg_1:output": 42 });
  assert.deepEqual(backgroundErrors, []);
});

test("what was read, left or aborted is settled, and is not settled again as garbage", async () => {
  const { server, fake, meterline, anthropic, backgroundErrors } = await setting();
  const usage = { input_tokens: 3, output_tokens: 4 };
  const stream = { ...REQUEST, stream: true } as const;
  server.says.push(
    { status: 200, body: message("msg_1", usage) },
    { status: 200, body: message("msg_2", usage) },
    { events: streamed("msg_3", { input_tokens: 3 }, 4) },
    { events: streamed("msg_4", { input_tokens: 3 }, 4) },
    { events: streamed("msg_5", { input_tokens: 3 }, 4) },
  );
  await (async () => {
    await anthropic.messages.create(REQUEST);
    await (await anthropic.messages.create(REQUEST).asResponse()).body?.cancel();
    for await (const _ of await anthropic.messages.create(stream));
    for await (const _ of await anthropic.messages.create(stream)) break;
    const { controller } = await anthropic.messages.create(stream);
    controller.abort();
  })();
  await collectGarbage(() => backgroundErrors.length > 2);
  await meterline.flush();
  assert.deepEqual(
    Object.keys(recorded(fake)).filter((id) => id.endsWith("input")),
    ["msg_1:input", "msg_2:input", "msg_3:input", "msg_4:input"],
  );
  const told = backgroundErrors.map(({ message }) => message);
  assert.equal(told.length, 2);
  assert.ok(told.some((message) => message.includes("msg_4")));
});

test("a client that is closed has no model run for it", async () => {
  const { server, meterline, anthropic } = await setting();
  await meterline.close();
  await assert.rejects(anthropic.messages.create(REQUEST).then(), Closed);
  assert.equal(server.requests.length, 0);
});

test("an answer outlives the client that is closed meanwhile, with what is to be recorded", async () => {
  const { server, fake, meterline, anthropic } = await setting();
  server.says.push({ status: 200, body: message("msg_1", { input_tokens: 3, output_tokens: 4 }) });
  const response = await anthropic.messages.create(REQUEST).asResponse();
  await meterline.close();
  const error = await response.json().catch((error: unknown) => error);
  assert.ok(error instanceof UsageNotRecorded && error.errors[0] instanceof Closed);
  assert.equal((error.response as Anthropic.Message).id, "msg_1");
  await fake.client().emitMany(error.events);
  assert.deepEqual(recorded(fake), { "msg_1:input": 3, "msg_1:output": 4 });
});

test("what names the tokens may fail, and takes neither the answer nor the other kinds with it", async () => {
  const { server, fake, anthropic } = await setting({
    action: (kind, model) => (model === MODEL && kind === "output" ? fail("no price") : kind),
  });
  const usage = { input_tokens: 10, output_tokens: 4 };
  server.says.push({ status: 200, body: message("msg_1", usage) });
  const error = await anthropic.messages.create(REQUEST).catch((error: unknown) => error);
  assert.ok(error instanceof UsageNotRecorded);
  assert.equal((error.response as Anthropic.Message).id, "msg_1");
  assert.deepEqual(recorded(fake), { "msg_1:input": 10 });
  assert.deepEqual(error.events, []);
  assert.deepEqual(error.unnamed, [
    { kind: "output", model: MODEL, quantity: 4, eventId: "msg_1:output" },
  ]);
  assert.match(error.message, /4 output tokens of claude-haiku-4-5 have no name.*no price/);
});

test("a function that knows the names of real models alone is taken", async () => {
  const names: Record<string, string> = { [MODEL]: "haiku" };
  const { server, fake, anthropic } = await setting({
    action: (kind, model) => `${names[model]?.toUpperCase() ?? fail(model)}.${kind}`,
  });
  server.says.push({ status: 200, body: message("msg_1", { input_tokens: 3, output_tokens: 4 }) });
  await anthropic.messages.create(REQUEST);
  assert.equal(fake.units("cus_1", "HAIKU.input"), 3);
});

test("a stream that breaks off is billed for what it reported", async () => {
  const { server, fake, meterline, anthropic } = await setting();
  server.says.push({
    events: streamed("msg_1", { input_tokens: 10 }, 42),
    before: async (index) => {
      if (index === 4) throw new Error("the server dies");
    },
  });
  const stream = await anthropic.messages.create({ ...REQUEST, stream: true });
  await assert.rejects(async () => {
    for await (const _ of stream);
  });
  await meterline.flush();
  assert.deepEqual(recorded(fake), { "msg_1:input": 10, "msg_1:output": 1 });
  assert.equal(server.requests.length, 1);
});

test("an error in a stream is the API's own, and what was reported before is billed", async () => {
  const { server, fake, meterline, anthropic } = await setting();
  const overloaded = { type: "overloaded_error", message: "Overloaded" };
  const [start = ""] = streamed("msg_1", { input_tokens: 10 }, 42);
  server.says.push({ events: [start, named({ type: "error", error: overloaded })] });
  const stream = await anthropic.messages.create({ ...REQUEST, stream: true });
  await assert.rejects(async () => {
    for await (const _ of stream);
  }, /Overloaded/);
  await meterline.flush();
  assert.deepEqual(recorded(fake), { "msg_1:input": 10, "msg_1:output": 1 });
});

test("an error before anything was reported leaves nothing to say", async () => {
  const { server, meterline, anthropic, fake, backgroundErrors } = await setting();
  const overloaded = { type: "overloaded_error", message: "Overloaded" };
  server.says.push({ events: [named({ type: "error", error: overloaded })] });
  const stream = await anthropic.messages.create({ ...REQUEST, stream: true });
  await assert.rejects(async () => {
    for await (const _ of stream);
  }, /Overloaded/);
  await meterline.flush();
  assert.deepEqual([fake.events, backgroundErrors], [[], []]);
});

test("what cannot be billed is not handed out, and the model is not asked again", async () => {
  const { server, fake, meterline, anthropic } = await setting();
  fake.refuse();
  const usage = { input_tokens: 10, output_tokens: 4 };
  server.says.push({ status: 200, body: message("msg_1", usage) });
  const error = await anthropic.messages.create(REQUEST).catch((error: unknown) => error);
  assert.ok(error instanceof UsageNotRecorded);
  assert.equal(error.type, "urn:meterline:problem:forbidden");
  assert.equal(fake.events.length, 0);
  // The answer is paid for: it can be used once it is billed after all.
  await meterline.emitMany(error.events);
  assert.deepEqual(recorded(fake), { "msg_1:input": 10, "msg_1:output": 4 });
  assert.equal((error.response as Anthropic.Message).id, "msg_1");

  fake.refuse();
  server.says.push({ events: streamed("msg_2", { input_tokens: 10 }, 42) });
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { type } of await anthropic.messages.create({ ...REQUEST, stream: true })) {
      seen.push(type);
    }
  })();
  await assert.rejects(reading, UsageNotRecorded);
  assert.ok(seen.includes("content_block_delta") && !seen.includes("message_stop"));
  assert.equal(server.requests.length, 2);
});

test("a request that failed and is tried again by the SDK is billed once", async () => {
  const { server, fake, anthropic } = await setting();
  server.says.push(
    { status: 529, body: { type: "error", error: { type: "overloaded_error", message: "" } } },
    { status: 200, body: message("msg_1", { input_tokens: 1, output_tokens: 1 }) },
  );
  await anthropic.messages.create(REQUEST);
  assert.equal(server.requests.length, 2);
  assert.deepEqual(recorded(fake), { "msg_1:input": 1, "msg_1:output": 1 });
});

test("who may not act has no model run for it", async () => {
  const { server, fake, anthropic } = await setting({ checkAccess: true });
  fake.deny("cus_1");
  for (const stream of [false, true]) {
    const reading = (async () => {
      const answer = await anthropic.messages.create({ ...REQUEST, stream });
      if (Symbol.asyncIterator in answer) for await (const _ of answer);
    })();
    await assert.rejects(reading, AccessDenied);
  }
  assert.equal(server.requests.length, 0);
});

test("tokens are called as the operator's catalog calls them", async () => {
  const { server, fake, anthropic } = await setting({
    action: (kind, model) => `${model}:${kind}`,
  });
  server.says.push({
    status: 200,
    body: message("msg_1", { input_tokens: 10, output_tokens: 4 }),
  });
  await anthropic.messages.create(REQUEST);
  assert.equal(fake.units("cus_1", `${MODEL}:input`), 10);
});

test("what costs and does not say how much is refused before it is asked for", async () => {
  const { server, anthropic, meterline } = await setting();
  const batch = anthropic.messages.batches.create({ requests: [] });
  await assert.rejects(batch.then(), InvalidUsage);
  assert.equal(server.requests.length, 0);
  assert.throws(() => meterAnthropic(anthropic, meterline, "cus 1"), InvalidUsage);
});

test("what other models may answer is refused before it is asked for", async () => {
  const { server, fake, anthropic } = await setting();
  const asked = [
    anthropic.beta.messages.create({ ...REQUEST, fallbacks: "default" }),
    anthropic.beta.messages.create({ ...REQUEST, fallbacks: [{ model: "other" }] }),
  ];
  for (const answer of asked) await assert.rejects(answer.then(), InvalidUsage);
  const streaming = { ...REQUEST, fallbacks: "default", stream: true } as const;
  const stream = await anthropic.beta.messages.create(streaming);
  await assert.rejects(async () => {
    for await (const _ of stream);
  }, InvalidUsage);
  assert.equal(server.requests.length, 0);

  server.says.push({ status: 200, body: message("msg_1", { input_tokens: 3, output_tokens: 4 }) });
  await anthropic.beta.messages.create({ ...REQUEST, fallbacks: null });
  assert.deepEqual(recorded(fake), { "msg_1:input": 3, "msg_1:output": 4 });
});

test("what has no model generate is let through as it is", async () => {
  const { server, fake, anthropic } = await setting();
  server.says.push({ status: 200, body: { input_tokens: 12 } });
  const { messages, model } = REQUEST;
  assert.equal((await anthropic.messages.countTokens({ messages, model })).input_tokens, 12);
  assert.equal(fake.events.length, 0);
});
