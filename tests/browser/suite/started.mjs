// The local system and the browser of a test file, as long as its tests run.

import { after, before } from 'node:test';
import { Browser } from './browser.mjs';
import { System } from './system.mjs';

export let system;
export let browser;

before(async () => {
  [system, browser] = await Promise.all([System.start(), Browser.start()]);
});

after(async () => {
  await browser.stop();
  await system.stop();
});
