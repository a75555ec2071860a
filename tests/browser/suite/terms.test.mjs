// What the page makes of other terms than dollars by the month: a trial, a currency without or
// with more decimals, a subscription that is to end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { textOf } from './browser.mjs';
import { browser, system } from './started.mjs';
import { eventually } from './system.mjs';

// The page of a customer who has used so many units.
async function pageOf(customer, quantity) {
  await system.use(customer, 'page_read', quantity);
  const { page, log } = await browser.page();
  await page.goto(await system.link(customer));
  const units = quantity.toLocaleString('en-US');
  await eventually('the usage', async () => assert.equal(await textOf(page, '#units'), units));
  return { page, log };
}

test('usage in a free trial costs nothing, and the page says until when', async () => {
  const customer = await system.onboard('trier', { trial_period_days: 14 });
  const { page, log } = await pageOf(customer, 1_500);
  assert.equal(await textOf(page, '#cost'), '$0.00');
  const { period_end: end } = await system.usage(customer);
  const day = new Date(end).toLocaleDateString('en-US', { timeZone: 'UTC', day: 'numeric', month: 'short' });
  assert.match(await textOf(page, '#cost-note'), new RegExp(`a free trial until ${day}`));
  assert.equal(await textOf(page, '#today-note'), '$0.00 added to the invoice');
  assert.deepEqual(log.errors, []);
});

// Of Stripe's currencies without decimals and with three (Stripe's documentation: "Supported
// currencies").
for (const { currency, unitAmountDecimal, quantity, cost, shown } of [
  { currency: 'jpy', unitAmountDecimal: '0.5', quantity: 2_469, cost: '1235', shown: '¥1,235' },
  { currency: 'kwd', unitAmountDecimal: '1.5', quantity: 2_460, cost: '3.690', shown: 'KWD\u00a03.690' },
]) {
  test(`an amount in ${currency} has the decimals of its currency`, async () => {
    await system.sellIn(currency, unitAmountDecimal);
    const customer = await system.onboard(`payer-in-${currency}`);
    const { page, log } = await pageOf(customer, quantity);
    await eventually('the cost', async () => assert.equal(await textOf(page, '#cost'), shown));
    assert.equal((await system.usage(customer)).estimated_cost, cost);
    await eventually('the invoice', async () => assert.ok((await textOf(page, '#upcoming')).includes(shown)));
    assert.deepEqual(log.errors, []);
  });
}

test('a subscription that ends with the period says when, and no longer once it goes on', async () => {
  const customer = await system.onboard('hesitant');
  const { page } = await pageOf(customer, 3);
  const at = `/v1/customers/${customer.id}/subscription`;
  await system.call('POST', at, { cancel_at_period_end: true });
  await eventually('the end', async () =>
    assert.match(await textOf(page, '#standing'), /^The subscription ends on /));
  assert.equal(await textOf(page, '#badge'), 'Active');
  await system.call('POST', at, { cancel_at_period_end: false });
  await eventually('no end', async () => assert.equal(await page.locator('#standing').isVisible(), false));
});
