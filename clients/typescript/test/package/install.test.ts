import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { folder } from "../support/setting.js";

const PACKAGE = fileURLToPath(new URL("../../..", import.meta.url));
const TSC = join(PACKAGE, "node_modules/typescript/bin/tsc");
const run = promisify(execFile);

/** Uses every entry, with types and without one of the optional packages. */
const PROGRAM = `
import { Meterline, eventIdOfJob, type Recorded } from "meterline";
import { meterAnthropic, type TokenKind } from "meterline/llm";
import { FakeMeterline } from "meterline/testing";

const kinds: TokenKind[] = ["input", "output", "cache_read", "cache_write"];
const meterline = new FakeMeterline().client();
const outcome: Recorded = await meterline.emit("cus_1", "page", { jobId: "a" });
const real = new Meterline({ url: "http://127.0.0.1:1", apiKey: "mk_test" });
await real.close();
console.log(JSON.stringify([outcome.eventId === eventIdOfJob("a", "page"), kinds.length, typeof meterAnthropic]));
`;

/** The first block of TypeScript after a heading of a README, which shows how to begin. */
async function quickStart(readme: string, heading: string): Promise<string> {
  const text = await readFile(join(PACKAGE, readme), "utf8");
  const block = /^```(?:ts|typescript)\n(.*?)^```/ms.exec(text.slice(text.indexOf(heading)));
  assert.ok(block?.[1], `${readme} shows how to begin`);
  return block[1];
}

test("the package installs into a clean project, runs there, and has its types", async () => {
  const project = await folder();
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", project], {
    cwd: PACKAGE,
  });
  const [packed] = JSON.parse(stdout.slice(stdout.indexOf("[\n"))) as [
    { filename: string; files: { path: string }[] },
  ];
  const paths = packed.files.map(({ path }) => path);
  assert.ok(paths.includes("README.md") && paths.includes("LICENSE"));
  assert.ok(
    paths.every(
      (path) => !/test|conformance|node_modules/.test(path) || path.startsWith("dist/testing."),
    ),
  );

  const configuration = {
    compilerOptions: {
      strict: true,
      module: "nodenext",
      target: "es2022",
      types: ["node"],
      typeRoots: [join(PACKAGE, "node_modules/@types")],
      lib: ["es2022", "dom"],
    },
  };
  await writeFile(join(project, "package.json"), '{ "name": "clean", "type": "module" }');
  await writeFile(join(project, "tsconfig.json"), JSON.stringify(configuration));
  await writeFile(join(project, "program.ts"), PROGRAM);
  await writeFile(join(project, "first.ts"), await quickStart("../../README.md", "## In an agent"));
  await writeFile(join(project, "second.ts"), await quickStart("README.md", "# meterline"));
  const quiet = ["--no-audit", "--no-fund", "--offline"];
  await run("npm", ["install", ...quiet, packed.filename], { cwd: project });
  await run("node", [TSC, "--project", "tsconfig.json"], { cwd: project });
  const program = await run("node", ["program.js"], { cwd: project });
  assert.deepEqual(JSON.parse(program.stdout), [true, 4, "function"]);
});
