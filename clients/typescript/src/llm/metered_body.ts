import { parseJson } from "../json.js";
import { type Billing, bill } from "./billing.js";
import type { Provider, StreamReader } from "./provider.js";
import { EventSplitter, type ServerSentEvent } from "./sse.js";

/** How long the report of a generated answer is waited for after its reader has left. */
const REPORT_WAIT_MS = 10_000;

/** A plain answer, which is handed out once its usage is recorded. */
export function meteredAnswer(
  response: Response,
  provider: Provider,
  billing: Billing,
): ReadableStream<Uint8Array> {
  return new ReadableStream(
    {
      // Not before somebody reads: the SDKs try a request again whose answer fails to come, and
      // must not do so because of what happens here.
      async pull(controller) {
        const body = new Uint8Array(await response.arrayBuffer());
        const answer = parseJson(new TextDecoder().decode(body));
        await bill(provider.readAnswer(answer), billing, answer);
        controller.enqueue(body);
        controller.close();
      },
      cancel: (reason) => response.body?.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

/**
 * A streamed answer. Its events are handed out as they come, but the last only once the usage is
 * recorded. Whoever leaves in the middle is billed for what was reported until then.
 */
export function meteredStream(
  body: ReadableStream<Uint8Array>,
  reader: StreamReader,
  billing: Billing,
  upstream: { readonly signal: AbortSignal | undefined; abort(): void },
): ReadableStream<Uint8Array> {
  const source = body.getReader();
  const stream = new MeteredStream(source, reader, billing);
  return new ReadableStream(
    {
      start(controller) {
        // The upstream has a signal of its own, because its report may come after the caller left.
        upstream.signal?.addEventListener("abort", () => {
          stream.abandon(upstream.abort);
          controller.error(upstream.signal?.reason);
        });
      },
      pull: (controller) => stream.pull(controller),
      cancel: () => stream.abandon(upstream.abort),
    },
    { highWaterMark: 0 },
  );
}

class MeteredStream {
  readonly #source: ReadableStreamDefaultReader<Uint8Array>;
  readonly #reader: StreamReader;
  readonly #billing: Billing;
  readonly #splitter = new EventSplitter();
  readonly #encoder = new TextEncoder();
  /** Set when the usage is being recorded, which happens once. */
  #settled = false;
  #abandoned = false;

  constructor(
    source: ReadableStreamDefaultReader<Uint8Array>,
    reader: StreamReader,
    billing: Billing,
  ) {
    this.#source = source;
    this.#reader = reader;
    this.#billing = billing;
  }

  /** Hands out at least one event, or the end. */
  async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    for (let handedOut = 0; handedOut === 0; ) {
      const chunk = await this.#read();
      const events = chunk ? this.#splitter.push(chunk) : this.#rest();
      for (const event of events) {
        if (await this.#takes(event)) {
          controller.enqueue(this.#encoder.encode(event.raw));
          handedOut++;
        }
      }
      if (this.#abandoned) return;
      if (chunk === undefined) {
        await this.#settle();
        controller.close();
        return;
      }
    }
  }

  /** The reader has left. What was reported is billed; a report that is about to come is waited for. */
  abandon(abort: () => void): void {
    if (this.#abandoned || this.#settled) return;
    this.#abandoned = true;
    this.#billing.meterline.track(this.#leave(abort));
  }

  async #leave(abort: () => void): Promise<void> {
    if (this.#reader.isGenerated) {
      const timer = setTimeout(abort, REPORT_WAIT_MS);
      await this.#drain().catch(() => undefined);
      clearTimeout(timer);
    }
    abort();
    await this.#settleInBackground();
  }

  async #read(): Promise<Uint8Array | undefined> {
    try {
      const { value } = await this.#source.read();
      return value;
    } catch (error) {
      await this.#settleInBackground();
      throw error;
    }
  }

  async #drain(): Promise<void> {
    for (;;) {
      const { value } = await this.#source.read();
      const events = value ? this.#splitter.push(value) : this.#rest();
      for (const { data } of events) {
        if (data !== undefined && this.#reader.take(data) === "end") return;
      }
      if (value === undefined) return;
    }
  }

  #rest(): ServerSentEvent[] {
    const rest = this.#splitter.end();
    return rest ? [rest] : [];
  }

  /** Whether the event is to be handed out. */
  async #takes({ data }: ServerSentEvent): Promise<boolean> {
    if (data === undefined) return true;
    const step = this.#reader.take(data);
    if (step === "end" && !this.#abandoned) await this.#settle();
    // The caller is to see the API's error, not one about its usage.
    if (step === "failed") await this.#settleFailed();
    return step !== "hide" && !this.#abandoned;
  }

  async #settle(): Promise<void> {
    if (this.#settled) return;
    this.#settled = true;
    await bill(this.#reader.report(), this.#billing);
  }

  /** The API failed. What it reported before that was used; if nothing, nothing is missing. */
  async #settleFailed(): Promise<void> {
    if (this.#reader.report() === undefined) this.#settled = true;
    await this.#settleInBackground();
  }

  async #settleInBackground(): Promise<void> {
    try {
      await this.#settle();
    } catch (error) {
      this.#billing.onBackgroundError(error as Error);
    }
  }
}
