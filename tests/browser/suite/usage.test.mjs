// What a customer sees of usage, while it happens.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { strangers, textOf } from './browser.mjs';
import { browser, system } from './started.mjs';
import { DAY_S, eventually } from './system.mjs';

const dollars = (text) => `$${text}`;

test('usage shows on an open page, and the totals are those of the API and of Stripe', async () => {
  const customer = await system.onboard('watcher');
  const link = await system.link(customer);
  const { page, log } = await browser.page();
  await page.goto(link);
  await eventually('the script', async () => (await textOf(page, '#renewal')).includes('second'));
  assert.equal(await textOf(page, '#units'), '0');
  assert.match(await textOf(page, '#actions'), /No usage in this period yet/);
  await page.evaluate(() => { window.isTheSamePage = true; });

  await system.use(customer, 'document_processed', 3);
  await eventually('the first usage', async () => assert.equal(await textOf(page, '#units'), '3'));
  const now = Math.floor(Date.now() / 1_000);
  const uses = Array.from({ length: 150 }, (_, index) => [index % 3 ? 'page_read' : 'mail_sent', 10, now]);
  await system.useMany(customer, uses);
  await eventually('all of it', async () => {
    assert.equal(await textOf(page, '#units'), '1,503');
    assert.equal(await textOf(page, '#units-note'), 'all of them with Stripe');
  });

  const usage = await system.usage(customer);
  assert.equal(usage.total_units, 1_503);
  assert.equal(await system.unitsInStripe(customer), 1_503);
  assert.equal(usage.estimated_cost, '30.06');
  assert.equal(await textOf(page, '#cost'), dollars(usage.estimated_cost));
  assert.equal(await textOf(page, '#today'), '1,503');
  for (const [action, units] of Object.entries(usage.by_action_type)) {
    const row = page.locator('#actions tr', { hasText: action });
    assert.ok((await row.innerText()).endsWith(units.toLocaleString('en-US')), action);
  }
  // The latest events are there, with where they stand.
  await eventually('the events', async () => {
    const rows = await page.locator('#events tbody tr').allInnerTexts();
    assert.equal(rows.length, 10);
    assert.ok(rows.every((row) => row.includes('Billed')), rows.join());
  });
  assert.equal(await page.evaluate(() => window.isTheSamePage), true);
  // Nothing changes any more, and nothing is sent again.
  await eventually('an answer without content', () =>
    log.statuses.some(([path, status]) => path === '/dashboard/data' && status === 304));
  assert.deepEqual(strangers(log, link), []);
  assert.deepEqual(log.errors, []);
});

test('a page that nobody looks at asks for nothing', async () => {
  const customer = await system.onboard('hidden');
  const { page, context, log } = await browser.page();
  await page.goto(await system.link(customer));
  await eventually('a look', () => log.requests.some((url) => url.includes('/dashboard/data')));
  const session = await context.newCDPSession(page);
  // A tab in front of it.
  await page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => true });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  const counted = () => log.requests.filter((url) => url.includes('/dashboard/')).length;
  const looks = () => log.requests.filter((url) => url.includes('/dashboard/data')).length;
  const before = looks();
  // Longer than ten looks would take, in the page's own time.
  await page.evaluate(() => new Promise((resume) => setTimeout(resume, 4_000)));
  assert.ok(looks() - before <= 1, `${looks() - before} looks of a hidden page`);
  assert.ok(counted() > 0);
  await system.use(customer, 'page_read', 7);
  await page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => false });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await eventually('what happened meanwhile', async () => assert.equal(await textOf(page, '#units'), '7'));
  await session.detach();
});

test('what an agent or Stripe wrote is text, whatever it looks like', async () => {
  const customer = await system.onboard('hostile');
  const hostile = '<img src=x onerror="window.wasRun = true"><script>window.wasRun = true</script>';
  // An event may be called anything.
  await system.use(customer, 'page_read', 1, undefined, hostile);
  const { page, log } = await browser.page();
  // No API takes such a name; a page must not rely on it.
  await page.route('**/dashboard/data?*', async (route) => {
    const response = await route.fetch();
    if (response.status() !== 200) return route.fulfill({ response });
    const text = (await response.text()).replaceAll('page_read', hostile.replaceAll('"', '\\"'));
    return route.fulfill({ response, body: text });
  });
  await page.route('**/dashboard/invoices?*', async (route) => {
    const response = await route.fetch();
    if (response.status() !== 200) return route.fulfill({ response });
    const data = await response.json();
    data.upcoming.lines[0].description = hostile;
    data.invoices[0].number = hostile;
    data.invoices[0].hosted_invoice_url = 'javascript:window.wasRun=true';
    return route.fulfill({ response, json: data });
  });
  await page.goto(await system.link(customer));
  await eventually('the action', async () => assert.ok((await textOf(page, '#actions')).includes(hostile)));
  await eventually('the invoice', async () => assert.ok((await textOf(page, '#invoices')).includes(hostile)));
  assert.ok((await textOf(page, '#chart .legend')).includes(hostile));
  assert.ok((await textOf(page, '#events th[scope=row]')).includes(hostile));
  assert.equal(await page.locator('main img, main script, a[href^="javascript"]').count(), 0);
  assert.equal(await page.evaluate(() => window.wasRun), undefined);
  assert.deepEqual(log.errors, []);
});

test('a period with some days behind it says what it may come to', async () => {
  const now = Math.floor(Date.now() / 1_000);
  const since = now - 12 * DAY_S;
  const customer = await system.onboard('steady', { since });
  await system.moveClock(customer, now);
  const uses = Array.from({ length: 12 }, (_, day) => ['page_read', 100, since + day * DAY_S + 3_600]);
  await system.useMany(customer, uses);
  const { page } = await browser.page();
  await page.goto(await system.link(customer));
  await eventually('the usage', async () => assert.equal(await textOf(page, '#units'), '1,200'));
  assert.match(await textOf(page, '#projection'), /^\$\d+\.\d\d$/);
  assert.match(await textOf(page, '#projection-note'), /by 11 days so far$/);
});

test('without a script the page shows the same and renews itself', async () => {
  const customer = await system.onboard('plain');
  await system.use(customer, 'page_read', 1_234);
  await eventually('the report', async () => (await system.usage(customer)).total_units === 1_234);
  const { page, log } = await browser.page({ javaScriptEnabled: false });
  const link = await system.link(customer);
  await page.goto(link);
  assert.equal(await textOf(page, '#units'), '1,234');
  assert.equal(await textOf(page, '#cost'), 'USD 24.68');
  assert.match(await textOf(page, '#actions'), /page_read/);
  assert.equal(await page.locator('noscript meta[http-equiv=refresh], head meta[http-equiv=refresh]').count(), 1);
  assert.equal(await page.locator('#chart-section').isVisible(), false);
  assert.deepEqual(strangers(log, link), []);
});
