import type { Meterline } from "../client.js";
import { wireEvent } from "../event.js";
import { guarded, type OnBackgroundError } from "../hook.js";
import { anthropic } from "./anthropic.js";
import { meteredFetch } from "./metered_fetch.js";
import { openai } from "./openai.js";
import type { Provider } from "./provider.js";
import { type ActionOf, defaultAction, TOKEN_KINDS, type TokenKind } from "./tokens.js";

export { UnreportedUsage, UsageNotRecorded } from "./errors.js";
export { type ActionOf, defaultAction, type TokenKind, type UnnamedTokens } from "./tokens.js";

/** As much of an SDK's client as is used: a copy of it that speaks through another `fetch`. */
export interface SdkClient {
  withOptions(options: { fetch: typeof fetch }): unknown;
}

/** How a model's answers are billed. */
export interface MeterOptions {
  /** What a kind of tokens of a model is called on the bill. `llm.input` and so on unless given. */
  action?: ActionOf | undefined;
  /** Whether to ask before each request if the customer may act. The key must be allowed to read. */
  checkAccess?: boolean | undefined;
  /** Told what no caller can be told, of a stream that was left. The one of `meterline` unless given. */
  onBackgroundError?: OnBackgroundError | undefined;
}

/**
 * A copy of `client`, of `@anthropic-ai/sdk`, whose messages are billed to `customer`: plain and
 * streamed, by `create`, `stream` and what is built on them.
 *
 * An answer is handed out once its usage is recorded: an event for each kind of tokens, named
 * `{response id}:{kind}`, so that recording it again counts once. The last event of a stream is
 * handed out only then, too. Whoever leaves a stream in the middle is billed for what was reported
 * until then.
 *
 * Its methods throw {@link UsageNotRecorded}, which has the answer in it, and {@link UnreportedUsage}.
 * Requests that cost and cannot be billed, such as batches, are refused with `InvalidUsage`: make
 * them with `client` itself.
 *
 * @throws {InvalidUsage} for a customer or an action that could never be billed.
 */
export function meterAnthropic<Client extends SdkClient>(
  client: Client,
  meterline: Meterline,
  customer: string,
  options: MeterOptions = {},
): Client {
  return meter(client, anthropic, meterline, customer, options);
}

/**
 * The same for a client of `openai`: Chat Completions and Responses.
 *
 * A stream of chunks is asked for its usage unless `stream_options` say whether to; the chunk with
 * the usage is handed out only to who asked for it. One that does not say it is
 * {@link UnreportedUsage} at its end.
 *
 * @throws {InvalidUsage} for a customer or an action that could never be billed.
 */
export function meterOpenAI<Client extends SdkClient>(
  client: Client,
  meterline: Meterline,
  customer: string,
  options: MeterOptions = {},
): Client {
  return meter(client, openai, meterline, customer, options);
}

function meter<Client extends SdkClient>(
  client: Client,
  provider: Provider,
  meterline: Meterline,
  customer: string,
  options: MeterOptions,
): Client {
  const { action = defaultAction, checkAccess = false } = options;
  // Found here, and not after the model has answered.
  for (const kind of TOKEN_KINDS) wireEvent({ customer, action: nameOfNoModel(action, kind) });
  const onBackgroundError = guarded(options.onBackgroundError ?? meterline.onBackgroundError);
  const billing = { meterline, customer, action, checkAccess, onBackgroundError };
  // Both SDKs keep the `fetch` that they were given under this name.
  const own: unknown = Reflect.get(client, "fetch");
  const original = typeof own === "function" ? (own as typeof fetch) : globalThis.fetch;
  // Asked for at each request: a client may learn where its API is by its credentials.
  const baseURL = (): unknown => Reflect.get(metered, "baseURL");
  const metered = client.withOptions({
    fetch: meteredFetch(original, provider, billing, baseURL),
  }) as Client;
  return metered;
}

/** A name of a model that is none. That a function has no name for it says nothing of real ones. */
function nameOfNoModel(action: ActionOf, kind: TokenKind): string {
  try {
    return action(kind, "model") ?? defaultAction(kind);
  } catch {
    return defaultAction(kind);
  }
}
