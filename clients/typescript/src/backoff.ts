import type { Runtime } from "./runtime.js";

/** The longest first wait, in milliseconds. */
const STEP_MS_MIN = 50;

/** Waits that grow, each a random part of its step, so that agents that failed together do not come back together. */
export class Backoff {
  readonly #random: Runtime["random"];
  readonly #stepMsMax: number;
  #stepMs = STEP_MS_MIN;

  constructor(random: Runtime["random"], stepMsMax = 2000) {
    this.#random = random;
    this.#stepMsMax = stepMsMax;
  }

  /**
   * The next wait in milliseconds: after what the server asked for, which may be the same of all that
   * failed.
   */
  nextWaitMs(retryAfterMs = 0): number {
    const waitMs = this.#random() * this.#stepMs;
    this.#stepMs = Math.min(this.#stepMs * 2, this.#stepMsMax);
    return retryAfterMs + waitMs;
  }

  /** Begins anew, after a success. */
  reset(): void {
    this.#stepMs = STEP_MS_MIN;
  }
}
