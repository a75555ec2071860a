import { parseJson } from "../json.js";

/** An event of a stream: its bytes as text, with the blank line behind it, and its data. */
export interface ServerSentEvent {
  readonly raw: string;
  /** JSON, or the text where it is none; undefined where the event has no data. */
  readonly data: unknown;
}

/** Cuts a stream of bytes into its events (HTML, "Server-sent events"). */
export class EventSplitter {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #rest = "";

  /** The events that `chunk` completes. */
  push(chunk: Uint8Array): ServerSentEvent[] {
    this.#rest += this.#decoder.decode(chunk, { stream: true });
    const events: ServerSentEvent[] = [];
    for (;;) {
      const end = /\r\n\r\n|\n\n|\r\r/.exec(this.#rest);
      if (end === null) return events;
      const length = end.index + end[0].length;
      events.push(event(this.#rest.slice(0, length)));
      this.#rest = this.#rest.slice(length);
    }
  }

  /** What the stream ended with, where that was no blank line. */
  end(): ServerSentEvent | undefined {
    const rest = this.#rest + this.#decoder.decode();
    this.#rest = "";
    return rest === "" ? undefined : event(rest);
  }
}

function event(raw: string): ServerSentEvent {
  const data = raw
    .split(/\r\n|\n|\r/)
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice("data:".length).replace(/^ /, ""))
    .join("\n");
  return { raw, data: data === "" ? undefined : (parseJson(data) ?? data) };
}
