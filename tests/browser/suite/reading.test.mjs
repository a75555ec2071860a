// Who reads the page: in light and dark, on a phone, by keyboard, by a screen reader; and
// what it looks like.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { Browser, DESK, PHONE, textOf, violations } from './browser.mjs';
import { DAY_S, HOUR_S, System, eventually } from './system.mjs';

const PICTURES = process.env.BROWSER_PICTURES ?? 'target/screenshots';
const DAYS = 19;
const ACTIONS = ['document_summarised', 'page_read', 'mail_answered', 'invoice_checked'];

let system;
let browser;
let link;

before(async () => {
  [system, browser] = await Promise.all([System.start(), Browser.start()]);
  link = await aMonthOfUsage();
  await mkdir(PICTURES, { recursive: true });
});

after(async () => {
  await browser.stop();
  await system.stop();
});

// Some weeks of usage that looks like somebody's: the same in every run.
async function aMonthOfUsage() {
  const now = Math.floor(Date.now() / 1_000);
  const since = now - DAYS * DAY_S;
  const customer = await system.onboard('reader', { since });
  await system.moveClock(customer, now);
  const uses = [];
  for (let hour = 1; hour < DAYS * 24; hour += 3) {
    for (const [index, action] of ACTIONS.entries()) {
      const wave = (hour * (index + 3) * 7) % 23;
      uses.push([action, 1 + wave + (3 - index) * 9, since + hour * HOUR_S]);
    }
  }
  const units = uses.reduce((all, [, quantity]) => all + quantity, 0);
  // At 2 cents a unit most of it is used, and two of its thresholds are behind.
  const dollars = Math.ceil(units * 2 / 84);
  await system.setLimit(customer, { amount: `${dollars}.00`, enforcement: 'hard' });
  await system.useMany(customer, uses);
  await eventually('the alerts', async () => (await system.limit(customer)).alerts.length === 2);
  await eventually('the report', async () => (await system.usage(customer)).total_units === units);
  return system.link(customer, { billing_portal: true });
}

async function opened(settings) {
  const { page, context, log } = await browser.page(settings);
  await page.goto(link);
  await eventually('the chart', async () => (await page.locator('#chart canvas').count()) === 1);
  await eventually('the limit', async () => (await page.locator('#limit-alerts li').count()) === 2);
  await eventually('the invoices', async () => (await page.locator('#invoices table').count()) === 1);
  return { page, context, log };
}

for (const [name, settings] of [
  ['light', { ...DESK, colorScheme: 'light' }],
  ['dark', { ...DESK, colorScheme: 'dark' }],
  ['phone', { ...PHONE, colorScheme: 'light' }],
  ['phone-dark', { ...PHONE, colorScheme: 'dark' }],
]) {
  test(`nothing keeps a reader out: ${name}`, async () => {
    const { page, context, log } = await opened(settings);
    await page.locator('#chart summary').click();
    assert.deepEqual(await violations(page, context), []);
    await page.locator('#chart summary').click();
    // Nothing is wider than the screen.
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(width, settings.viewport.width);
    await page.mouse.move(0, 0);
    await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
    await page.screenshot({ path: `${PICTURES}/${name}.png`, fullPage: name.startsWith('phone') });
    assert.deepEqual(log.errors, []);
  });
}

test('the pages that show nothing keep nobody out either', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const { page, context } = await browser.page({ colorScheme });
    await page.goto(link.replace(/signature=.*/, 'signature=00'));
    assert.deepEqual(await violations(page, context), []);
  }
});

test('everything can be reached and read by keyboard', async () => {
  const { page } = await opened({});
  const reached = new Set();
  for (let step = 0; step < 60; step += 1) {
    await page.keyboard.press('Tab');
    reached.add(await page.evaluate(() => {
      const { activeElement: at } = document;
      return at.getAttribute('aria-label')?.split('.')[0] ?? at.innerText?.split('\n')[0] ?? at.tagName;
    }));
  }
  for (const name of ['Asia/Tokyo', 'UTC', 'Days', 'Last 48 hours', 'Chart of units over time',
    'The chart as a table', 'Manage payment details']) {
    assert.ok(reached.has(name), `${name} in ${[...reached].join(', ')}`);
  }
  // One bar after the other is read out.
  await page.locator('#chart .picture').focus();
  await page.keyboard.press('End');
  const latest = await textOf(page, '#chart output');
  await page.keyboard.press('ArrowLeft');
  const before = await textOf(page, '#chart output');
  assert.notEqual(before, latest);
  assert.match(before, /: [\d,]+ units \(/);
  await page.keyboard.press('ArrowRight');
  assert.equal(await textOf(page, '#chart output'), latest);
  // The table has as many rows as there are days.
  await page.locator('#chart summary').focus();
  await page.keyboard.press('Enter');
  await eventually('the table', async () => (await page.locator('#chart tbody tr').count()) === DAYS + 1);
});

test('times are the reader\'s, or those of the invoice', async () => {
  const { page } = await opened({});
  const own = await textOf(page, '#expires-at');
  await page.getByRole('button', { name: 'UTC' }).click();
  const utc = await textOf(page, '#expires-at');
  assert.notEqual(own, utc);
  assert.equal((Date.parse(own) - Date.parse(utc)) / 3_600_000, 9);
});

test('numbers are written as in the reader\'s language', async () => {
  const { page } = await opened({ locale: 'de-DE' });
  await eventually('the cost', async () => assert.match(await textOf(page, '#cost'), /^[\d.]+,\d\d\s\$$/));
});

test('who wants no motion gets none', async () => {
  const { page } = await opened({ reducedMotion: 'reduce' });
  const moving = await page.evaluate(() => {
    document.getElementById('units').classList.add('changed');
    return document.getAnimations().length;
  });
  assert.equal(moving, 0);
});
