/// <reference lib="esnext.disposable" preserve="true" />
import { type Access, readAccess } from "./access.js";
import { Backoff } from "./backoff.js";
import { BATCH_EVENTS_MAX, Buffer, type BufferOptions } from "./buffer.js";
import {
  AccessDenied,
  Closed,
  describe,
  InvalidUsage,
  MeterlineError,
  Refused,
  Unavailable,
} from "./errors.js";
import {
  type EmitOptions,
  requireCustomer,
  requireQuantity,
  type UsageEvent,
  type WireEvent,
  wireEvent,
} from "./event.js";
import { isUnclear, readProblem, unclear } from "./fate.js";
import { guarded, type OnBackgroundError } from "./hook.js";
import type { Recorded } from "./recorded.js";
import { Dispatch, type Outcome, type Recorder } from "./recorder.js";
import { type Runtime, systemRuntime } from "./runtime.js";
import { Sender } from "./sender.js";
import type { SpoolState } from "./spool.js";
import { SpooledRecorder } from "./spooled_recorder.js";
import { traceAccess, traceEmit } from "./telemetry.js";
import { Transport } from "./transport.js";
import { UnderWay } from "./under_way.js";

/** How to reach Meterline, and what to do while it cannot be reached. */
export interface MeterlineOptions {
  /** Where the API is; the variable `METERLINE_URL` unless given. */
  url?: string | undefined;
  /** A key that may emit, and read where access is checked; `METERLINE_API_KEY` unless given. */
  apiKey?: string | undefined;
  /** How long an event without a clear answer is sent again. 30 s unless given. */
  retryBudgetMs?: number | undefined;
  /** How long one request may take. 10 s unless given. */
  requestTimeoutMs?: number | undefined;
  /** Sends events in batches; `{}` for 100 events or 20 ms. Off unless given. */
  buffer?: BufferOptions | undefined;
  /** A folder for events that cannot be sent yet. Off unless given. */
  spoolDir?: string | undefined;
  /**
   * Told of what nobody waits for: a spooled event that is refused, a model's answer that was left
   * in the middle. A warning of the process unless given.
   */
  onBackgroundError?: OnBackgroundError | undefined;
  /** Stands in for the global `fetch`. */
  fetch?: typeof fetch | undefined;
}

/** What may be said of a metered action. */
export interface MeteredOptions<T> extends Omit<EmitOptions, "quantity"> {
  /** Units, or what reckons them from the action's result. 1 unless given. */
  quantity?: number | ((result: T) => number) | undefined;
  /** Whether to ask first if the customer may act. The key must be allowed to read. */
  checkAccess?: boolean | undefined;
}

/** An action's result, and the record of its usage. */
export interface Metered<T> {
  readonly result: T;
  readonly usage: Recorded;
}

/** What {@link Meterline.emitMany} does. @internal */
export type EmitMany = (events: readonly UsageEvent[]) => Promise<(Recorded | MeterlineError)[]>;

/** Meterline, under the key of one agent. One of them serves a whole process. */
export class Meterline {
  /** Told of what nobody waits for. */
  readonly onBackgroundError: OnBackgroundError;
  readonly #transport: Transport;
  readonly #runtime: Runtime;
  readonly #retryBudgetMs: number;
  readonly #buffer: Buffer | undefined;
  readonly #recorder: Recorder;
  readonly #spooled: SpooledRecorder | undefined;
  /** What `flush` and `close` wait for. */
  readonly #sending = new UnderWay();
  /** What `close` alone waits for: a `flush` may come from within such an action. */
  readonly #actions = new UnderWay();
  #closed = false;

  /** @throws {InvalidUsage} for an address, a key or a setting that cannot be used. */
  constructor(options?: MeterlineOptions);
  /** @internal With a test's own time and chance. */
  constructor(options: MeterlineOptions, runtime: Runtime);
  constructor(options: MeterlineOptions = {}, runtime: Runtime = systemRuntime) {
    const { retryBudgetMs = 30_000, requestTimeoutMs = 10_000, buffer, spoolDir } = options;
    requireNumber("retryBudgetMs", retryBudgetMs, 0);
    requireNumber("requestTimeoutMs", requestTimeoutMs, 1);
    requireNumber("buffer.eventsMax", buffer?.eventsMax ?? BATCH_EVENTS_MAX, 1, BATCH_EVENTS_MAX);
    requireNumber("buffer.waitMs", buffer?.waitMs ?? 0, 0);
    const warn = (error: Error) => process.emitWarning(error);
    this.onBackgroundError = guarded(options.onBackgroundError ?? warn);
    this.#transport = new Transport({
      url: options.url ?? process.env["METERLINE_URL"] ?? "",
      apiKey: options.apiKey ?? process.env["METERLINE_API_KEY"] ?? "",
      requestTimeoutMs,
      fetch: options.fetch ?? globalThis.fetch,
    });
    this.#runtime = runtime;
    this.#retryBudgetMs = retryBudgetMs;
    const sender = new Sender(this.#transport, runtime);
    this.#buffer = buffer && new Buffer(sender, buffer);
    const dispatch = new Dispatch({ sender, buffer: this.#buffer, runtime, retryBudgetMs });
    const { onBackgroundError } = this;
    this.#spooled =
      spoolDir === undefined
        ? undefined
        : new SpooledRecorder({ folder: spoolDir, dispatch, sender, runtime, onBackgroundError });
    this.#recorder = this.#spooled ?? dispatch;
  }

  /**
   * Records that `customer` used `action`. It resolves when the event is durable.
   *
   * @throws {MeterlineError} that says by `kind` and `retryable` what to do, and by `eventId` under
   * which id.
   */
  async emit(customer: string, action: string, options: EmitOptions = {}): Promise<Recorded> {
    const event = wireEvent({ ...options, customer, action });
    this.#requireOpen(event);
    return this.#emit(event);
  }

  /**
   * Records events, up to a hundred with one request, and resolves with an outcome for each, in
   * order: what {@link Meterline.emit} would resolve with, or throw. One bad event spoils no other.
   *
   * @throws {InvalidUsage} where one of them could never be recorded; none is sent then.
   */
  async emitMany(events: readonly UsageEvent[]): Promise<(Recorded | MeterlineError)[]> {
    const wired = events.map(wireEvent);
    this.#requireOpen(wired[0]);
    return this.#record(wired);
  }

  /**
   * Runs `run` and records it, in this order: no bill without the work, and no result without the
   * bill. If it throws, its error comes through as it is, and nothing is recorded. With the same
   * `jobId` or `eventId` a re-run is billed once.
   *
   * @throws {MeterlineError} as {@link Meterline.emit}; and, before anything is run, as
   * {@link Meterline.checkAccess} and `access_denied` where `checkAccess` is set.
   */
  async metered<T>(
    customer: string,
    action: string,
    run: () => T | PromiseLike<T>,
    options: MeteredOptions<T> = {},
  ): Promise<Metered<T>> {
    const { quantity, checkAccess = false, ...rest } = options;
    const fixed = typeof quantity === "function" ? 1 : quantity;
    const event = wireEvent({ ...rest, customer, action, quantity: fixed });
    this.#requireOpen(event);
    const reckon = typeof quantity === "function" ? quantity : undefined;
    return this.#actions.add(this.#metered(event, run, checkAccess, reckon));
  }

  /**
   * Whether the customer may act now. Emission does not ask: it never drops what already happened.
   *
   * @throws {MeterlineError} `refused`, or `unavailable` where there was no clear answer.
   */
  async checkAccess(customer: string): Promise<Access> {
    requireCustomer(customer);
    this.#requireOpen();
    return this.#access(customer);
  }

  /**
   * Sends what waits, and resolves when all that is on its way is settled, with what is left in the
   * spool. Metered actions that still run are not waited for.
   */
  async flush(): Promise<SpoolState> {
    await this.#hurried(() => this.#sending.ended());
    const deadlineMs = this.#runtime.nowMs() + this.#retryBudgetMs;
    return (await this.#spooled?.flush(deadlineMs)) ?? { waiting: 0, setAside: 0 };
  }

  /**
   * Takes no new call, and resolves when those under way are settled, metered actions with them: so
   * it never does within such an action. What waits in the spool is left there.
   */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#hurried(async () => {
      await this.#actions.ended();
      await this.#sending.ended();
    });
    await this.#spooled?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @throws {Closed} once the client is closed. @internal */
  requireOpen(): void {
    this.#requireOpen();
  }

  /**
   * Has `flush` and `close` wait for `work`, which never rejects. What it records by the function
   * that it is given is taken also while the client closes.
   *
   * @internal
   */
  inBackground(work: (emitMany: EmitMany) => Promise<void>): void {
    const letIn: EmitMany = async (events) => this.#record(events.map(wireEvent));
    void this.#sending.add(work(this.#closed ? this.emitMany.bind(this) : letIn));
  }

  async #metered<T>(
    event: WireEvent,
    run: () => T | PromiseLike<T>,
    checkAccess: boolean,
    reckon: ((result: T) => number) | undefined,
  ): Promise<Metered<T>> {
    if (checkAccess) await this.#requireAccess(event);
    const result = await run();
    const quantity = reckon ? requireQuantity(reckon(result), event.event_id) : event.quantity;
    return { result, usage: await this.#emit({ ...event, quantity }) };
  }

  async #emit(event: WireEvent): Promise<Recorded> {
    const [outcome] = await this.#record([event]);
    if (outcome === undefined || outcome instanceof MeterlineError) throw outcome;
    return outcome;
  }

  #record(events: readonly WireEvent[]): Promise<Outcome[]> {
    return this.#sending.add(traceEmit(events, () => this.#recorder.record(events)));
  }

  #access(customer: string): Promise<Access> {
    return this.#sending.add(traceAccess(customer, () => this.#askForAccess(customer)));
  }

  async #requireAccess({ customer_id, event_id }: WireEvent): Promise<void> {
    const access = await this.#access(customer_id);
    if (!access.allowed) throw new AccessDenied(access, { eventId: event_id });
  }

  async #askForAccess(customer: string): Promise<Access> {
    const backoff = new Backoff(this.#runtime.random);
    const deadlineMs = this.#runtime.nowMs() + this.#retryBudgetMs;
    for (;;) {
      const answer = await this.#transport.request("GET", `/v1/customers/${customer}/access`);
      const access = readAccess(answer.answered && answer.status === 200 ? answer.body : undefined);
      if (access !== undefined) return access;
      if (answer.answered && !isUnclear(answer) && answer.status !== 200) {
        const problem = readProblem(answer.status, answer.body);
        throw new Refused(`access cannot be asked for: ${describe(problem)}`, { problem });
      }
      const { reason, problem, retryAfterMs } = unclear(answer);
      const waitMs = backoff.nextWaitMs(retryAfterMs);
      if (this.#runtime.nowMs() + waitMs > deadlineMs) {
        throw new Unavailable(`access is not known: ${reason}`, { problem });
      }
      await this.#runtime.sleep(waitMs);
    }
  }

  /** Lets nothing wait for others until `ended` is over. */
  #hurried(ended: () => Promise<void>): Promise<void> {
    return this.#buffer ? this.#buffer.flush(ended) : ended();
  }

  #requireOpen(event?: WireEvent): void {
    if (this.#closed) throw new Closed("the client is closed", { eventId: event?.event_id });
  }
}

function requireNumber(name: string, value: number, min: number, max = 2 ** 31 - 1): void {
  if (typeof value !== "number" || !(value >= min && value <= max)) {
    throw new InvalidUsage(`${name} must be a number from ${min} to ${max}`);
  }
}
