// Which pages may show the dashboard in a frame.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { Browser } from './browser.mjs';
import { System, eventually } from './system.mjs';

// A site of the operator's, and one of somebody else's: another port is another origin.
class Site {
  static async start() {
    const site = new Site();
    site.framed = 'about:blank';
    site.server = createServer((_, response) => {
      response.setHeader('content-type', 'text/html');
      response.end(`<!doctype html><iframe src="${site.framed.replaceAll('&', '&amp;')}" width="1000" height="800"></iframe>`);
    });
    await new Promise((resume) => site.server.listen(0, '127.0.0.1', resume));
    site.origin = `http://127.0.0.1:${site.server.address().port}`;
    return site;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

let sites;
let system;
let browser;

before(async () => {
  sites = { own: await Site.start(), other: await Site.start() };
  system = await System.start({ DASHBOARD_FRAME_ANCESTORS: sites.own.origin });
  browser = await Browser.start();
});

after(async () => {
  await browser.stop();
  await system.stop();
  sites.own.stop();
  sites.other.stop();
});

test('the page shows and lives in a frame of the site that the operator names', async () => {
  const customer = await system.onboard('embedded');
  sites.own.framed = await system.link(customer);
  const { page, log } = await browser.page();
  await page.goto(sites.own.origin);
  const frame = page.frameLocator('iframe');
  await eventually('the page', async () => assert.equal(await frame.locator('#units').innerText(), '0'));
  await system.use(customer, 'page_read', 11);
  await eventually('the usage', async () => assert.equal(await frame.locator('#units').innerText(), '11'));
  assert.deepEqual(log.errors, []);
});

test('no other site may frame it', async () => {
  const customer = await system.onboard('not-embedded');
  sites.other.framed = await system.link(customer);
  const { page, log } = await browser.page();
  await page.goto(sites.other.origin);
  await eventually('the refusal', () => log.errors.some((error) => error.includes('frame-ancestors')));
  assert.equal(await page.frameLocator('iframe').locator('#units').count(), 0);
});
