import { BATCH_EVENTS_MAX, type Buffer } from "./buffer.js";
import { describe, type MeterlineError, PerhapsRecorded, type Problem, Refused } from "./errors.js";
import { idsOf, type WireEvent } from "./event.js";
import type { Fate } from "./fate.js";
import type { Recorded } from "./recorded.js";
import type { Runtime } from "./runtime.js";
import type { Delivery, Sender } from "./sender.js";

/** What became of an event, for its caller. */
export type Outcome = Recorded | MeterlineError;

/** Records events, and says what became of each, in order. */
export interface Recorder {
  /** `flushes` are those of the buffer that there were when the call began. */
  record(events: readonly WireEvent[], flushes: number | undefined): Promise<Outcome[]>;
}

/** How long, by what, and from when on events are sent. */
export interface DispatchParts {
  sender: Sender;
  buffer: Buffer | undefined;
  runtime: Runtime;
  retryBudgetMs: number;
}

/** Sends each event by the way that was chosen: by itself, with its caller's others, or with everybody's. */
export class Dispatch implements Recorder {
  readonly #parts: DispatchParts;

  constructor(parts: DispatchParts) {
    this.#parts = parts;
  }

  async record(events: readonly WireEvent[], flushes: number | undefined): Promise<Outcome[]> {
    const fates = await this.send(events, flushes);
    return events.map((event, index) => outcome(event, fates[index] as Fate));
  }

  /** The fates of the events, in order. */
  send(events: readonly WireEvent[], flushes: number | undefined): Promise<Fate[]> {
    const { sender, buffer, runtime, retryBudgetMs } = this.#parts;
    const deadlineMs = runtime.nowMs() + retryBudgetMs;
    const deliveries: Delivery[] = [];
    const fates = events.map(
      (event) =>
        new Promise<Fate>((settle) => {
          deliveries.push({ event, deadlineMs, settle });
        }),
    );
    if (buffer !== undefined) {
      for (const delivery of deliveries) buffer.add(delivery, flushes);
    } else if (deliveries.length === 1) {
      void sender.deliver(deliveries, "single");
    } else {
      for (let start = 0; start < deliveries.length; start += BATCH_EVENTS_MAX) {
        void sender.deliverInTurn(deliveries.slice(start, start + BATCH_EVENTS_MAX));
      }
    }
    return Promise.all(fates);
  }
}

/** The error of an event that was refused. */
export function refused(event: WireEvent, problem: Problem): Refused {
  const message = `event ${event.event_id} was refused: ${describe(problem)}`;
  return new Refused(message, { ...idsOf(event), problem });
}

function outcome(event: WireEvent, fate: Fate): Outcome {
  if (fate.fate === "recorded") return fate.recorded;
  if (fate.fate === "refused") return refused(event, fate.problem);
  const message =
    `event ${event.event_id} is perhaps recorded: emit again under this id, or void it ` +
    `(${fate.reason})`;
  return new PerhapsRecorded(message, { ...idsOf(event), problem: fate.problem });
}
