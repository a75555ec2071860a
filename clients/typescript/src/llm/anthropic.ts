import { InvalidUsage } from "../errors.js";
import { parseJson } from "../json.js";
import type { Provider, Step, StreamReader } from "./provider.js";
import { count, members, type Report, type Tokens, text } from "./tokens.js";

/**
 * Anthropic's Messages API ("Messages", "Streaming Messages"). Its `input_tokens` are those that
 * were neither read from the cache nor written to it.
 */
export const anthropic: Provider = {
  route(pathname) {
    if (pathname.endsWith("/v1/messages")) return "metered";
    return pathname.endsWith("/v1/messages/count_tokens") ? "free" : "unknown";
  },
  prepare(_, body) {
    // Nothing says whether the counts of the whole have in them what the models used that declined.
    if ((members(parseJson(body))["fallbacks"] ?? null) !== null) {
      throw new InvalidUsage(
        "of a message with fallbacks it is not certain what each model used: it is not metered",
      );
    }
    return { body, hidesReport: false };
  },
  readAnswer(answer) {
    const message = members(answer);
    const usage = members(message["usage"]);
    return "output_tokens" in usage ? report(message, usage, true) : undefined;
  },
  readStream: () => new MessageStreamReader(),
};

/** The kinds of content that an answer may end with: after others, such as thinking, more comes. */
const LAST_CONTENT = new Set(["text", "tool_use"]);

/** Reads counts that are cumulative: each replaces the one before. */
class MessageStreamReader implements StreamReader {
  isGenerated = false;
  hasFailed = false;
  #isFinal = false;
  #content = "";
  #message: Record<string, unknown> | undefined;
  readonly #usage: Record<string, unknown> = {};

  take(data: unknown): Step {
    const event = members(data);
    switch (event["type"]) {
      case "message_start":
        this.#message = members(event["message"]);
        this.#add(this.#message["usage"]);
        return "pass";
      case "content_block_start":
        this.#content = text(members(event["content_block"])["type"]);
        this.isGenerated = false;
        return "pass";
      case "content_block_stop":
        this.isGenerated = LAST_CONTENT.has(this.#content);
        return "pass";
      case "message_delta":
        this.#add(event["usage"]);
        this.isGenerated = this.#isFinal = true;
        return "pass";
      case "message_stop":
        return "end";
      case "error":
        this.hasFailed = true;
        return "end";
      default:
        return "pass";
    }
  }

  report(): Report | undefined {
    return this.#message && report(this.#message, this.#usage, this.#isFinal);
  }

  #add(usage: unknown): void {
    for (const [name, value] of Object.entries(members(usage))) {
      if (value !== null) this.#usage[name] = value;
    }
  }
}

function report(
  message: Record<string, unknown>,
  usage: Record<string, unknown>,
  isFinal: boolean,
): Report {
  const { compactions, advice } = uncounted(usage["iterations"]);
  const advisors = new Map(
    [...advice].map(([advisor, iterations]) => [advisor, sum(iterations)] as const),
  );
  const tokens = sum([usage, ...compactions]);
  const [responseId, model] = [text(message["id"]), text(message["model"])];
  return { responseId, model, tokens, isFinal, advisors };
}

function sum(parts: readonly Record<string, unknown>[]): Tokens {
  const all = (name: string) => parts.reduce((tokens, part) => tokens + count(part[name]), 0);
  return {
    input: all("input_tokens"),
    output: all("output_tokens"),
    cache_read: all("cache_read_input_tokens"),
    cache_write: all("cache_creation_input_tokens"),
  };
}

/**
 * The iterations that are not in the counts of the whole: the summaries of long contexts, and what
 * other models were asked, by their names.
 */
function uncounted(iterations: unknown) {
  const compactions: Record<string, unknown>[] = [];
  const advice = new Map<string, Record<string, unknown>[]>();
  for (const iteration of Array.isArray(iterations) ? iterations.map(members) : []) {
    if (iteration["type"] === "compaction") compactions.push(iteration);
    if (iteration["type"] === "advisor_message") {
      const model = text(iteration["model"]);
      advice.set(model, [...(advice.get(model) ?? []), iteration]);
    }
  }
  return { compactions, advice };
}
