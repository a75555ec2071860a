import assert from "node:assert/strict";
import { after, test } from "node:test";

import OpenAI, { type ClientOptions } from "openai";

import { InvalidUsage } from "../src/index.js";
import { meterOpenAI, UnreportedUsage, UsageNotRecorded } from "../src/llm/index.js";
import { FakeMeterline } from "../src/testing.js";
import { ModelServer, named, unnamed } from "./support/models.js";

const MODEL = "gpt-5-mini";
const CHAT = {
  model: MODEL,
  messages: [{ role: "user", content: "Hello" }],
} satisfies OpenAI.ChatCompletionCreateParams;
const CHAT_USAGE = {
  prompt_tokens: 100,
  completion_tokens: 20,
  total_tokens: 120,
  prompt_tokens_details: { cached_tokens: 60 },
  completion_tokens_details: { reasoning_tokens: 12 },
};
const RESPONSE_USAGE = {
  input_tokens: 100,
  input_tokens_details: { cached_tokens: 60 },
  output_tokens: 20,
  output_tokens_details: { reasoning_tokens: 12 },
  total_tokens: 120,
};

async function setting(options: ClientOptions = {}) {
  const server = await ModelServer.start();
  const fake = new FakeMeterline();
  const backgroundErrors: Error[] = [];
  const onBackgroundError = (error: Error) => void backgroundErrors.push(error);
  const meterline = fake.client({ onBackgroundError });
  const plain = new OpenAI({ apiKey: "any", baseURL: `${server.url}/v1`, ...options });
  const openai = meterOpenAI(plain, meterline, "cus_1");
  after(() => server.stop());
  return { server, fake, meterline, openai, backgroundErrors };
}

function recorded(fake: FakeMeterline): Record<string, number> {
  return Object.fromEntries(fake.events.map((event) => [event.eventId, event.quantity]));
}

function chat(id: string, usage: object | undefined, message: object = { content: "Hi" }) {
  const choice = { index: 0, finish_reason: "stop", message: { role: "assistant", ...message } };
  return { id, object: "chat.completion", created: 1, model: MODEL, choices: [choice], usage };
}

/** The chunks of a stream, which ends with `usage` where somebody asked for it. */
function chunks(id: string, usage: object | null): string[] {
  const chunk = { id, object: "chat.completion.chunk", created: 1, model: MODEL };
  const choice = (delta: object, finish_reason: string | null = null) =>
    unnamed({ ...chunk, choices: [{ index: 0, delta, finish_reason }], usage: null });
  return [
    choice({ role: "assistant", content: "" }),
    choice({ content: "Grüße, " }),
    choice({ content: "世界 🚲" }),
    choice({}, "stop"),
    ...(usage ? [unnamed({ ...chunk, choices: [], usage })] : []),
    unnamed("[DONE]"),
  ];
}

function response(id: string, status: string, usage: object | null, extra: object = {}) {
  const content = [{ type: "output_text", text: "Hi", annotations: [] }];
  const output = [
    { type: "message", id: "item_1", role: "assistant", status: "completed", content },
  ];
  return { id, object: "response", created_at: 1, model: MODEL, status, output, usage, ...extra };
}

function responseEvents(id: string, end: string, usage: object | null): string[] {
  const at = (sequence_number: number, type: string, rest: object) =>
    named({ type, sequence_number, ...rest });
  const content = { item_id: "item_1", output_index: 0, content_index: 0, logprobs: [] };
  const status = end.replace("response.", "");
  const done = response(id, status, usage);
  const [item] = done.output;
  return [
    at(0, "response.created", { response: response(id, "in_progress", null, { output: [] }) }),
    at(1, "response.output_item.added", { output_index: 0, item: { ...item, content: [] } }),
    at(2, "response.content_part.added", { ...content, part: { ...item?.content[0], text: "" } }),
    at(3, "response.output_text.delta", { ...content, delta: "Hi" }),
    at(4, "response.output_text.done", { ...content, text: "Hi" }),
    at(5, "response.output_item.done", { output_index: 0, item }),
    at(6, end, { response: done }),
  ];
}

/** The event by which the Responses API says that something went wrong. */
function failure(): string {
  return named({ type: "error", sequence_number: 1, code: "server_error", message: "Sorry" });
}

test("cached tokens are counted once, though OpenAI's prompt tokens include them", async () => {
  const { server, fake, openai } = await setting();
  server.says.push({ status: 200, body: chat("chatcmpl-1", CHAT_USAGE) });
  const answer = await openai.chat.completions.create(CHAT);
  assert.equal(answer.choices[0]?.message.content, "Hi");
  assert.deepEqual(recorded(fake), {
    "chatcmpl-1:input": 40,
    "chatcmpl-1:output": 20,
    "chatcmpl-1:cache_read": 60,
  });
});

test("the use of a tool is billed like any answer", async () => {
  const { server, fake, openai } = await setting();
  const call = { id: "call_1", type: "function", function: { name: "f", arguments: "{}" } };
  const usage = { prompt_tokens: 8, completion_tokens: 3, total_tokens: 11 };
  server.says.push({
    status: 200,
    body: chat("chatcmpl-1", usage, { content: null, tool_calls: [call] }),
  });
  const answer = await openai.chat.completions.create(CHAT);
  assert.equal(answer.choices[0]?.message.tool_calls?.length, 1);
  assert.deepEqual(recorded(fake), { "chatcmpl-1:input": 8, "chatcmpl-1:output": 3 });
});

test("a stream is asked for its usage, and the caller who did not ask sees none of it", async () => {
  const { server, fake, openai } = await setting();
  server.says.push({ events: chunks("chatcmpl-1", CHAT_USAGE) });
  let text = "";
  for await (const { choices } of await openai.chat.completions.create({ ...CHAT, stream: true })) {
    assert.equal(choices.length, 1, "no chunk without a choice, on which many callers would fail");
    text += choices[0]?.delta.content ?? "";
  }
  assert.equal(text, "Grüße, 世界 🚲");
  assert.deepEqual(server.requests[0]?.body["stream_options"], { include_usage: true });
  assert.deepEqual(recorded(fake), {
    "chatcmpl-1:input": 40,
    "chatcmpl-1:output": 20,
    "chatcmpl-1:cache_read": 60,
  });
});

test("who asks for the usage sees it", async () => {
  const { server, openai } = await setting();
  server.says.push({ events: chunks("chatcmpl-1", CHAT_USAGE) });
  const asking = { ...CHAT, stream: true, stream_options: { include_usage: true } } as const;
  let seen = 0;
  for await (const { usage } of await openai.chat.completions.create(asking)) {
    if (usage) seen = usage.completion_tokens;
  }
  assert.equal(seen, 20);
});

test("a stream that never says what it used is an error, not silence", async () => {
  const { server, fake, openai } = await setting();
  server.says.push({ events: chunks("chatcmpl-1", null) });
  const declined = { ...CHAT, stream: true, stream_options: { include_usage: false } } as const;
  const stream = await openai.chat.completions.create(declined);
  await assert.rejects(async () => {
    for await (const _ of stream);
  }, UnreportedUsage);
  assert.deepEqual(server.requests[0]?.body["stream_options"], { include_usage: false });
  assert.equal(fake.events.length, 0);
});

test("who leaves when the text is over is billed all the same", async () => {
  const { server, fake, meterline, openai, backgroundErrors } = await setting();
  server.says.push({ events: chunks("chatcmpl-1", CHAT_USAGE) });
  for await (const { choices } of await openai.chat.completions.create({ ...CHAT, stream: true })) {
    if (choices[0]?.finish_reason === "stop") break;
  }
  await meterline.flush();
  assert.equal(recorded(fake)["chatcmpl-1:output"], 20);
  assert.deepEqual(backgroundErrors, []);
});

test("who leaves a response when its text is over is billed all the same", async () => {
  const { server, fake, meterline, openai, backgroundErrors } = await setting();
  for (const last of ["response.output_text.done", "response.output_item.done"]) {
    server.says.push({ events: responseEvents(last, "response.completed", RESPONSE_USAGE) });
    const request = { model: MODEL, input: "Hello", stream: true } as const;
    for await (const { type } of await openai.responses.create(request)) {
      if (type === last) break;
    }
    await meterline.flush();
    assert.equal(recorded(fake)[`${last}:output`], 20);
  }
  assert.deepEqual(backgroundErrors, []);
});

test("who leaves a response between reasoning and text leaves nothing to wait for", async () => {
  const { server, fake, meterline, openai, backgroundErrors } = await setting();
  const item = { id: "rs_1", type: "reasoning", summary: [] };
  const [created = "", ...rest] = responseEvents("resp_1", "response.completed", RESPONSE_USAGE);
  const reasoned = named({ type: "response.output_item.done", output_index: 0, item });
  server.says.push({
    events: [created, reasoned, ...rest],
    before: (index) => (index < 2 ? Promise.resolve() : new Promise(() => {})),
  });
  const request = { model: MODEL, input: "Hello", stream: true } as const;
  for await (const { type } of await openai.responses.create(request)) {
    if (type === "response.output_item.done") break;
  }
  await meterline.flush();
  assert.equal(fake.events.length, 0);
  assert.ok(backgroundErrors[0] instanceof UnreportedUsage);
});

test("a report that does not fit is not waited for, and it is said", async () => {
  const { server, fake, meterline, openai, backgroundErrors } = await setting();
  const events = responseEvents("resp_1", "response.completed", RESPONSE_USAGE);
  const padding = Array.from({ length: 200 }, () => `: ${"x".repeat(64 * 1024)}\n\n`);
  server.says.push({ events: [...events.slice(0, -1), ...padding, ...events.slice(-1)] });
  const request = { model: MODEL, input: "Hello", stream: true } as const;
  for await (const { type } of await openai.responses.create(request)) {
    if (type === "response.output_item.done") break;
  }
  await meterline.flush();
  assert.equal(fake.events.length, 0);
  assert.ok(backgroundErrors[0] instanceof UnreportedUsage);
});

test("who leaves the SDK's helper for streams when the text is over is billed all the same", async () => {
  const { server, fake, meterline, openai, backgroundErrors } = await setting();
  server.says.push(
    { events: chunks("chatcmpl-1", CHAT_USAGE) },
    { events: responseEvents("resp_1", "response.completed", RESPONSE_USAGE) },
  );
  for await (const { choices } of openai.chat.completions.stream(CHAT)) {
    if (choices[0]?.finish_reason === "stop") break;
  }
  for await (const { type } of openai.responses.stream({ model: MODEL, input: "Hello" })) {
    if (type === "response.output_text.done") break;
  }
  await meterline.flush();
  assert.equal(recorded(fake)["chatcmpl-1:output"], 20);
  assert.equal(recorded(fake)["resp_1:output"], 20);
  assert.deepEqual(backgroundErrors, []);
});

test("one of two choices that is over is not the end", async () => {
  const { server, meterline, openai, backgroundErrors } = await setting();
  const chunk = { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: MODEL };
  const of = (index: number, finish_reason: string | null) =>
    unnamed({ ...chunk, choices: [{ index, delta: { content: "Hi" }, finish_reason }] });
  server.says.push({
    events: [of(0, null), of(1, null), of(0, "stop"), of(1, null)],
    before: (index) => (index < 3 ? Promise.resolve() : new Promise(() => {})),
  });
  const stream = await openai.chat.completions.create({ ...CHAT, n: 2, stream: true });
  for await (const { choices } of stream) if (choices[0]?.finish_reason === "stop") break;
  await meterline.flush();
  assert.ok(backgroundErrors[0] instanceof UnreportedUsage);
});

test("who leaves in the middle leaves nothing to bill, and it is said", async () => {
  const { server, fake, meterline, openai, backgroundErrors } = await setting();
  server.says.push({
    events: chunks("chatcmpl-1", CHAT_USAGE),
    before: (index) => (index < 2 ? Promise.resolve() : new Promise(() => {})),
  });
  const stream = await openai.chat.completions.create({ ...CHAT, stream: true });
  for await (const _ of stream) break;
  await meterline.flush();
  assert.equal(fake.events.length, 0);
  assert.ok(backgroundErrors[0] instanceof UnreportedUsage);
});

test("the SDK's helper for streams is billed the same", async () => {
  const { server, fake, openai } = await setting();
  server.says.push({ events: chunks("chatcmpl-1", CHAT_USAGE) });
  const final = await openai.chat.completions.stream(CHAT).finalChatCompletion();
  assert.equal(final.choices[0]?.message.content, "Grüße, 世界 🚲");
  assert.equal(recorded(fake)["chatcmpl-1:output"], 20);
});

test("a response is billed, plain and streamed", async () => {
  const { server, fake, openai } = await setting();
  const request = { model: MODEL, input: "Hello" };
  server.says.push(
    { status: 200, body: response("resp_1", "completed", RESPONSE_USAGE) },
    { events: responseEvents("resp_2", "response.completed", RESPONSE_USAGE) },
    { events: responseEvents("resp_3", "response.incomplete", RESPONSE_USAGE) },
    { events: responseEvents("resp_4", "response.failed", null) },
  );
  assert.equal((await openai.responses.create(request)).output_text, "Hi");
  for (let stream = 0; stream < 3; stream++) {
    for await (const _ of await openai.responses.create({ ...request, stream: true }));
  }
  const all = Object.entries(recorded(fake));
  assert.deepEqual(
    all,
    ["resp_1", "resp_2", "resp_3"].flatMap((id) => [
      [`${id}:input`, 40],
      [`${id}:output`, 20],
      [`${id}:cache_read`, 60],
    ]),
  );
});

test("after an error in a response, what comes last is billed, also to who left at the error", async () => {
  const { server, fake, meterline, openai, backgroundErrors } = await setting();
  const request = { model: MODEL, input: "Hello", stream: true } as const;
  for (const id of ["resp_1", "resp_2"]) {
    const [created = ""] = responseEvents(id, "response.failed", RESPONSE_USAGE);
    const failed = responseEvents(id, "response.failed", RESPONSE_USAGE).slice(-1);
    server.says.push({ events: [created, failure(), ...failed] });
    for await (const { type } of await openai.responses.create(request)) {
      if (type === "error" && id === "resp_2") break;
    }
    await meterline.flush();
    assert.equal(recorded(fake)[`${id}:output`], 20);
  }
  assert.deepEqual(backgroundErrors, []);
});

test("a response that ends with an error is the API's failure, and the hook is told what is not known", async () => {
  const { server, fake, openai, backgroundErrors } = await setting();
  const [created = ""] = responseEvents("resp_1", "response.failed", null);
  server.says.push({ events: [created, failure()] }, { events: [failure()] });
  for (let stream = 0; stream < 2; stream++) {
    const request = { model: MODEL, input: "Hello", stream: true } as const;
    for await (const _ of await openai.responses.create(request));
  }
  assert.equal(fake.events.length, 0);
  assert.equal(backgroundErrors.length, 1, "one that said nothing before it failed used nothing");
  assert.ok(backgroundErrors[0] instanceof UnreportedUsage);
});

test("a response that is read again is not billed again", async () => {
  const { server, fake, openai } = await setting();
  server.says.push({ status: 200, body: response("resp_1", "completed", RESPONSE_USAGE) });
  await openai.responses.retrieve("resp_1");
  assert.equal(fake.events.length, 0);
});

test("a response in the background is refused before it is made", async () => {
  const { server, openai } = await setting();
  const request = { model: MODEL, input: "Hello", background: true };
  await assert.rejects(openai.responses.create(request).then(), InvalidUsage);
  assert.equal(server.requests.length, 0);
});

test("what cannot be billed is not handed out, and the model is not asked again", async () => {
  const { server, fake, openai } = await setting();
  fake.refuse();
  server.says.push({ status: 200, body: chat("chatcmpl-1", CHAT_USAGE) });
  await assert.rejects(openai.chat.completions.create(CHAT).then(), UsageNotRecorded);
  fake.refuse();
  server.says.push({ events: responseEvents("resp_1", "response.completed", RESPONSE_USAGE) });
  const stream = await openai.responses.create({ model: MODEL, input: "Hello", stream: true });
  await assert.rejects(async () => {
    for await (const { type } of stream) assert.notEqual(type, "response.completed");
  }, UsageNotRecorded);
  assert.equal(server.requests.length, 2);
});

test("an answer without its usage is an error, not silence", async () => {
  const { server, openai } = await setting();
  server.says.push({ status: 200, body: chat("chatcmpl-1", undefined) });
  await assert.rejects(openai.chat.completions.create(CHAT).then(), UnreportedUsage);
});

test("a stream without an id is not billed as one with others of its kind", async () => {
  const { server, fake, openai } = await setting();
  const { id: _, ...nameless } = response("", "completed", RESPONSE_USAGE);
  server.says.push(
    { status: 200, body: chat("", CHAT_USAGE) },
    { events: chunks("", CHAT_USAGE) },
    { events: [named({ type: "response.completed", response: nameless })] },
  );
  const request = { model: MODEL, input: "Hello", stream: true } as const;
  const unreported = (error: unknown) =>
    error instanceof UnreportedUsage && /no id.* 40 tokens of input and 20/.test(error.message);
  await assert.rejects(openai.chat.completions.create(CHAT).then(), unreported);
  for (const stream of [
    await openai.chat.completions.create({ ...CHAT, stream: true }),
    await openai.responses.create(request),
  ]) {
    await assert.rejects(async () => {
      for await (const _ of stream);
    }, unreported);
  }
  assert.equal(fake.events.length, 0);
});

test("what costs and cannot be named is refused before it is asked for", async () => {
  const { server, openai } = await setting();
  const made = openai.embeddings.create({ model: MODEL, input: "a", encoding_format: "float" });
  await assert.rejects(made.then(), InvalidUsage);
  assert.equal(server.requests.length, 0);
});

test("a client that gets its tokens by its workload's identity is metered like any other", async () => {
  const exchanged: string[] = [];
  const { server, fake, openai } = await setting({
    apiKey: null,
    workloadIdentity: {
      identityProviderId: "idp_1",
      serviceAccountId: "sa_1",
      provider: { tokenType: "jwt", getToken: async () => "subject" },
    },
    fetch: async (input, init) => {
      const url = String(input);
      if (!url.startsWith("https://auth.openai.com/")) return fetch(url, init);
      exchanged.push(JSON.parse(String(init?.body)).subject_token);
      return Response.json({ access_token: "token", expires_in: 3600 });
    },
  });
  server.says.push({ status: 200, body: chat("chatcmpl-1", CHAT_USAGE) });
  await openai.chat.completions.create(CHAT);
  assert.deepEqual(exchanged, ["subject"]);
  assert.equal(recorded(fake)["chatcmpl-1:output"], 20);
});

test("no other address is a way around the bill", async () => {
  const { server, fake, openai } = await setting();
  const other = await ModelServer.start();
  after(() => other.stop());
  const elsewhere = openai.withOptions({ baseURL: `${other.url}/v1` });
  other.says.push({ status: 200, body: chat("chatcmpl-1", CHAT_USAGE) });
  await elsewhere.chat.completions.create(CHAT);
  assert.equal(recorded(fake)["chatcmpl-1:output"], 20);

  const body = { model: MODEL, input: "a" };
  const keyless = { Authorization: null };
  for (const made of [
    elsewhere.post("/embeddings", { body }),
    openai.post(`${other.url}/v1/embeddings`, { body }),
    openai.post("/embeddings", { body, headers: keyless }),
    openai.post(`${server.url}/v1/embeddings`, { body, headers: keyless }),
  ]) {
    await assert.rejects(made.then(), InvalidUsage);
  }
  assert.equal(server.requests.length, 0);
  assert.equal(other.requests.length, 1);
});
