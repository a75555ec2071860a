import { Backoff } from "./backoff.js";
import type { Problem } from "./errors.js";
import { inDoubt, isUnclear, readProblem, type Unclear, unclear, unreadable } from "./fate.js";
import type { Runtime } from "./runtime.js";
import type { Answer, Method, Transport } from "./transport.js";

/** A request that is safe to make again. */
export interface Question<T> {
  readonly method: Method;
  readonly path: string;
  readonly body?: unknown;
  /** Statuses of the refusals that hold also after a lost answer. Every one unless given. */
  readonly certain?: ReadonlySet<number>;
  /** Reads the body of a success; undefined where it proves nothing. */
  read(body: unknown): T | undefined;
}

/** What the API says to a question. */
export type Reply<T> =
  | { readonly fate: "answered"; readonly answer: T }
  | { readonly fate: "refused"; readonly problem: Problem }
  | Unclear;

/** Whom an {@link Asker} asks, and for how long. */
export interface AskerParts {
  transport: Transport;
  runtime: Runtime;
  retryBudgetMs: number;
}

/** Asks with the patience that events are sent with. */
export class Asker {
  readonly #parts: AskerParts;

  constructor(parts: AskerParts) {
    this.#parts = parts;
  }

  /** Asks again until the reply is clear, or the time is over. */
  async ask<T>(question: Question<T>): Promise<Reply<T>> {
    const { runtime, retryBudgetMs } = this.#parts;
    const backoff = new Backoff(runtime.random);
    const deadlineMs = runtime.nowMs() + retryBudgetMs;
    let perhapsReached = false;
    for (;;) {
      const reply = await this.askOnce(question);
      if (reply.fate === "answered") return reply;
      if (reply.fate === "refused") {
        const { problem } = reply;
        const holds = !perhapsReached || (question.certain?.has(problem.status) ?? true);
        return holds ? reply : inDoubt(problem);
      }
      perhapsReached ||= reply.perhapsReached;
      const waitMs = backoff.nextWaitMs(reply.retryAfterMs);
      if (runtime.nowMs() + waitMs > deadlineMs) return reply;
      await runtime.sleep(waitMs);
    }
  }

  /** One attempt, within `timeoutMsMax` where that is shorter than any request may take. */
  async askOnce<T>(question: Question<T>, timeoutMsMax?: number): Promise<Reply<T>> {
    const { method, path, body } = question;
    return replyOf(question, await this.#parts.transport.request(method, path, body, timeoutMsMax));
  }
}

function replyOf<T>(question: Question<T>, answer: Answer): Reply<T> {
  if (isUnclear(answer) || !answer.answered) return unclear(answer);
  if (answer.status < 200 || answer.status > 299) {
    return { fate: "refused", problem: readProblem(answer.status, answer.body) };
  }
  const read = question.read(answer.body);
  return read === undefined ? unreadable() : { fate: "answered", answer: read };
}
