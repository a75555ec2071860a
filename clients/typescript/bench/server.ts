// Answers every event as recorded, at once: what is left to measure is the caller's side. A process of
// its own, so that it takes no time of the caller's.

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import type { WireEvent } from "../src/event.js";

function answer({ event_id, quantity }: WireEvent): object {
  return { event_id, status: "delivered", duplicate: false, quantity, customer_status: "active" };
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const sent = JSON.parse(Buffer.concat(chunks).toString()) as
      | WireEvent
      | { events: WireEvent[] };
    const said = "events" in sent ? { results: sent.events.map(answer) } : answer(sent);
    const body = JSON.stringify(said);
    response.writeHead(200, {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
    });
    response.end(body);
  });
});
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
process.on("disconnect", () => process.exit());
