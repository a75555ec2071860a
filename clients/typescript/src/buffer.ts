import type { Delivery, Sender } from "./sender.js";

/** How long events wait for others, to be sent together. */
export interface BufferOptions {
  /** Sent once so many wait: 1 to 100. 100 unless given. */
  eventsMax?: number;
  /** Sent once the first of them has waited so long. 20 ms unless given. */
  waitMs?: number;
}

/** The most events that the API takes in a batch. */
export const BATCH_EVENTS_MAX = 100;

/** Collects events into batches. Each caller is told the fate of its own event. */
export class Buffer {
  readonly #sender: Sender;
  readonly #eventsMax: number;
  readonly #waitMs: number;
  #waiting: Delivery[] = [];
  /** How many flushes are under way: what comes meanwhile is part of them. */
  #flushes = 0;
  /** It keeps the process alive: an event must not vanish because nothing else is to be done. */
  #timer: NodeJS.Timeout | undefined;

  constructor(sender: Sender, { eventsMax = BATCH_EVENTS_MAX, waitMs = 20 }: BufferOptions) {
    this.#sender = sender;
    this.#eventsMax = eventsMax;
    this.#waitMs = waitMs;
  }

  /** Takes an event. Its `settle` is called when its fate is clear. */
  add(delivery: Delivery): void {
    this.#waiting.push(delivery);
    if (this.#waiting.length >= this.#eventsMax) this.#send();
    else this.#timer ??= setTimeout(() => this.#send(), this.#flushes > 0 ? 0 : this.#waitMs);
  }

  /** Sends what waits, and until `settled` is over also what comes, without waiting longer. */
  async flush(settled: () => Promise<void>): Promise<void> {
    this.#flushes++;
    this.#send();
    await settled();
    this.#flushes--;
  }

  #send(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#waiting;
    this.#waiting = [];
    if (batch.length > 0) void this.#sender.deliverInTurn(batch);
  }
}
