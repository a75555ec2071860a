// What a customer sees of its spending limit, while it is used.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { textOf, violations } from './browser.mjs';
import { browser, system } from './started.mjs';
import { eventually } from './system.mjs';

const bar = (page) => page.getByRole('progressbar', { name: 'Used of the spending limit' });

// The section as it says what the API says.
async function showsWhatTheApiSays(page, customer) {
  const { used_amount: used, amount, used_percent: percent, left_amount: left, alerts } = await system.limit(customer);
  assert.equal(await textOf(page, '#limit-used'), `$${used} of $${amount}`);
  assert.equal(await textOf(page, '#limit-note'), `${percent}% used, $${left} left`);
  assert.equal(await bar(page).evaluate((node) => node.value), Math.min(percent, 100));
  const told = await page.locator('#limit-alerts li').allInnerTexts();
  assert.deepEqual(told.map((text) => Number.parseInt(text, 10)), alerts.map((alert) => alert.threshold_percent));
}

test('the bar of a limit moves on an open page, and a reached limit says so until it is raised', async () => {
  const customer = await system.onboard('limited');
  await system.setLimit(customer, { amount: '2.00', enforcement: 'hard' });
  const { page, context, log } = await browser.page();
  await page.goto(await system.link(customer));
  await eventually('the page', async () => assert.equal(await textOf(page, '#limit-used'), '$0.00 of $2.00'));
  assert.equal(await textOf(page, '#limit-rule'), 'Nothing more can be used beyond it.');
  await page.evaluate(() => { window.isTheSamePage = true; });

  for (const [units, percent, alerts, kind] of [[40, 40, 0, 'good'], [42, 82, 2, 'warn'], [18, 100, 3, 'bad']]) {
    await system.use(customer, 'page_read', units);
    await eventually(`${percent} percent`, async () => {
      assert.equal((await system.limit(customer)).used_percent, percent);
      assert.equal((await system.limit(customer)).alerts.length, alerts);
      await showsWhatTheApiSays(page, customer);
    });
    assert.equal(await bar(page).getAttribute('class'), `whole ${kind}`);
    assert.equal(await page.locator('#limit-reached').isVisible(), percent === 100);
  }
  const { allowed } = await system.call('GET', `/v1/customers/${customer.id}/access`);
  assert.equal(allowed, false);
  assert.match(await textOf(page, '#limit-reached'), /New actions are refused until it is raised/);
  assert.match(await textOf(page, '#limit-alerts'), /80% reached on \w+ \d+, \d{4}/);
  assert.deepEqual(await violations(page, context), []);

  await system.setLimit(customer, { amount: '4.00', enforcement: 'hard' });
  await eventually('the higher limit', async () => {
    assert.equal(await page.locator('#limit-reached').isVisible(), false);
    await showsWhatTheApiSays(page, customer);
  });
  assert.equal(await page.evaluate(() => window.isTheSamePage), true);
  assert.deepEqual(log.errors, []);
});

test('units are held before they are used, and a limit comes and goes on an open page', async () => {
  const customer = await system.onboard('agents');
  const { page } = await browser.page();
  await page.goto(await system.link(customer));
  await eventually('the page', async () => (await textOf(page, '#renewal')).includes('second'));
  assert.equal(await page.locator('#limit-section').isVisible(), false);

  await system.setLimit(customer, { units: 2_000, enforcement: 'soft' });
  await eventually('the limit', async () => assert.equal(await textOf(page, '#limit-used'), '0 of 2,000 units'));
  assert.equal(await textOf(page, '#limit-rule'), 'For information: nothing stops there.');
  const wanted = {
    reservation_id: 'run-1', customer_id: customer.id, quantity: 1_500, action_type: 'page_read', expires_in_s: 300,
  };
  await system.call('POST', '/v1/usage/reservations', wanted);
  await eventually('what is held', async () => assert.equal(
    await textOf(page, '#limit-note'), '0% used, 500 units left, 1,500 units held for what has begun'));
  // More than the limit is used all the same.
  await system.useMany(customer, [['page_read', 2_500, Math.floor(Date.now() / 1_000)]]);
  await eventually('the usage', async () => assert.equal(
    await textOf(page, '#limit-note'), '125% used, 0 units left, 1,500 units held for what has begun'));
  assert.equal(await bar(page).evaluate((node) => node.value), 100);
  assert.equal(await page.locator('#limit-reached').isVisible(), false);

  await system.call('DELETE', `/v1/customers/${customer.id}/spending-limit`);
  await eventually('the end of it', async () =>
    assert.equal(await page.locator('#limit-section').isVisible(), false));
});

test('without a script a limit shows in the same words', async () => {
  const customer = await system.onboard('plain-limited');
  await system.setLimit(customer, { units: 1_234, enforcement: 'hard' });
  await system.use(customer, 'page_read', 1_234);
  await eventually('the alerts', async () => (await system.limit(customer)).alerts.length === 3);
  const { page } = await browser.page({ javaScriptEnabled: false });
  await page.goto(await system.link(customer));
  assert.equal(await textOf(page, '#limit-used'), '1,234 of 1,234 units');
  assert.equal(await textOf(page, '#limit-note'), '100% used, 0 units left');
  assert.equal(await bar(page).getAttribute('class'), 'whole bad');
  assert.match(await textOf(page, '#limit-alerts'), /100% reached on/);
  assert.match(await textOf(page, '#limit-reached'), /New actions are refused/);
});
