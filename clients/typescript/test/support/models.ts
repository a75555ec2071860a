import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { json, text } from "./api.js";

/** What a model server says to one request. */
export type Said =
  | { readonly status: number; readonly body: object }
  /** Events, each in the lines of its protocol; held back by `before`, where there is one. */
  | { readonly events: readonly string[]; readonly before?: (index: number) => Promise<void> };

/** A server that speaks a model API as it is told to, over HTTP. */
export class ModelServer {
  readonly #server: Server;
  readonly requests: { readonly path: string; readonly body: Record<string, unknown> }[] = [];
  /** What it says to the next requests, one each. */
  readonly says: Said[] = [];
  /** How many connections ended before the answer was whole. */
  aborted = 0;

  private constructor() {
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
  }

  static async start(): Promise<ModelServer> {
    const server = new ModelServer();
    await new Promise<void>((listening) => server.#server.listen(0, "127.0.0.1", listening));
    return server;
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((closed) => this.#server.close(closed));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on("close", () => {
      if (!response.writableFinished) this.aborted++;
    });
    const body = await text(request);
    const parsed = body === "" ? {} : (JSON.parse(body) as Record<string, unknown>);
    this.requests.push({ path: request.url ?? "", body: parsed });
    const said = this.says.shift();
    if (said === undefined) return json(response, 500, { error: { message: "nothing to say" } });
    if ("status" in said) return json(response, said.status, said.body);
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const [index, event] of said.events.entries()) {
      await said.before?.(index);
      for (const piece of pieces(event)) {
        response.write(piece);
        await new Promise((turn) => setImmediate(turn));
      }
    }
    response.end();
  }
}

/** Text in two pieces that end anywhere, as networks deliver them: in a character, where one is long enough. */
function pieces(text: string): [Buffer, Buffer] {
  const bytes = Buffer.from(text);
  const long = bytes.findIndex((byte) => byte > 0x7f);
  const cut = long === -1 ? bytes.length >> 1 : long + 1;
  return [bytes.subarray(0, cut), bytes.subarray(cut)];
}

/** An event with a name, as Anthropic and OpenAI's Responses API write them. */
export function named(data: { type: string; [member: string]: unknown }): string {
  return `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** An event without one, as Chat Completions writes them. */
export function unnamed(data: object | string): string {
  return `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;
}
