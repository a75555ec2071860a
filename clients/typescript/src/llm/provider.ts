import type { Report } from "./tokens.js";

/** What a POST is, by its path. */
export type Route =
  /** A model answers, and the answer says what it used. */
  | "metered"
  /** Nothing is used that would be billed. */
  | "free"
  /** Something may be used, and nothing here can tell how much. */
  | "unknown";

/** What to do with an event of a stream. */
export type Step =
  /** Hand it on. */
  | "pass"
  /** Keep it from the caller, who did not ask for it. */
  | "hide"
  /** Hand it on once the usage is recorded: it is the last. */
  | "end";

/** Reads the usage out of a stream of one answer. */
export interface StreamReader {
  /** Whether nothing is being generated any more, as far as can be told, so that only the report is missing. */
  readonly isGenerated: boolean;
  /** Whether the API said that it failed: the caller is to see that, and not an error about its usage. */
  readonly hasFailed: boolean;
  /** Takes the data of the next event: JSON, or the text where it is none. */
  take(data: unknown): Step;
  /** What was reported so far; undefined where nothing was. */
  report(): Report | undefined;
}

/** A request's body as it will be sent. */
export interface Prepared {
  readonly body: string;
  /** Whether the caller did not ask for the report in the stream, and must not see it. */
  readonly hidesReport: boolean;
}

/** A provider's API, as far as its usage is concerned. */
export interface Provider {
  /** What a POST to that path is; only the end of the path is looked at. */
  route(pathname: string): Route;
  /**
   * The request's body, such that the answer says what it used.
   *
   * @throws {InvalidUsage} where it cannot.
   */
  prepare(pathname: string, body: string): Prepared;
  /** Reads a plain answer; undefined where it says nothing of its usage. */
  readAnswer(answer: unknown): Report | undefined;
  /** Reads a stream. */
  readStream(pathname: string, prepared: Prepared): StreamReader;
}
