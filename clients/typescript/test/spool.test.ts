import assert from "node:assert/strict";
import fs, {
  type FileHandle,
  open,
  readdir,
  readFile,
  stat,
  utimes,
  writeFile,
} from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mock, test } from "node:test";

import { Meterline, Refused, SpoolFailed } from "../src/index.js";
import { Spool } from "../src/spool.js";
import { folder, gate, setting } from "./support/setting.js";

const DOWN = Array.from({ length: 50 }, () => "reset" as const);

const EVENT = { event_id: "a", customer_id: "cus_1", action_type: "page", quantity: 1 };

function nameOf(customer_id: string, event_id: string): string {
  return Spool.nameOf({ ...EVENT, customer_id, event_id });
}

async function files(spoolDir: string, of: "waiting" | "refused"): Promise<string[]> {
  return readdir(join(spoolDir, of));
}

/** Has the disk fail so often to keep a folder's list of files. */
async function failingFolderSync(times: number) {
  const folder = await open(tmpdir());
  const handles = Object.getPrototypeOf(folder) as FileHandle;
  await folder.close();
  const { sync } = handles;
  let left = times;
  const mocked = mock.method(handles, "sync", async function (this: FileHandle) {
    if (left > 0 && (await this.stat()).isDirectory()) {
      left--;
      // Meanwhile others get as far as they can.
      for (let turn = 0; turn < 100; turn++) await new Promise((next) => setImmediate(next));
      throw Object.assign(new Error("EIO: i/o error, fsync"), { code: "EIO" });
    }
    await sync.call(this);
  });
  return mocked.mock;
}

/** Has no file be removed whose name ends so. */
function failingRemoval(ending: string) {
  const { unlink } = fs;
  const mocked = mock.method(fs, "unlink", async (path: string) => {
    if (path.endsWith(ending)) throw Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
    await unlink(path);
  });
  syncBuiltinESMExports();
  return {
    restore() {
      mocked.mock.restore();
      syncBuiltinESMExports();
    },
  };
}

test("an event is on the disk before it is sent, and gone when it is recorded", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir });
  let whileSending: string[] = [];
  api.beforeAnswer = async () => {
    whileSending = await files(spoolDir, "waiting");
  };
  const outcome = await meterline.emit("cus_1", "page", { eventId: "a" });
  assert.equal(outcome.status, "delivered");
  const name = Spool.nameOf({ event_id: "a", customer_id: "cus_1", action_type: "", quantity: 1 });
  assert.deepEqual(whileSending, [`${name}.json`]);
  assert.deepEqual(await files(spoolDir, "waiting"), []);
  assert.deepEqual(
    (await readdir(spoolDir)).sort(),
    ["refused", "waiting"],
    "no temporary file is left",
  );
});

test("an agent goes on while the API is unreachable, and a flush settles it", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir, retryBudgetMs: 100 });
  api.faults.push(...DOWN);
  const emitted = [1, 2, 3].map((n) => meterline.emit("cus_1", "page", { eventId: `e${n}` }));
  for (const outcome of await Promise.all(emitted)) {
    assert.equal(outcome.status, "spooled");
    assert.equal(outcome.customerStatus, null);
  }
  assert.equal((await files(spoolDir, "waiting")).length, 3);
  assert.equal(api.recorded.size, 0);
  api.faults.length = 0;
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 0 });
  assert.equal(api.units, 3);
});

test("many that meet an outage are each spooled, and one that is refused later spoils no other", async () => {
  const spoolDir = await folder();
  const { api, meterline, backgroundErrors } = await setting({ spoolDir, retryBudgetMs: 0 });
  api.faults.push(...DOWN);
  const page = { customer: "cus_1", action: "page" };
  const many = Array.from({ length: 149 }, (_, n) => ({ ...page, eventId: `e${n}` }));
  const nobodys = { ...page, customer: "cus_unknown", eventId: "nobody's" };
  const outcomes = await meterline.emitMany([nobodys, ...many]);
  assert.deepEqual(
    new Set(outcomes.map((it) => "status" in it && it.status)),
    new Set(["spooled"]),
  );
  assert.equal((await files(spoolDir, "waiting")).length, 150);
  api.faults.length = 0;
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 1 });
  assert.equal(api.units, 149);
  assert.deepEqual(
    backgroundErrors.map((error) => (error as Refused).eventId),
    ["nobody's"],
  );
});

test("the files are as every language has them, and for nobody else to read", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir, retryBudgetMs: 0 });
  api.faults.push(...DOWN);
  await meterline.emit("cus_1", "page", { eventId: "a", quantity: 2 });
  const [file = ""] = await files(spoolDir, "waiting");
  const path = join(spoolDir, "waiting", file);
  assert.deepEqual(JSON.parse(await readFile(path, "utf8")), {
    event: { event_id: "a", customer_id: "cus_1", action_type: "page", quantity: 2 },
  });
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.equal((await stat(join(spoolDir, "waiting"))).mode & 0o777, 0o700);
});

test("what is spooled keeps its reservation, and is the same event without it", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir, retryBudgetMs: 0 });
  await meterline.reserve("cus_1", "page", 5, { reservationId: "run-1" });
  api.faults.push(...DOWN);
  for (const reservationId of ["run-1", undefined]) {
    const emitted = await meterline.emit("cus_1", "page", { jobId: "a", reservationId });
    assert.equal(emitted.status, "spooled");
    assert.equal(emitted.reservation, null);
  }
  const [file = ""] = await files(spoolDir, "waiting");
  const { event } = JSON.parse(await readFile(join(spoolDir, "waiting", file), "utf8"));
  assert.equal(event.reservation_id, "run-1");
  api.faults.length = 0;
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 0 });
  assert.equal(api.units, 1);
  assert.equal(api.heldUnits, 0);
});

test("the next process sends what the last one left", async () => {
  const spoolDir = await folder();
  const first = await setting({ spoolDir, retryBudgetMs: 0 });
  first.api.faults.push(...DOWN);
  await first.meterline.emit("cus_1", "page", { eventId: "a" });
  await first.meterline.close();
  const second = await setting({ spoolDir });
  await second.meterline.flush();
  assert.equal(second.api.units, 1);
  assert.deepEqual(await files(spoolDir, "waiting"), []);
});

test("what waits is sent in the background, with waits that grow", async () => {
  const spoolDir = await folder();
  const { api, meterline, runtime } = await setting({ spoolDir, retryBudgetMs: 0 });
  api.faults.push("reset", "reset", "reset");
  await meterline.emit("cus_1", "page", { eventId: "a" });
  // Well before what other processes left would be looked for.
  for (let passedMs = 0; passedMs < 10_000 && api.recorded.size === 0; passedMs += 10) {
    runtime.advance(10);
    await new Promise((turn) => setTimeout(turn, 1));
  }
  assert.equal(api.units, 1);
});

test("the background, too, waits as long as the API asks it to", async () => {
  const spoolDir = await folder();
  const { api, meterline, runtime } = await setting({ spoolDir, retryBudgetMs: 0 });
  await meterline.flush();
  api.faults.push("reset", { status: 429, retryAfterS: 20 });
  await meterline.emit("cus_1", "page", { eventId: "a" });
  const pass = async (ms: number, isOver: () => boolean) => {
    for (let passedMs = 0; passedMs < ms && !isOver(); passedMs += 100) {
      runtime.advance(100);
      await new Promise((turn) => setTimeout(turn, 1));
    }
  };
  await pass(5000, () => api.requests.length === 2);
  await pass(19_000, () => api.requests.length > 2);
  assert.equal(api.requests.length, 2);
  await pass(60_000, () => api.recorded.size > 0);
  assert.equal(api.units, 1);
});

test("what another process left is sent, and not what a call has in its hands", async () => {
  const spoolDir = await folder();
  const { api, meterline, runtime } = await setting({ spoolDir });
  await meterline.flush();
  const left = { event_id: "left", customer_id: "cus_1", action_type: "page", quantity: 1 };
  await new Spool(spoolDir).put(left);
  const [asked, answering] = [gate(), gate()];
  api.beforeAnswer = async () => {
    if (api.requests.length > 1) return;
    asked.open();
    await answering.passed;
  };
  const emitted = meterline.emit("cus_1", "page", { eventId: "a" });
  await asked.passed;
  while (!api.recorded.has("cus_1\nleft")) {
    runtime.advance(30_000);
    await new Promise((turn) => setTimeout(turn, 1));
  }
  assert.deepEqual(
    api.requests.map(({ events }) => events.map(({ event_id }) => event_id)),
    [["a"], ["left"]],
  );
  answering.open();
  assert.equal((await emitted).duplicate, false);
});

test("after an event was spooled, the next are spooled at once until the API answers", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir, retryBudgetMs: 0 });
  api.faults.push(...DOWN);
  await meterline.emit("cus_1", "page", { eventId: "a" });
  const { length } = api.requests;
  assert.equal((await meterline.emit("cus_1", "page", { eventId: "b" })).status, "spooled");
  assert.ok(api.requests.slice(length).every(({ path }) => path === "/v1/usage/batch"));
  api.faults.length = 0;
  await meterline.flush();
  assert.equal((await meterline.emit("cus_1", "page", { eventId: "c" })).status, "delivered");
  assert.equal(api.units, 3);
});

test("what is refused is kept aside with the reason", async () => {
  const spoolDir = await folder();
  const { meterline } = await setting({ spoolDir });
  for (const quantity of [1, 2]) {
    const emitted = meterline.emit("cus_unknown", "page", { eventId: "a", quantity });
    await assert.rejects(emitted, Refused);
  }
  assert.deepEqual(await files(spoolDir, "waiting"), []);
  const kept = await Promise.all(
    (await files(spoolDir, "refused")).map(async (file) =>
      JSON.parse(await readFile(join(spoolDir, "refused", file), "utf8")),
    ),
  );
  const quantities = kept.map(({ event }) => event.quantity).sort();
  assert.deepEqual(quantities, [1, 2], "both contents are kept");
  assert.equal(kept[0].problem.type, "urn:meterline:problem:customer-not-found");
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 2 });
});

test("what is refused later is told of, kept aside, and spoils no other", async () => {
  const spoolDir = await folder();
  const { api, meterline, backgroundErrors } = await setting({ spoolDir, retryBudgetMs: 0 });
  api.faults.push(...DOWN);
  await meterline.emit("cus_unknown", "page", { eventId: "nobody's" });
  await meterline.emit("cus_1", "page", { eventId: "a" });
  api.faults.length = 0;
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 1 });
  assert.equal(api.units, 1);
  assert.ok(backgroundErrors.some((error) => (error as Refused).eventId === "nobody's"));
});

test("a key that ended keeps nothing from being billed", async () => {
  const spoolDir = await folder();
  const { api, meterline, backgroundErrors } = await setting({ spoolDir, retryBudgetMs: 0 });
  api.faults.push("reset", ...Array.from({ length: 50 }, () => ({ status: 401 })));
  assert.equal((await meterline.emit("cus_1", "page", { jobId: "a" })).status, "spooled");
  assert.deepEqual(await meterline.flush(), { waiting: 1, setAside: 0 });
  assert.equal(backgroundErrors.length, 1);
  // The same job again: it is promised already.
  assert.equal((await meterline.emit("cus_1", "page", { jobId: "a" })).status, "spooled");
  api.faults.length = 0;
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 0 });
  assert.equal(api.units, 1);
});

test("what a gateway refuses in its own name waits until the API is reached", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir, retryBudgetMs: 0 });
  api.faults.push("reset", ...Array.from({ length: 50 }, () => ({ status: 404 })));
  assert.equal((await meterline.emit("cus_1", "page")).status, "spooled");
  assert.deepEqual(await meterline.flush(), { waiting: 1, setAside: 0 });
  api.faults.length = 0;
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 0 });
  assert.equal(api.units, 1);
});

test("closing waits for the batch that is under way, and leaves what waits behind it", async () => {
  const spoolDir = await folder();
  const first = await setting({ spoolDir });
  await first.meterline.close();
  for (let n = 0; n < 101; n++) await new Spool(spoolDir).put({ ...EVENT, event_id: `e${n}` });
  const { api, meterline } = await setting({ spoolDir });
  const [asked, answering] = [gate(), gate()];
  api.beforeAnswer = async () => {
    asked.open();
    await answering.passed;
  };
  await asked.passed;
  const closing = meterline.close();
  answering.open();
  await closing;
  assert.equal(api.requests.length, 1);
  assert.equal((await files(spoolDir, "waiting")).length, 1);
});

test("what a key may not emit lets by what it may, however much of it waits", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir, retryBudgetMs: 0 });
  const spool = new Spool(spoolDir);
  for (let n = 0; n < 100; n++) {
    await spool.put({ ...EVENT, event_id: `foreign-${n}`, customer_id: "cus_foreign" });
    await utimes(join(spoolDir, "waiting", `${nameOf("cus_foreign", `foreign-${n}`)}.json`), 1, 1);
  }
  await spool.put({ ...EVENT, event_id: "own" });
  assert.deepEqual(await meterline.flush(), { waiting: 100, setAside: 0 });
  assert.deepEqual([...api.recorded.keys()], ["cus_1\nown"]);
});

test("an unknown key is tried with one request, not with all that waits", async () => {
  const spoolDir = await folder();
  const first = await setting({ spoolDir });
  await first.meterline.close();
  for (let n = 0; n < 250; n++) await new Spool(spoolDir).put({ ...EVENT, event_id: `e${n}` });
  const { api, meterline } = await setting({ spoolDir, retryBudgetMs: 0 });
  api.faults.push(...Array.from({ length: 50 }, () => ({ status: 401 })));
  assert.deepEqual(await meterline.flush(), { waiting: 250, setAside: 0 });
  // The first of the background, and the flush's own.
  assert.equal(api.requests.length, 2);
});

test("what is moved back from aside under its own name is sent once, and settled", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir });
  await meterline.flush();
  for (const [file, customer_id] of [
    ["a-2", "cus_1"],
    ["b-2", "cus_unknown"],
  ]) {
    const event = { ...EVENT, customer_id };
    await writeFile(join(spoolDir, "waiting", `${file}.json`), JSON.stringify({ event }));
  }
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 1 });
  assert.equal(api.units, 1);
});

test("a file in the way keeps no other event from being sent", async () => {
  const spoolDir = await folder();
  const { api, meterline, backgroundErrors } = await setting({ spoolDir, retryBudgetMs: 0 });
  await meterline.flush();
  await writeFile(join(spoolDir, "refused", `${nameOf("cus_unknown", "a")}.json`), "{");
  await new Spool(spoolDir).put({ ...EVENT, event_id: "a", customer_id: "cus_unknown" });
  await new Spool(spoolDir).put({ ...EVENT, event_id: "b" });
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 2 });
  assert.equal(api.units, 1);
  assert.equal((backgroundErrors[0] as Refused).eventId, "a");
});

test("of two calls with one event, none takes from the other what was promised to it", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir });
  api.faults.push(...Array.from({ length: 50 }, () => ({ status: 401 })));
  const [first, second] = [gate(), gate()];
  api.beforeAnswer = async () => {
    (api.requests.length === 1 ? first : second).open();
    // The first call is answered after the second has been.
    if (api.requests.length === 1) await Promise.all([second.passed, answered]);
  };
  const one = meterline.emit("cus_1", "page", { jobId: "a" });
  await first.passed;
  const answered = meterline.emit("cus_1", "page", { jobId: "a" });
  assert.equal((await answered).status, "spooled");
  assert.equal((await one).status, "spooled");
  api.faults.length = 0;
  await meterline.flush();
  assert.equal(api.units, 1);
});

test("one id is one event, and another content under it a conflict before anything is sent", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir, retryBudgetMs: 0 });
  api.faults.push(...DOWN);
  for (let run = 0; run < 2; run++) {
    assert.equal((await meterline.emit("cus_1", "page", { jobId: "a" })).status, "spooled");
  }
  const conflict = meterline.emit("cus_1", "page", { jobId: "a", quantity: 2 });
  await assert.rejects(conflict, { type: "urn:meterline:problem:conflict" });
  assert.equal((await files(spoolDir, "waiting")).length, 1);
});

test("two processes may share a folder", async () => {
  const spoolDir = await folder();
  const one = await setting({ spoolDir, retryBudgetMs: 0 });
  const other = new Meterline({ url: one.api.url, apiKey: "mk_test", spoolDir, retryBudgetMs: 0 });
  one.api.faults.push(...DOWN);
  const ids = Array.from({ length: 20 }, (_, i) => `e${i}`);
  await Promise.all(
    [one.meterline, other].flatMap((client) =>
      ids.map((eventId) => client.emit("cus_1", "page", { eventId })),
    ),
  );
  one.api.faults.length = 0;
  await Promise.all([one.meterline.flush(), other.flush()]);
  assert.deepEqual(await files(spoolDir, "waiting"), []);
  assert.equal(one.api.units, 20);
  await other.close();
});

test("what a killed process left half written is removed after an hour, and not before", async () => {
  const spoolDir = await folder();
  await writeFile(join(spoolDir, "old.tmp"), '{"ev');
  await writeFile(join(spoolDir, "new.tmp"), '{"ev');
  const twoHoursAgo = new Date(Date.now() - 7_200_000);
  await utimes(join(spoolDir, "old.tmp"), twoHoursAgo, twoHoursAgo);
  const { meterline } = await setting({ spoolDir });
  await meterline.flush();
  assert.deepEqual((await readdir(spoolDir)).sort(), ["new.tmp", "refused", "waiting"]);
});

test("a file that is no event is set aside as it is, and keeps no other from being sent", async () => {
  const spoolDir = await folder();
  const first = await setting({ spoolDir, retryBudgetMs: 0 });
  first.api.faults.push(...DOWN);
  await first.meterline.emit("cus_1", "page");
  await first.meterline.close();
  await writeFile(join(spoolDir, "waiting", "stray.json"), "{");
  const { api, meterline, backgroundErrors } = await setting({ spoolDir });
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 1 });
  await meterline.flush();
  assert.equal(backgroundErrors.length, 1);
  assert.equal(await readFile(join(spoolDir, "refused", "stray.json"), "utf8"), "{");
  assert.equal(api.units, 1);
});

test("an event takes the place of what is no event, and nothing of it is lost", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir, retryBudgetMs: 0 });
  const waiting = join(spoolDir, "waiting", `${Spool.nameOf(EVENT)}.json`);
  await meterline.flush();
  api.faults.push(...DOWN);
  for (const torn of ["null", "[1]"]) {
    await writeFile(waiting, torn);
    const { customer_id, action_type, event_id } = EVENT;
    await meterline.emit(customer_id, action_type, { eventId: event_id });
  }
  api.faults.length = 0;
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 2 });
  assert.equal(api.units, 1);
});

test("a time that no API would take gets into no spool", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir, retryBudgetMs: 0 });
  api.faults.push(...DOWN);
  for (const occurredAt of ["yesterday", "1999-12-31T23:59:59Z", 1_769_860_800_000]) {
    const emitted = meterline.emit("cus_1", "page", { occurredAt });
    await assert.rejects(emitted, { kind: "invalid", message: /occurredAt/ });
  }
  api.faults.length = 0;
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 0 });
  assert.equal(api.requests.length, 0);
});

test("an event that cannot be written is not sent", async () => {
  const path = join(await folder(), "file");
  await writeFile(path, "");
  const { api, meterline } = await setting({ spoolDir: path });
  const error = await meterline.emit("cus_1", "page").catch((error: unknown) => error);
  assert.ok(error instanceof SpoolFailed && error.retryable && error.eventId);
  assert.equal(api.requests.length, 0);
});

test("an event whose place is not certain is taken out again, and neither sent nor billed", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir });
  await meterline.flush();
  const failing = await failingFolderSync(1);
  const error = await meterline.emit("cus_1", "page").catch((error: unknown) => error);
  failing.restore();
  assert.ok(error instanceof SpoolFailed && /EIO/.test(error.message));
  assert.deepEqual(await files(spoolDir, "waiting"), []);
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 0 });
  assert.equal(api.requests.length, 0);
});

test("what one call could not make certain is not taken from another with the same event", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir, retryBudgetMs: 0 });
  await meterline.flush();
  api.faults.push(...DOWN);
  const failing = await failingFolderSync(1);
  const [one, other] = await Promise.allSettled([
    meterline.emit("cus_1", "page", { jobId: "a" }),
    meterline.emit("cus_1", "page", { jobId: "a" }),
  ]);
  failing.restore();
  assert.ok(one.status === "rejected" && one.reason instanceof SpoolFailed);
  assert.ok(other.status === "fulfilled" && other.value.status === "spooled");
  assert.equal((await files(spoolDir, "waiting")).length, 1);
  api.faults.length = 0;
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 0 });
  assert.equal(api.units, 1);
});

test("a draft that cannot be removed keeps no event from being sent", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir });
  const failing = failingRemoval(".tmp");
  const { status } = await meterline.emit("cus_1", "page");
  failing.restore();
  assert.equal(status, "delivered");
  assert.equal(api.units, 1);
  assert.deepEqual(await files(spoolDir, "waiting"), []);
});

test("the spool stands before the buffer", async () => {
  const spoolDir = await folder();
  const { api, meterline } = await setting({ spoolDir, buffer: { waitMs: 1_000_000 } });
  const emitted = [1, 2, 3].map((n) => meterline.emit("cus_1", "page", { eventId: `e${n}` }));
  await meterline.flush();
  for (const outcome of await Promise.all(emitted)) assert.equal(outcome.status, "delivered");
  assert.equal(api.units, 3);
  assert.deepEqual(await files(spoolDir, "waiting"), []);
});
