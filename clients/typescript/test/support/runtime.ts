import type { Runtime } from "../../src/runtime.js";

/** Time that passes only by sleeping, and at once; background sleeps end when time has passed. */
export class TestRuntime implements Runtime {
  #nowMs = 0;
  /** Sleeps of callers, in milliseconds. */
  readonly sleeps: number[] = [];
  readonly #background: { endsMs: number; wake: () => void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal === undefined) {
      this.sleeps.push(ms);
      this.#nowMs += ms;
      return;
    }
    if (signal.aborted) return;
    await new Promise<void>((wake) => {
      this.#background.push({ endsMs: this.#nowMs + ms, wake });
      signal.addEventListener("abort", () => wake(), { once: true });
    });
  }

  /** Lets time pass for what sleeps in the background. */
  advance(ms: number): void {
    this.#nowMs += ms;
    for (const { endsMs, wake } of this.#background) if (endsMs <= this.#nowMs) wake();
  }

  /** Always the longest wait, so that what is waited for can be told. */
  random(): number {
    return 1;
  }
}
