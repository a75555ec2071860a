import { MeterlineError, type Problem } from "./errors.js";
import type { WireEvent } from "./event.js";
import { type Fate, isAboutTheKey } from "./fate.js";
import { spooled } from "./recorded.js";
import { type Dispatch, type Outcome, type Recorder, refused } from "./recorder.js";
import { Resender } from "./resender.js";
import type { Runtime } from "./runtime.js";
import type { Sender } from "./sender.js";
import { Spool, type SpoolState } from "./spool.js";

/** A conflict that the spool finds before the API can. */
const SPOOL_CONFLICT: Problem = {
  type: "urn:meterline:problem:conflict",
  title: "The id is in use for something else",
  status: 409,
  detail: "the spool has this event id of the customer with other content",
};

/** What a {@link SpooledRecorder} works with. */
export interface SpooledRecorderParts {
  folder: string;
  dispatch: Dispatch;
  sender: Sender;
  runtime: Runtime;
  onBackgroundError(error: Error): void;
}

/** The calls that have an event in their hands. */
interface Hold {
  calls: number;
  /** Whether there was more than one. */
  shared: boolean;
}

/** Records events by way of the disk, where they stay until their fate is clear. */
export class SpooledRecorder implements Recorder {
  readonly #parts: SpooledRecorderParts;
  readonly #spool: Spool;
  readonly #resender: Resender;
  /** The names of events that calls under way will settle. */
  readonly #held = new Map<string, Hold>();
  /** Whether an event had to be left in the spool, and nothing was heard of the API since. */
  #outage = false;

  constructor(parts: SpooledRecorderParts) {
    this.#parts = parts;
    this.#spool = new Spool(parts.folder, parts.onBackgroundError);
    this.#resender = new Resender({
      ...parts,
      spool: this.#spool,
      isHeld: (name) => this.#held.has(name),
    });
  }

  async record(events: readonly WireEvent[], flushes: number | undefined): Promise<Outcome[]> {
    const releases = events.map((event) => this.#hold(Spool.nameOf(event)));
    try {
      const puts = await Promise.all(events.map((event) => this.#put(event)));
      const toSend = events.filter((_, index) => puts[index] === "new" || puts[index] === "known");
      const fates = await this.#send(toSend, flushes);
      const settled = await Promise.all(
        events.map((event, index) => {
          const put = puts[index];
          if (put instanceof MeterlineError) return put;
          const { shared } = this.#held.get(Spool.nameOf(event)) ?? { shared: false };
          return this.#settle(event, fates?.get(event), shared || put === "known");
        }),
      );
      return settled;
    } finally {
      for (const release of releases) release();
      // It looks once, and finds what this call may have left.
      if (this.#outage) this.#resender.wake();
    }
  }

  /** Tries all that waits until `deadlineMs`, and says what is left. */
  async flush(deadlineMs: number): Promise<SpoolState> {
    await this.#resender.flush(deadlineMs);
    return this.#spool.state();
  }

  /** Ends the sending in the background. What waits is left. */
  close(): Promise<void> {
    return this.#resender.stop();
  }

  async #put(event: WireEvent): Promise<"new" | "known" | MeterlineError> {
    try {
      const put = await this.#spool.put(event);
      return put === "conflict" ? refused(event, SPOOL_CONFLICT) : put;
    } catch (error) {
      if (error instanceof MeterlineError) return error;
      throw error;
    }
  }

  /** The fates of the events; none while the API is known to be out of reach. */
  async #send(
    events: readonly WireEvent[],
    flushes: number | undefined,
  ): Promise<Map<WireEvent, Fate> | undefined> {
    const { dispatch, sender } = this.#parts;
    if (this.#outage && sender.unreachable) return undefined;
    const fates = await dispatch.send(events, flushes);
    if (fates.length > 0) this.#outage = fates.some(({ fate }) => fate === "unclear");
    return new Map(events.map((event, index) => [event, fates[index] as Fate]));
  }

  /** Takes the event out of the spool, unless it waits for a further sending. */
  async #settle(event: WireEvent, fate: Fate | undefined, isShared: boolean): Promise<Outcome> {
    if (fate === undefined || fate.fate === "unclear") return spooled(event);
    if (fate.fate === "recorded") {
      await this.#spool.remove(Spool.nameOf(event)).catch(this.#parts.onBackgroundError);
      return fate.recorded;
    }
    // Another caller was told that it is safe, or is about to be; and a key can be mended.
    if (isShared && isAboutTheKey(fate.problem)) return spooled(event);
    await this.#spool.setAside(event, fate.problem).catch(this.#parts.onBackgroundError);
    return refused(event, fate.problem);
  }

  /** Keeps the resender from an event until it is released. */
  #hold(name: string): () => void {
    const hold = this.#held.get(name) ?? { calls: 0, shared: false };
    this.#held.set(name, hold);
    hold.calls += 1;
    hold.shared ||= hold.calls > 1;
    return () => {
      hold.calls -= 1;
      if (hold.calls === 0) this.#held.delete(name);
    };
  }
}
