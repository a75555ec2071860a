import type { EmitMany } from "../client.js";
import { parseJson } from "../json.js";
import { type Billing, bill, billInBackground, type Unbilled } from "./billing.js";
import type { Upstream } from "./metered_fetch.js";
import type { Provider, StreamReader } from "./provider.js";
import { EventSplitter, type ServerSentEvent } from "./sse.js";

/** How long the report of an answer is waited for after its reader has left. */
const REPORT_WAIT_MS = 10_000;
/** How much of a stream is read for its report: the report of a response has all of its text in it. */
const REPORT_BYTES_MAX = 8 * 1024 * 1024;

/**
 * Leaves the bodies that were dropped, which nobody can read or cancel any more. What it calls must
 * not hold the body, which would never be dropped then.
 */
const dropped = new FinalizationRegistry<() => void>((leave) => leave());

/** A plain answer, which is handed out once its usage is recorded. */
export function meteredAnswer(
  response: Response,
  provider: Provider,
  billing: Billing,
  upstream: Upstream,
): ReadableStream<Uint8Array> {
  let isRead = false;
  let isLeft = false;
  const read = async (): Promise<[Uint8Array, Unbilled]> => {
    isRead = true;
    const body = new Uint8Array(await response.arrayBuffer());
    const answer = parseJson(new TextDecoder().decode(body));
    return [body, { report: provider.readAnswer(answer), response: answer }];
  };
  const finish = async (emitMany: EmitMany): Promise<void> => {
    const nothing: Unbilled = { report: undefined };
    const reading = read().then(([, unbilled]) => unbilled);
    const unbilled = await within(reading, upstream.abort).catch(() => nothing);
    await billInBackground(unbilled, billing, emitMany);
  };
  const leave = (): void => {
    isLeft = true;
    if (!isRead) billing.meterline.inBackground(finish);
  };
  const body = new ReadableStream<Uint8Array>(
    {
      // Not before somebody reads: the SDKs try a request again whose answer fails to come, and
      // must not do so because of what happens here.
      async pull(controller) {
        const [body, unbilled] = await read().catch(async (error: unknown) => {
          // The model has answered, and the caller is to see why the answer does not come.
          await billInBackground({ report: undefined }, billing);
          throw error;
        });
        if (isLeft) return billInBackground(unbilled, billing);
        await bill(unbilled, billing).catch((error: unknown) => {
          if (isLeft) billing.onBackgroundError(error as Error);
          throw error;
        });
        if (isLeft) return;
        controller.enqueue(body);
        controller.close();
      },
      cancel: leave,
    },
    { highWaterMark: 0 },
  );
  dropped.register(body, leave);
  return body;
}

/**
 * A streamed answer. Its events are handed out as they come, but the last only once the usage is
 * recorded. Whoever leaves in the middle is billed for what was reported until then; whoever leaves
 * when the answer is over, for all.
 */
export function meteredStream(
  body: ReadableStream<Uint8Array>,
  reader: StreamReader,
  billing: Billing,
  upstream: Upstream,
): ReadableStream<Uint8Array> {
  const stream = new MeteredStream(body.getReader(), reader, billing, upstream);
  const handedOut = new ReadableStream<Uint8Array>(
    {
      // The upstream has a signal of its own, because its report may come after the caller left.
      start: (controller) => stream.endWith(upstream.signal, controller),
      pull: (controller) => stream.pull(controller),
      cancel: () => stream.leave(),
    },
    { highWaterMark: 0 },
  );
  dropped.register(handedOut, () => stream.leave());
  return handedOut;
}

class MeteredStream {
  readonly #source: ReadableStreamDefaultReader<Uint8Array>;
  readonly #reader: StreamReader;
  readonly #billing: Billing;
  readonly #upstream: Upstream;
  readonly #splitter = new EventSplitter();
  readonly #encoder = new TextEncoder();
  /** Set when the usage is being recorded, which happens once. */
  #settled = false;
  /** Set when the reader is gone, who can be told nothing any more. */
  #left = false;
  /** Set by the event that is the last. */
  #ended = false;
  /** Lets go of the caller's signal, which may outlive many streams. */
  #release = (): void => {};

  constructor(
    source: ReadableStreamDefaultReader<Uint8Array>,
    reader: StreamReader,
    billing: Billing,
    upstream: Upstream,
  ) {
    this.#source = source;
    this.#reader = reader;
    this.#billing = billing;
    this.#upstream = upstream;
  }

  /** Takes an abort by the caller for leaving. */
  endWith(
    signal: AbortSignal | undefined,
    controller: ReadableStreamDefaultController<Uint8Array>,
  ): void {
    // Held weakly: the signal may outlive a stream that nobody reads.
    const reading = new WeakRef(controller);
    const aborted = (): void => {
      this.leave();
      reading.deref()?.error(signal?.reason);
    };
    signal?.addEventListener("abort", aborted, { once: true });
    this.#release = () => signal?.removeEventListener("abort", aborted);
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
      if (this.#left) return;
      if (chunk === undefined) {
        await this.#settle();
        this.#release();
        if (!this.#left) controller.close();
        return;
      }
    }
  }

  /** The reader has left. What was reported is billed; a report that is about to come is waited for. */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    this.#release();
    // What is being recorded goes on.
    if (this.#settled) this.#upstream.abort();
    else this.#billing.meterline.inBackground((emitMany) => this.#finish(emitMany));
  }

  async #finish(emitMany: EmitMany): Promise<void> {
    if (this.#reader.isGenerated && !this.#reader.report()?.isFinal) {
      // Without one, what is billed says so.
      await within(this.#drain(), this.#upstream.abort).catch(() => undefined);
    }
    this.#upstream.abort();
    await this.#settleInBackground(emitMany);
  }

  async #read(): Promise<Uint8Array | undefined> {
    try {
      const { value } = await this.#source.read();
      return value;
    } catch (error) {
      this.#release();
      // Who left has it settled elsewhere.
      if (!this.#left) await this.#settleInBackground();
      throw error;
    }
  }

  async #drain(): Promise<void> {
    for (let bytes = 0; !this.#ended && bytes < REPORT_BYTES_MAX; ) {
      const { value } = await this.#source.read();
      bytes += value?.length ?? 0;
      for (const { data } of value ? this.#splitter.push(value) : this.#rest()) {
        if (data !== undefined) this.#take(data);
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
    if (data === undefined) return !this.#left;
    const step = this.#take(data);
    if (step === "end" && !this.#left) await this.#settle();
    return step !== "hide" && !this.#left;
  }

  #take(data: unknown) {
    const step = this.#reader.take(data);
    this.#ended ||= step === "end";
    return step;
  }

  async #settle(): Promise<void> {
    if (this.#reader.hasFailed) return this.#settleInBackground();
    if (this.#settled) return;
    this.#settled = true;
    await bill({ report: this.#reader.report() }, this.#billing).catch((error: unknown) => {
      if (this.#left) this.#billing.onBackgroundError(error as Error);
      // Nobody reads on.
      this.#release();
      this.#upstream.abort();
      throw error;
    });
  }

  async #settleInBackground(emitMany?: EmitMany): Promise<void> {
    if (this.#settled) return;
    this.#settled = true;
    const report = this.#reader.report();
    // An API that failed before it reported anything used nothing.
    if (report === undefined && this.#reader.hasFailed) return;
    await billInBackground({ report }, this.#billing, emitMany);
  }
}

/** `work`, which `abort` ends if it takes too long. */
async function within<T>(work: Promise<T>, abort: () => void): Promise<T> {
  const timer = setTimeout(abort, REPORT_WAIT_MS);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}
