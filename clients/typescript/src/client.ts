/// <reference lib="esnext.disposable" preserve="true" />
import { type Access, type AccessOptions, accessPath, askForAccess } from "./access.js";
import { Asker } from "./asker.js";
import { BATCH_EVENTS_MAX, Buffer, type BufferOptions } from "./buffer.js";
import {
  AccessDenied,
  Closed,
  type ErrorDetails,
  InvalidUsage,
  MeterlineError,
  Refused,
} from "./errors.js";
import {
  type EmitOptions,
  idsOf,
  type UsageEvent,
  usageEvent,
  type WireEvent,
  wireEvent,
} from "./event.js";
import { isAboutTheKey } from "./fate.js";
import { guarded, type OnBackgroundError } from "./hook.js";
import { type Metered, type MeteredOptions, type Plan, planned, usedBy } from "./metered.js";
import type { Recorded } from "./recorded.js";
import { Dispatch, type Outcome, type Recorder } from "./recorder.js";
import {
  type Reservation,
  type ReservationStatus,
  type ReserveOptions,
  type WireReservation,
  wireReservation,
} from "./reservation.js";
import { Reservations } from "./reservations.js";
import { type Runtime, systemRuntime } from "./runtime.js";
import { Sender } from "./sender.js";
import type { SpoolState } from "./spool.js";
import { SpooledRecorder } from "./spooled_recorder.js";
import { traceAccess, traceEmit, traceRelease, traceReserve } from "./telemetry.js";
import { Transport } from "./transport.js";
import { UnderWay } from "./under_way.js";
import { requireCustomer, requireReservationId } from "./validation.js";

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
   * in the middle, units that a failed action could not give back. A warning of the process unless
   * given.
   */
  onBackgroundError?: OnBackgroundError | undefined;
  /** Stands in for the global `fetch`. */
  fetch?: typeof fetch | undefined;
}

/** What {@link Meterline.emitMany} does. @internal */
export type EmitMany = (events: readonly UsageEvent[]) => Promise<(Recorded | MeterlineError)[]>;

/** Meterline, under the key of one agent. One of them serves a whole process. */
export class Meterline {
  /** Told of what nobody waits for. */
  readonly onBackgroundError: OnBackgroundError;
  readonly #runtime: Runtime;
  readonly #retryBudgetMs: number;
  readonly #asker: Asker;
  readonly #reservations: Reservations;
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
    const transport = new Transport({
      url: options.url ?? process.env["METERLINE_URL"] ?? "",
      apiKey: options.apiKey ?? process.env["METERLINE_API_KEY"] ?? "",
      requestTimeoutMs,
      fetch: options.fetch ?? globalThis.fetch,
    });
    this.#runtime = runtime;
    this.#retryBudgetMs = retryBudgetMs;
    this.#asker = new Asker({ transport, runtime, retryBudgetMs });
    this.#reservations = new Reservations(this.#asker);
    const sender = new Sender(transport, runtime);
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
    this.#requireOpen(idsOf(event));
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
    this.#requireOpen(wired[0] && idsOf(wired[0]));
    return this.#record(wired);
  }

  /**
   * Runs `run` and records it, in this order: no bill without the work, and no result without the
   * bill. If it throws, its error comes through as it is, and nothing is recorded. With the same
   * `jobId` or `eventId` a re-run is billed once.
   *
   * @throws {MeterlineError} as {@link Meterline.emit}, with the `event` to go on with and the
   * action's `result`; and, before anything is run, as
   * {@link Meterline.checkAccess} and `access_denied` where `checkAccess` is set, and as
   * {@link Meterline.reserve} where `reserve` is.
   */
  async metered<T>(
    customer: string,
    action: string,
    run: () => T | PromiseLike<T>,
    options: MeteredOptions<T> = {},
  ): Promise<Metered<T>> {
    const plan = planned(customer, action, run, options);
    this.#requireOpen({ eventId: plan.event.event_id });
    return this.#actions.add(this.#metered(plan));
  }

  /**
   * Holds `quantity` units of the customer's limit for `action`, until an event that names the
   * reservation settles it, {@link Meterline.release} gives it back, or it expires. The same request
   * again, under the same `reservationId`, holds nothing twice.
   *
   * @throws {MeterlineError} `limit_reached` where less is left; `unavailable` where there was no clear
   * answer: the units are perhaps held, under the error's `reservationId`, and expire; `refused`.
   */
  async reserve(
    customer: string,
    action: string,
    quantity: number,
    options: ReserveOptions = {},
  ): Promise<Reservation> {
    const wanted = wireReservation(customer, action, quantity, options);
    this.#requireOpen({ reservationId: wanted.reservation_id });
    return this.#hold(wanted);
  }

  /**
   * Gives a reservation back, and resolves with what it has come to: `released`, or `settled` or
   * `expired` where it had ended before.
   *
   * @throws {MeterlineError} `refused`, or `unavailable` where there was no clear answer.
   */
  async release(customer: string, reservationId: string): Promise<ReservationStatus> {
    requireReservationId(reservationId);
    requireCustomer(customer, { reservationId });
    this.#requireOpen({ reservationId });
    const release = () => this.#reservations.release(customer, reservationId);
    return this.#sending.add(traceRelease(customer, reservationId, release));
  }

  /**
   * Whether the customer may act now, and use so many `units` more, where they are given. Emission
   * does not ask: it never drops what already happened.
   *
   * @throws {MeterlineError} `refused`, or `unavailable` where there was no clear answer.
   */
  async checkAccess(customer: string, options: AccessOptions = {}): Promise<Access> {
    const path = accessPath(customer, options);
    this.#requireOpen();
    return this.#access(customer, path);
  }

  /**
   * Sends what waits, and resolves when all that is on its way now is settled, with what is left in
   * the spool. Later calls are not waited for, nor metered actions that still run.
   */
  async flush(): Promise<SpoolState> {
    this.#buffer?.flush();
    await this.#sending.allThereEnded();
    const deadlineMs = this.#runtime.nowMs() + this.#retryBudgetMs;
    return (await this.#spooled?.flush(deadlineMs)) ?? { waiting: 0, setAside: 0 };
  }

  /**
   * Takes no new call, and resolves when those under way are settled, metered actions with them: so
   * it never does within such an action. What waits in the spool is left there.
   */
  async close(): Promise<void> {
    this.#closed = true;
    this.#buffer?.hurry();
    await this.#actions.ended();
    await this.#sending.ended();
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
   * that it is given is taken also while the client closes, and is part of a flush meanwhile.
   *
   * @internal
   */
  inBackground(work: (emitMany: EmitMany) => Promise<void>): void {
    const flushes = this.#buffer?.flushes;
    const letIn: EmitMany = async (events) => this.#record(events.map(wireEvent), flushes);
    void this.#sending.add(work(this.#closed ? this.emitMany.bind(this) : letIn));
  }

  async #metered<T>(plan: Plan<T>): Promise<Metered<T>> {
    const { run, event, checkAccess, wanted } = plan;
    if (checkAccess) await this.#requireAccess(event);
    if (wanted !== undefined) await this.#hold(wanted, event.event_id);
    let result: T;
    let used: WireEvent;
    try {
      result = await run();
      used = usedBy(plan, result);
    } catch (error) {
      if (wanted !== undefined) await this.#giveBack(wanted);
      throw error;
    }
    const outcome = await this.#recordOne(used);
    if (wanted !== undefined && settlesNothing(outcome)) {
      await this.#giveBack(wanted);
      const { reservation_id: _, ...rest } = used;
      used = rest;
    }
    if (outcome instanceof MeterlineError) throw outcome.withhold(usageEvent(used), result);
    return { result, usage: outcome };
  }

  async #emit(event: WireEvent): Promise<Recorded> {
    const outcome = await this.#recordOne(event);
    if (outcome instanceof MeterlineError) throw outcome;
    return outcome;
  }

  async #recordOne(event: WireEvent): Promise<Outcome> {
    const [outcome] = await this.#record([event]);
    return outcome as Outcome;
  }

  /** `flushes` are those that there were when the call began, if that was before. */
  #record(events: readonly WireEvent[], flushes = this.#buffer?.flushes): Promise<Outcome[]> {
    return this.#sending.add(traceEmit(events, () => this.#recorder.record(events, flushes)));
  }

  #hold(wanted: WireReservation, eventId?: string): Promise<Reservation> {
    const hold = () => this.#reservations.hold(wanted, eventId);
    return this.#sending.add(traceReserve(wanted, hold));
  }

  /** No event settles it. Whatever comes of that, what the caller is told of is the action. */
  #giveBack(wanted: WireReservation): Promise<void> {
    return this.#sending.add(this.#reservations.giveBack(wanted).catch(this.onBackgroundError));
  }

  #access(customer: string, path: string): Promise<Access> {
    return this.#sending.add(traceAccess(customer, () => askForAccess(this.#asker, path)));
  }

  async #requireAccess({ customer_id, event_id }: WireEvent): Promise<void> {
    const access = await this.#access(customer_id, accessPath(customer_id));
    if (!access.allowed) throw new AccessDenied(access, { eventId: event_id });
  }

  #requireOpen(details?: ErrorDetails): void {
    if (this.#closed) throw new Closed("the client is closed", details);
  }
}

/** Whether the reservation that an event named is held, still, and for nothing. */
function settlesNothing(outcome: Outcome): boolean {
  if (!(outcome instanceof MeterlineError)) return outcome.duplicate;
  // In doubt, or once the key is mended, the event may settle it yet.
  return outcome instanceof Refused && !(outcome.problem && isAboutTheKey(outcome.problem));
}

function requireNumber(name: string, value: number, min: number, max = 2 ** 31 - 1): void {
  if (typeof value !== "number" || !(value >= min && value <= max)) {
    throw new InvalidUsage(`${name} must be a number from ${min} to ${max}`);
  }
}
