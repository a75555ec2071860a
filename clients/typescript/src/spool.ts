import { createHash, randomUUID } from "node:crypto";
import {
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  stat,
  unlink,
} from "node:fs/promises";
import { basename, join } from "node:path";

import { type Problem, SpoolFailed } from "./errors.js";
import { idsOf, sameContent, type WireEvent } from "./event.js";
import { parseJson } from "./json.js";
import { limit, oneByOne } from "./limit.js";

/** What lies in the spool. */
export interface SpoolState {
  /** Without an outcome yet. */
  readonly waiting: number;
  /** Refused for good, and kept aside. */
  readonly setAside: number;
}

/** A `.tmp` file so old is what a killed process left. */
const ORPHAN_AGE_MS = 3_600_000;
/** How many files are open at once, well below what systems allow a process. */
const OPEN_FILES_MAX = 64;
/** How often a file may vanish under a reader before something else must be wrong. */
const RACES_MAX = 10;

/**
 * Events on disk, one file each, as `clients/conformance/README.md` lays down for every language.
 * A file appears at once and whole, by `link`, and vanishes at once, so processes may share a folder.
 */
export class Spool {
  readonly #folder: string;
  readonly #waiting: string;
  readonly #refused: string;
  #ready: Promise<void> | undefined;
  readonly #syncWaiting: () => Promise<void>;
  readonly #limited = limit(OPEN_FILES_MAX);
  readonly #inTurn = oneByOne();
  readonly #onSetAsideUnread: (error: Error) => void;

  /** `onSetAsideUnread` is told of each file that is no event. */
  constructor(folder: string, onSetAsideUnread: (error: Error) => void = () => {}) {
    this.#folder = folder;
    this.#onSetAsideUnread = onSetAsideUnread;
    this.#waiting = join(folder, "waiting");
    this.#refused = join(folder, "refused");
    this.#syncWaiting = shared(() => syncFolder(this.#waiting));
  }

  /** The name of the event's file, without its ending. */
  static nameOf({ customer_id, event_id }: WireEvent): string {
    return createHash("sha256").update(`${customer_id}\n${event_id}`, "utf8").digest("hex");
  }

  /**
   * Puts `event` on disk: when this resolves it survives a loss of power. `known` where it was
   * there before, `conflict` where the spool has its id with other content.
   *
   * @throws {SpoolFailed} where it cannot be written.
   */
  async put(event: WireEvent): Promise<"new" | "known" | "conflict"> {
    const target = this.#fileOf(Spool.nameOf(event));
    // One call at a time for each file: what one takes away again was promised to no other.
    return this.#orFail(event, () => this.#inTurn(target, () => this.#putAt(target, event)));
  }

  /** Takes an event out by the name of its file: it is recorded. */
  async remove(name: string): Promise<void> {
    await unlink(this.#fileOf(name)).catch(unlessMissing);
  }

  /**
   * Keeps `event`, which was refused for good, aside with the reason. Nothing here removes it again.
   * `file` is where it waits: under another name where somebody has moved it back.
   */
  async setAside(event: WireEvent, problem: Problem, file = Spool.nameOf(event)): Promise<void> {
    const name = Spool.nameOf(event);
    const content = { event, problem };
    for (const target of this.#placesAside(name)) {
      if (await this.#write(content, target)) break;
      // What cannot be read is something else.
      const known = await eventIn(target).catch(() => undefined);
      if (known !== undefined && sameContent(known, event)) break;
    }
    await syncFolder(this.#refused);
    await this.remove(file);
  }

  /** The names of what waits, oldest first. */
  async names(): Promise<string[]> {
    await this.#prepare();
    const found: { name: string; atMs: number }[] = [];
    for (const file of await jsonFiles(this.#waiting)) {
      const entry = await stat(join(this.#waiting, file)).catch(unlessMissing);
      if (entry) found.push({ name: file.slice(0, -".json".length), atMs: entry.mtimeMs });
    }
    return found.sort((one, other) => one.atMs - other.atMs).map(({ name }) => name);
  }

  /** The event of that name, or undefined where it is gone, or is no event and was set aside. */
  async read(name: string): Promise<WireEvent | undefined> {
    return this.#readWaiting(this.#fileOf(name));
  }

  async state(): Promise<SpoolState> {
    await this.#prepare();
    const [waiting, setAside] = await Promise.all([
      jsonFiles(this.#waiting),
      jsonFiles(this.#refused),
    ]);
    return { waiting: waiting.length, setAside: setAside.length };
  }

  async #putAt(target: string, event: WireEvent): Promise<"new" | "known" | "conflict"> {
    await this.#prepare();
    for (let race = 0; race < RACES_MAX; race++) {
      if (await this.#limited(() => this.#write({ event }, target))) {
        await this.#syncWaiting().catch((error: unknown) => takeAway(target, error));
        return "new";
      }
      const known = await this.#readWaiting(target);
      if (known === undefined) continue;
      if (!sameContent(known, event)) return "conflict";
      // Whoever put it there may not have got so far.
      await this.#syncWaiting();
      return "known";
    }
    throw new Error("the file comes and goes");
  }

  #fileOf(name: string): string {
    return join(this.#waiting, `${name}.json`);
  }

  async #prepare(): Promise<void> {
    this.#ready ??= this.#makeFolders().catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    await this.#ready;
  }

  async #makeFolders(): Promise<void> {
    for (const folder of [this.#folder, this.#waiting, this.#refused]) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
    }
    await syncFolder(this.#folder);
    const now = Date.now();
    for (const file of await readdir(this.#folder)) {
      if (!file.endsWith(".tmp")) continue;
      const path = join(this.#folder, file);
      const entry = await stat(path).catch(unlessMissing);
      if (entry && now - entry.mtimeMs > ORPHAN_AGE_MS) await unlink(path).catch(unlessMissing);
    }
  }

  /** Whether `target` is there now, whole, by this call: not if it was there before. */
  async #write(content: unknown, target: string): Promise<boolean> {
    const path = join(this.#folder, `${randomUUID()}.tmp`);
    try {
      const file = await open(path, "wx", 0o600);
      try {
        await file.writeFile(JSON.stringify(content));
        await file.sync();
      } finally {
        await file.close();
      }
      await link(path, target);
      return true;
    } catch (error) {
      if (codeOf(error) === "EEXIST") return false;
      throw error;
    } finally {
      // One that stays says nothing of `target`, and is removed when it is old.
      await unlink(path).catch(() => undefined);
    }
  }

  async #readWaiting(path: string): Promise<WireEvent | undefined> {
    try {
      return await eventIn(path);
    } catch (error) {
      if (!(error instanceof NoEvent)) throw error;
      await this.#setAsideUnread(path);
      this.#onSetAsideUnread(error);
      return undefined;
    }
  }

  /**
   * Keeps a file that is no event as it is: only its owner can say what it was, and meanwhile it is
   * not looked at again and again.
   */
  async #setAsideUnread(path: string): Promise<void> {
    for (const target of this.#placesAside(basename(path, ".json"))) {
      try {
        await link(path, target);
        break;
      } catch (error) {
        // Another process was sooner.
        if (codeOf(error) === "ENOENT") return;
        if (codeOf(error) !== "EEXIST") throw error;
      }
    }
    await syncFolder(this.#refused);
    await unlink(path).catch(unlessMissing);
  }

  /** Where it may be set aside: its id may have been refused before with other content, which is kept. */
  *#placesAside(name: string): Generator<string, void> {
    for (let number = 1; ; number++) {
      const suffix = number === 1 ? "" : `-${number}`;
      yield join(this.#refused, `${name}${suffix}.json`);
    }
  }

  async #orFail<T>(event: WireEvent, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      const message = `event ${event.event_id} could not be spooled: ${textOf(cause)}`;
      throw new SpoolFailed(message, { ...idsOf(event), cause });
    }
  }
}

/** The event in a file, or undefined where there is none. */
async function eventIn(path: string): Promise<WireEvent | undefined> {
  const text = await readFile(path, "utf8").catch(unlessMissing);
  if (text === undefined) return undefined;
  const { event } = (parseJson(text) ?? {}) as { event?: Partial<WireEvent> };
  if (typeof event?.event_id !== "string" || typeof event.customer_id !== "string") {
    throw new NoEvent(`${path} holds no usage event, and is set aside`);
  }
  return event as WireEvent;
}

/** Takes away a file that may not last, for which its caller is to be told `error`. */
async function takeAway(path: string, error: unknown): Promise<never> {
  await unlink(path)
    .catch(unlessMissing)
    .catch((cause: unknown) => {
      const message = `${textOf(error)}; it may be sent all the same: ${textOf(cause)}`;
      throw new Error(message, { cause: error });
    });
  throw error;
}

/** What a file holds is no usage event. */
class NoEvent extends Error {}

/** `work`, which serves all who ask while it waits for its turn. */
function shared(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  const start = (): Promise<void> => {
    next = undefined;
    running = work().finally(() => {
      running = undefined;
    });
    return running;
  };
  return () => {
    if (running === undefined) return start();
    // One that runs already may have begun before the caller's file was there.
    next ??= running.then(start, start);
    return next;
  };
}

/** Forces a folder's list of files to the disk. Windows has no such call, and keeps it by itself. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const folder: FileHandle = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function jsonFiles(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((file) => file.endsWith(".json"));
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function unlessMissing(error: unknown): undefined {
  if (codeOf(error) !== "ENOENT") throw error;
}
