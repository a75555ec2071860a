import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Collects what nobody holds, again and again until `isOver`, or no more can be expected. */
export async function collectGarbage(isOver: () => boolean): Promise<void> {
  for (let round = 0; round < 10 && !isOver(); round++) {
    collect();
    await new Promise((turn) => setImmediate(turn));
  }
}
