import assert from "node:assert/strict";
import { test } from "node:test";

import { Spool } from "../src/spool.js";
import { folder, setting } from "./support/setting.js";

function event(event_id: string, customer_id: string) {
  return { event_id, customer_id, action_type: "page", quantity: 1 };
}

test("a hook that fails ends nothing", async () => {
  const spoolDir = await folder();
  const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
  const onBackgroundError = async () => {
    throw new Error("the hook fails");
  };
  const { api, meterline } = await setting({ spoolDir, retryBudgetMs: 0, onBackgroundError });
  await new Spool(spoolDir).put(event("a", "cus_unknown"));
  await new Spool(spoolDir).put(event("b", "cus_1"));
  assert.deepEqual(await meterline.flush(), { waiting: 0, setAside: 1 });
  assert.equal(api.units, 1);
  assert.equal((await warned).message, "the hook fails");
});
