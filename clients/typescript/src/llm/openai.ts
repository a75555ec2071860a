import { InvalidUsage } from "../errors.js";
import { parseJson } from "../json.js";
import type { Prepared, Provider, Step, StreamReader } from "./provider.js";
import { count, members, type Report, text } from "./tokens.js";

const CHAT = "/chat/completions";
const RESPONSES = "/responses";
const FREE = ["/responses/input_tokens", "/moderations"];
/** The last events of a stream of the Responses API. */
const RESPONSE_ENDS = new Set(["response.completed", "response.incomplete", "response.failed"]);

/** Events after which a response may be whole. */
const CONTENT_ENDS = new Set([
  "response.output_text.done",
  "response.refusal.done",
  "response.function_call_arguments.done",
  "response.custom_tool_call_input.done",
]);
/** The kinds of items that a response may end with: after others, such as reasoning, more comes. */
const LAST_ITEMS = new Set(["message", "function_call", "custom_tool_call"]);
const CONTENT_BEGINS = /\.(added|delta)$/;

/**
 * OpenAI's Chat Completions and Responses APIs ("Chat", "Responses"). Their prompt and input tokens
 * include the cached ones, which are taken out; reasoning is part of the output.
 */
export const openai: Provider = {
  route(pathname) {
    if (pathname.endsWith(CHAT) || pathname.endsWith(RESPONSES)) return "metered";
    return FREE.some((path) => pathname.endsWith(path)) ? "free" : "unknown";
  },
  prepare(pathname, body) {
    const request = members(parseJson(body));
    if (pathname.endsWith(CHAT)) return askForReport(body, request);
    if (request["background"] === true) {
      throw new InvalidUsage(
        "a response in the background says only later what it used: it is not metered",
      );
    }
    return { body, hidesReport: false };
  },
  readAnswer(answer) {
    const said = members(answer);
    return "id" in said || "usage" in said ? report(said) : undefined;
  },
  readStream: (pathname, prepared) =>
    pathname.endsWith(CHAT) ? new ChunkStreamReader(prepared) : new ResponseStreamReader(),
};

/** A stream of chunks says what it used only to those who ask. */
function askForReport(body: string, request: Record<string, unknown>): Prepared {
  const options = members(request["stream_options"]);
  if (request["stream"] !== true || "include_usage" in options) {
    return { body, hidesReport: false };
  }
  const asking = { ...request, stream_options: { ...options, include_usage: true } };
  return { body: JSON.stringify(asking), hidesReport: true };
}

/** Reads a stream of Chat Completions: the last chunk, without choices, has the usage. */
class ChunkStreamReader implements StreamReader {
  hasFailed = false;
  /** The choices that are not whole yet, by their index. */
  readonly #open = new Set<unknown>();
  #hasEnded = false;
  readonly #hidesReport: boolean;
  #report: Report | undefined;

  constructor({ hidesReport }: Prepared) {
    this.#hidesReport = hidesReport;
  }

  take(data: unknown): Step {
    if (data === "[DONE]") return "end";
    const chunk = members(data);
    if ("error" in chunk) {
      this.hasFailed = true;
      return "end";
    }
    const choices = Array.isArray(chunk["choices"]) ? chunk["choices"] : [];
    for (const choice of choices.map(members)) {
      const isWhole = text(choice["finish_reason"]) !== "";
      if (isWhole) this.#open.delete(choice["index"]);
      else this.#open.add(choice["index"]);
      this.#hasEnded ||= isWhole;
    }
    if (chunk["usage"] === null || chunk["usage"] === undefined) {
      this.#report ??= report(chunk);
      return "pass";
    }
    this.#report = report(chunk);
    return this.#hidesReport && choices.length === 0 ? "hide" : "pass";
  }

  get isGenerated(): boolean {
    return this.#hasEnded && this.#open.size === 0;
  }

  report(): Report | undefined {
    return this.#report;
  }
}

/** Reads a stream of the Responses API, whose last event has the whole response. */
class ResponseStreamReader implements StreamReader {
  isGenerated = false;
  hasFailed = false;
  #report: Report | undefined;

  take(data: unknown): Step {
    const event = members(data);
    const type = text(event["type"]);
    if (type === "error") {
      // A `response.failed` with the usage may come after it.
      this.isGenerated = this.hasFailed = true;
      return "pass";
    }
    const response = members(event["response"]);
    if ("response" in event) this.#report = report(response);
    if (CONTENT_BEGINS.test(type)) this.isGenerated = false;
    if (CONTENT_ENDS.has(type)) this.isGenerated = true;
    if (type === "response.output_item.done") {
      this.isGenerated = LAST_ITEMS.has(text(members(event["item"])["type"]));
    }
    return RESPONSE_ENDS.has(type) ? "end" : "pass";
  }

  report(): Report | undefined {
    return this.#report;
  }
}

/** Of either API: they have the same counts by other names. */
function report(answer: Record<string, unknown>): Report {
  const usage = members(answer["usage"]);
  const prompt = usage["prompt_tokens"] ?? usage["input_tokens"];
  const output = usage["completion_tokens"] ?? usage["output_tokens"];
  const details = members(usage["prompt_tokens_details"] ?? usage["input_tokens_details"]);
  const cache_read = count(details["cached_tokens"]);
  const cache_write = count(details["cache_write_tokens"]);
  return {
    responseId: text(answer["id"]),
    model: text(answer["model"]),
    tokens: {
      input: Math.max(0, count(prompt) - cache_read - cache_write),
      output: count(output),
      cache_read,
      cache_write,
    },
    // One that failed before the model began used nothing, and says nothing.
    isFinal: typeof output === "number" || answer["status"] === "failed",
  };
}
