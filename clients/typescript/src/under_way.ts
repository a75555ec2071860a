/** Work that somebody may wait for the end of. */
export class UnderWay {
  readonly #work = new Set<Promise<unknown>>();

  /** Takes `work` in, until it ends one way or the other. */
  add<T>(work: Promise<T>): Promise<T> {
    const forget = (): void => void this.#work.delete(ended);
    const ended: Promise<void> = work.then(forget, forget);
    this.#work.add(ended);
    return work;
  }

  /** Resolves once all that is there now has ended. */
  async allThereEnded(): Promise<void> {
    await Promise.all(this.#work);
  }

  /** Resolves once there is none, what comes meanwhile included. */
  async ended(): Promise<void> {
    while (this.#work.size > 0) await Promise.all(this.#work);
  }
}
