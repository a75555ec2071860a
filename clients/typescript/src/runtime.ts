/** Time and chance, which tests bring their own of. */
export interface Runtime {
  /** A clock that never goes back, in milliseconds. */
  nowMs(): number;
  /** Ends after `ms`, or when `signal` is aborted; a sleep with a signal does not keep the process alive. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** From 0 to 1, without 1. */
  random(): number;
}

/** The machine's. */
export const systemRuntime: Runtime = {
  nowMs: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const timer = setTimeout(done, ms);
      if (signal !== undefined) timer.unref();
      signal?.addEventListener("abort", done, { once: true });
      function done() {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      }
    }),
  random: Math.random,
};
