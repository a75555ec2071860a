// What the page says when not all is well.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { textOf } from './browser.mjs';
import { browser, system } from './started.mjs';
import { DAY_S, eventually } from './system.mjs';

test('a customer whose card fails sees it on the open page, and then that it is suspended', async () => {
  const since = Math.floor(Date.now() / 1_000);
  const customer = await system.onboard('defaulter', { paymentMethod: 'pm_card_chargeCustomerFail', since });
  await system.use(customer, 'document_processed', 60);
  await eventually('Stripe', async () => (await system.unitsInStripe(customer)) === 60);
  const { page } = await browser.page();
  await page.goto(await system.link(customer));
  await eventually('the page', async () => assert.equal(await textOf(page, '#badge'), 'Active'));

  const now = await system.endPeriod(customer);
  await eventually('past due', async () => assert.equal(await textOf(page, '#badge'), 'Payment due'));
  assert.match(await textOf(page, '#standing'), /A payment has failed/);
  // The invoice is there to be paid, on Stripe's own page.
  const row = page.locator('#invoices tr', { hasText: '$1.20' });
  await eventually('the invoice', async () => assert.match(await row.innerText(), /To be paid: \$1\.20/));
  assert.match(await row.getByRole('link', { name: /^Pay/ }).getAttribute('href'), /^https:\/\//);

  await system.moveClock(customer, now + 16 * DAY_S);
  await eventually('suspended', async () => assert.equal(await textOf(page, '#badge'), 'Suspended'));
  assert.match(await textOf(page, '#standing'), /New actions are refused/);
});

test('a page that gets no answer says since when, and recovers by itself', async () => {
  const customer = await system.onboard('unreachable');
  const { page } = await browser.page();
  await page.goto(await system.link(customer));
  await eventually('the page', async () => (await textOf(page, '#renewal')).includes('second'));
  assert.equal(await page.locator('#connection').isVisible(), false);
  const away = (route) => route.abort();
  await page.route('**/dashboard/data?*', away);
  await eventually('the banner', async () =>
    assert.match(await textOf(page, '#connection'), /Not up to date since/));
  // What was known stays.
  assert.equal(await textOf(page, '#units'), '0');
  await page.unroute('**/dashboard/data?*', away);
  await system.use(customer, 'page_read', 5);
  await page.getByRole('button', { name: 'Try now' }).click();
  await eventually('the usage', async () => assert.equal(await textOf(page, '#units'), '5'));
  await eventually('the end of the banner', async () =>
    assert.equal(await page.locator('#connection').isVisible(), false));
});

test('usage shows while Stripe does not answer, and invoices say that they do not', async () => {
  const customer = await system.onboard('without-stripe');
  await system.use(customer, 'page_read', 9);
  const { page } = await browser.page();
  await page.route('**/dashboard/invoices?*', (route) => route.fulfill({
    status: 503,
    contentType: 'application/problem+json',
    body: '{"type":"urn:meterline:problem:stripe-unavailable"}',
  }));
  const link = await system.link(customer);
  await page.goto(link);
  await eventually('the usage', async () => assert.equal(await textOf(page, '#units'), '9'));
  assert.equal(await page.locator('#connection').isVisible(), false);
});

test('a subscription that is to end, and one that has ended, say so', async () => {
  const since = Math.floor(Date.now() / 1_000);
  const customer = await system.onboard('leaver', { since });
  const { page } = await browser.page();
  await page.goto(await system.link(customer));
  await eventually('the page', async () => assert.equal(await textOf(page, '#badge'), 'Active'));
  await system.call('DELETE', `/v1/customers/${customer.id}/subscription`, {});
  await eventually('the end', async () => assert.equal(await textOf(page, '#badge'), 'Ended'));
  assert.match(await textOf(page, '#standing'), /subscription has ended/);
});
