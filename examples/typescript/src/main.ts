// Summarises the documents of a folder and bills one unit for each.
//
//   npm start -- --customer cus_… --job monday [--dir …] [--json]

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import Anthropic from "@anthropic-ai/sdk";
import { Meterline, MeterlineError } from "meterline";

import { type DocumentAgent, type ProcessedDocument, processDocument } from "./documents.js";

const DOCUMENTS = fileURLToPath(new URL("../../documents", import.meta.url));
/** How much of a summary a line shows. */
const SHOWN_WORDS = 12;

const { values } = parseArgs({
  options: {
    customer: { type: "string" },
    job: { type: "string" },
    dir: { type: "string", default: DOCUMENTS },
    json: { type: "boolean", default: false },
  },
});

async function main(): Promise<boolean> {
  const { customer, job, dir, json } = values;
  if (customer === undefined || job === undefined)
    throw new Error("--customer and --job are needed");
  await using meterline = new Meterline();
  const agent: DocumentAgent = {
    anthropic: new Anthropic(),
    meterline,
    model: process.env["ANTHROPIC_MODEL"] ?? "claude-haiku-4-5",
    customer,
    job,
  };
  let complete = true;
  for (const name of (await readdir(dir)).filter((name) => /\.(md|txt)$/.test(name)).sort()) {
    try {
      print(await processDocument(agent, join(dir, name)), json);
    } catch (error) {
      // What cannot be billed must not be worked on either. The same job again takes up here.
      if (error instanceof MeterlineError) throw error;
      complain(`${name}: ${error instanceof Error ? error.message : error}`);
      complete = false;
    }
  }
  return complete;
}

function print({ document, summary, usage }: ProcessedDocument, json: boolean): void {
  const { eventId, status, duplicate, quantity } = usage;
  if (json) {
    const fields = { document, event_id: eventId, summary, status, duplicate, quantity };
    console.log(JSON.stringify(fields));
  } else {
    const shown = summary.split(/\s+/).slice(0, SHOWN_WORDS).join(" ");
    console.log(`${document}: ${shown} … [${duplicate ? "billed before" : status}]`);
  }
}

function complain(message: string): void {
  console.error(`agent: ${message}`);
}

try {
  process.exitCode = (await main()) ? 0 : 1;
} catch (error) {
  complain(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
