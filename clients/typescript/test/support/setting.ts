import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";

import { Meterline, type MeterlineOptions } from "../../src/index.js";
import { TestApi } from "./api.js";
import { TestRuntime } from "./runtime.js";

/** A client, the API that it speaks to, and the time that both live in. */
export interface Setting {
  readonly api: TestApi;
  readonly meterline: Meterline;
  readonly runtime: TestRuntime;
  /** What the client told of that nobody waited for. */
  readonly backgroundErrors: Error[];
}

/** An API and a client for it, which end with the test. */
export async function setting(options: MeterlineOptions = {}): Promise<Setting> {
  const api = await TestApi.start();
  const runtime = new TestRuntime();
  const backgroundErrors: Error[] = [];
  const onBackgroundError = (error: Error) => void backgroundErrors.push(error);
  const meterline = new Meterline(
    { url: api.url, apiKey: "mk_test", onBackgroundError, ...options },
    runtime,
  );
  after(async () => {
    await meterline.close();
    await api.stop();
  });
  return { api, meterline, runtime, backgroundErrors };
}

/** A folder that ends with the test. */
export async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "meterline-"));
  after(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** A promise, and what resolves it. */
export function gate(): { readonly passed: Promise<void>; open(): void } {
  let open = () => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}
