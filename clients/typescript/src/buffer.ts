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
  #waitMs: number;
  #waiting: Delivery[] = [];
  #flushes = 0;
  /** It keeps the process alive: an event must not vanish because nothing else is to be done. */
  #timer: NodeJS.Timeout | undefined;
  /** The same for what waits only for others that a flush hurries. */
  #hurriedTimer: NodeJS.Timeout | undefined;

  constructor(sender: Sender, { eventsMax = BATCH_EVENTS_MAX, waitMs = 20 }: BufferOptions) {
    this.#sender = sender;
    this.#eventsMax = eventsMax;
    this.#waitMs = waitMs;
  }

  /** How many flushes there were. */
  get flushes(): number {
    return this.#flushes;
  }

  /**
   * Takes an event of a call that began after so many `flushes`: one that was under way at a later
   * flush, as while it was written to a disk, is part of it. Its `settle` is called when its fate is
   * clear.
   */
  add(delivery: Delivery, flushes = this.#flushes): void {
    this.#waiting.push(delivery);
    if (this.#waiting.length >= this.#eventsMax) this.#send();
    else if (flushes < this.#flushes) this.#hurriedTimer ??= setTimeout(() => this.#send(), 0);
    else this.#timer ??= setTimeout(() => this.#send(), this.#waitMs);
  }

  /** Sends what waits, and what calls that are under way will add, without waiting longer. */
  flush(): void {
    this.#flushes++;
    this.#send();
  }

  /** Sends what waits, and from now on lets nothing wait for others. */
  hurry(): void {
    this.#waitMs = 0;
    this.flush();
  }

  #send(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#hurriedTimer);
    this.#timer = this.#hurriedTimer = undefined;
    const batch = this.#waiting;
    this.#waiting = [];
    if (batch.length > 0) void this.#sender.deliverInTurn(batch);
  }
}
