import { Backoff } from "./backoff.js";
import { BATCH_EVENTS_MAX } from "./buffer.js";
import { describe, type MeterlineError, type Problem, Refused } from "./errors.js";
import { idsOf, type WireEvent } from "./event.js";
import { type Fate, isAboutTheKey } from "./fate.js";
import type { Runtime } from "./runtime.js";
import type { Sender } from "./sender.js";
import type { Spool } from "./spool.js";

/** The longest wait after failures, and how often another process's leavings are looked for. */
const WAIT_MS_MAX = 30_000;

/** What waits is not put off for longer than this, whoever asks for it. */
const ASKED_MS_MAX = 300_000;

/** What a {@link Resender} works with. */
export interface ResenderParts {
  spool: Spool;
  sender: Sender;
  runtime: Runtime;
  /** Whether an `emit` of this process has the event of that name in its hands. */
  isHeld(name: string): boolean;
  /** Told of what nobody waits for. */
  onBackgroundError(error: Error): void;
}

/** Sends what waits in the spool, in the background. It does not keep the process alive. */
export class Resender {
  readonly #parts: ResenderParts;
  readonly #stopped = new AbortController();
  /** Ends the idle sleep. */
  #wake = new AbortController();
  /** The last round, which the next one waits for. */
  #lastRound: Promise<unknown> = Promise.resolve();
  readonly #loop: Promise<void>;
  /** How long the API asked to wait in the last round. */
  #askedMs = 0;
  /** What was told already, so that a round that fails like the last one is not told again. */
  #told = new Set<string>();

  constructor(parts: ResenderParts) {
    this.#parts = parts;
    this.#loop = this.#run();
  }

  /** Says that an event waits. */
  wake(): void {
    this.#wake.abort();
  }

  /** Tries everything that waits, again and again until `deadlineMs`. */
  async flush(deadlineMs: number): Promise<void> {
    await this.#round(deadlineMs);
  }

  /** Ends, after the batch that is under way. What waits is left. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#wake.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { runtime } = this.#parts;
    const backoff = new Backoff(runtime.random, WAIT_MS_MAX);
    while (!this.#stopped.signal.aborted) {
      this.#wake = new AbortController();
      const left = await this.#round(runtime.nowMs());
      if (left > 0) {
        await runtime.sleep(backoff.nextWaitMs(this.#askedMs), this.#stopped.signal);
      } else {
        backoff.reset();
        if (!this.#stopped.signal.aborted) await runtime.sleep(WAIT_MS_MAX, this.#wake.signal);
      }
    }
  }

  /** One round after the other. How many events are left; never rejects. */
  #round(deadlineMs: number): Promise<number> {
    const round = this.#lastRound.then(() => this.#sendAll(deadlineMs));
    this.#lastRound = round;
    return round;
  }

  async #sendAll(deadlineMs: number): Promise<number> {
    const { spool, isHeld } = this.#parts;
    this.#askedMs = 0;
    try {
      const names = (await spool.names()).filter((name) => !isHeld(name));
      let left = 0;
      for (let sent = 0; sent < names.length; sent += BATCH_EVENTS_MAX) {
        if (this.#stopped.signal.aborted) return left + names.length - sent;
        const batch = names.slice(sent, sent + BATCH_EVENTS_MAX);
        const result = await this.#sendBatch(batch, deadlineMs);
        left += result.left;
        if (result.concernsAll) return left + names.length - sent - batch.length;
      }
      if (left === 0) this.#told.clear();
      return left;
    } catch (error) {
      this.#tell("", error);
      return 1;
    }
  }

  /** How many of the events of these names are left, and whether those behind would fare no better. */
  async #sendBatch(
    names: string[],
    deadlineMs: number,
  ): Promise<{ left: number; concernsAll: boolean }> {
    let left = 0;
    const files = new Map<WireEvent, string>();
    for (const name of names) {
      try {
        const event = await this.#parts.spool.read(name);
        if (event) files.set(event, name);
      } catch (error) {
        // It stays, and keeps no other from being sent.
        this.#tell(name, error);
        left += 1;
      }
    }
    const fates = new Map<WireEvent, Fate>();
    const deliveries = [...files.keys()].map((event) => ({
      event,
      deadlineMs,
      settle: (fate: Fate) => void fates.set(event, fate),
    }));
    await this.#parts.sender.deliver(deliveries, "batch");
    for (const [event, fate] of fates) {
      const isSettled = await this.#settle(files.get(event) ?? "", event, fate).catch(
        (error: unknown) => {
          // Sent again, it is the duplicate that it is.
          this.#tell(event.event_id, error);
          return false;
        },
      );
      if (!isSettled) left += 1;
    }
    return { left, concernsAll: concernsAll([...fates.values()]) };
  }

  /** Whether the event is out of the spool. */
  async #settle(file: string, event: WireEvent, fate: Fate): Promise<boolean> {
    if (fate.fate === "recorded") {
      await this.#parts.spool.remove(file);
      return true;
    }
    if (fate.fate === "unclear") {
      const askedMs = Math.min(fate.retryAfterMs ?? 0, ASKED_MS_MAX);
      this.#askedMs = Math.max(this.#askedMs, askedMs);
      return false;
    }
    const error = refusal(event, fate.problem);
    if (isAboutTheKey(fate.problem)) {
      this.#tell(fate.problem.type, error);
      return false;
    }
    await this.#parts.spool.setAside(event, fate.problem, file);
    this.#parts.onBackgroundError(error);
    return true;
  }

  #tell(what: string, error: unknown): void {
    if (this.#told.has(what)) return;
    this.#told.add(what);
    this.#parts.onBackgroundError(error instanceof Error ? error : new Error(String(error)));
  }
}

/**
 * Whether the events behind these would fare no better: the API is silent, or does not know the key.
 * One that it knows may be of other customers: what a 403 holds up lets the rest by.
 */
function concernsAll(fates: readonly Fate[]): boolean {
  if (fates.length === 0) return false;
  return (
    fates.every(({ fate }) => fate === "unclear") ||
    fates.some((fate) => fate.fate === "refused" && fate.problem.status === 401)
  );
}

function refusal(event: WireEvent, problem: Problem): MeterlineError {
  const message = `event ${event.event_id}, which was spooled, is refused: ${describe(problem)}`;
  return new Refused(message, { ...idsOf(event), problem });
}
