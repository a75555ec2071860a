// Who sees a dashboard, for how long, and where it leads on to.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { textOf } from './browser.mjs';
import { browser, system } from './started.mjs';
import { eventually } from './system.mjs';

const PORTAL = 'https://billing.stripe.com/**';

async function aBusyCustomer(name) {
  const customer = await system.onboard(name);
  await system.use(customer, 'secret_action', 4_321);
  await eventually('the report', async () => (await system.usage(customer)).total_units === 4_321);
  return customer;
}

async function showsNothing(page) {
  const text = await page.locator('html').innerText();
  assert.ok(!text.includes('4,321') && !text.includes('secret_action'), text);
}

test('a link that was changed opens nothing', async () => {
  const [mine, theirs] = [await aBusyCustomer('mine'), await aBusyCustomer('theirs')];
  const link = await system.link(mine);
  for (const changed of [
    link.replace(mine.id, theirs.id),
    link.replace(/expires=\d/, 'expires=9'),
    `${link}&billing_portal=1`,
    link.replace(/signature=.*/, 'signature=00'),
  ]) {
    const { page } = await browser.page();
    const response = await page.goto(changed);
    assert.equal(response.status(), 403);
    assert.match(await textOf(page, 'h1'), /does not work/);
    await showsNothing(page);
  }
});

test('a link that ends while the page is open takes everything off it', async () => {
  const customer = await aBusyCustomer('ending');
  const link = await system.endingLink(customer, 8);
  const { page, log } = await browser.page();
  await page.goto(link);
  await eventually('the usage', async () => assert.equal(await textOf(page, '#units'), '4,321'));
  await eventually('the end', async () => assert.equal(await textOf(page, 'h1'), 'This link has expired'));
  await showsNothing(page);
  assert.equal(await page.evaluate(() => document.activeElement.tagName), 'H1');
  // It has given up for good.
  const looks = () => log.requests.filter((url) => url.includes('/dashboard/data')).length;
  const before = looks();
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  assert.equal(looks(), before);
  const response = await page.goto(link);
  assert.equal(response.status(), 403);
  assert.match(await textOf(page, 'h1'), /has expired/);
});

test('a link leads on to the billing portal only if it was made for that', async () => {
  const customer = await aBusyCustomer('payer');
  const { page } = await browser.page();
  await page.goto(await system.link(customer));
  assert.equal(await page.getByRole('button', { name: 'Manage payment details' }).count(), 0);
  // Not by the address either.
  const asked = new URL(await system.link(customer));
  asked.pathname = '/dashboard/billing-portal';
  const answer = await fetch(asked, { method: 'POST', headers: { 'sec-fetch-site': 'same-origin' } });
  assert.equal(answer.status, 403);
});

test('the billing portal opens in a tab of its own, made when it is asked for', async () => {
  const customer = await aBusyCustomer('portal-user');
  const link = await system.link(customer, { billing_portal: true });
  const { page, context, log } = await browser.page();
  const bodies = [];
  context.on('response', async (response) => {
    if (response.url().startsWith(system.url)) bodies.push(await response.text().catch(() => ''));
  });
  await context.route(PORTAL, (route) =>
    route.fulfill({ contentType: 'text/html', body: '<h1>Stripe</h1>' }));
  await page.goto(link);
  await eventually('the usage', async () => assert.equal(await textOf(page, '#units'), '4,321'));
  assert.ok(!bodies.join('').includes('billing.stripe.com'));
  const [portal] = await Promise.all([
    context.waitForEvent('page'),
    page.getByRole('button', { name: 'Manage payment details' }).click(),
  ]);
  await portal.waitForURL(PORTAL);
  assert.equal(await textOf(portal, 'h1'), 'Stripe');
  // Stripe is not told the link.
  assert.equal(await portal.evaluate(() => document.referrer), '');
  assert.equal(await portal.evaluate(() => window.opener), null);
  assert.deepEqual(log.errors, []);
});

test('another site cannot open the portal, even with the link', async () => {
  const customer = await aBusyCustomer('framed');
  const link = new URL(await system.link(customer, { billing_portal: true }));
  link.pathname = '/dashboard/billing-portal';
  const { page, context } = await browser.page();
  await context.route('http://elsewhere.test/**', (route) => route.fulfill({
    contentType: 'text/html',
    body: `<form method="post" action="${String(link).replaceAll('&', '&amp;')}"><button>Go</button></form>`,
  }));
  await page.goto('http://elsewhere.test/');
  const [response] = await Promise.all([
    page.waitForResponse((answered) => answered.url().includes('/dashboard/billing-portal')),
    page.getByRole('button', { name: 'Go' }).click(),
  ]);
  assert.equal(response.status(), 403);
  assert.ok(!(await page.content()).includes('billing.stripe.com'));
});
