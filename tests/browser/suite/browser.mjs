// A real Chromium, and everything that its pages ask for.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const LOCALE = 'en-US';
// Not UTC, so that the two are told apart, and without a summer time.
const TIME_ZONE = 'Asia/Tokyo';

export const PHONE = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true };
export const DESK = { viewport: { width: 1200, height: 900 } };

export class Browser {
  #browser;

  static async start() {
    const browser = new Browser();
    browser.#browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      // In a container there are no namespaces for Chromium's own sandbox.
      args: ['--no-sandbox'],
    });
    return browser;
  }

  stop() {
    return this.#browser.close();
  }

  // A page with nothing kept from others, and a log of its requests.
  async page(settings = {}) {
    const context = await this.#browser.newContext({ ...DESK, locale: LOCALE, timezoneId: TIME_ZONE, ...settings });
    const page = await context.newPage();
    const log = { requests: [], statuses: [], errors: [] };
    context.on('request', (request) => log.requests.push(request.url()));
    context.on('response', (response) => log.statuses.push([new URL(response.url()).pathname, response.status()]));
    page.on('pageerror', (error) => log.errors.push(String(error)));
    page.on('console', (message) => {
      // A refused request is a console error as well, and is tested by what it shows.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
        log.errors.push(message.text());
      }
    });
    return { page, context, log };
  }
}

export const textOf = (page, selector) => page.locator(selector).innerText();

// Hosts other than the page's own that anything was asked of.
export function strangers(log, url) {
  const own = new URL(url).host;
  return log.requests
    .filter((requested) => !requested.startsWith('data:'))
    .map((requested) => new URL(requested).host)
    .filter((host) => host !== own);
}

// What axe-core finds of a page that keeps somebody out (impact serious or critical). The
// policy of the page forbids injected scripts; the debugger's protocol does not ask it.
export async function violations(page, context) {
  const session = await context.newCDPSession(page);
  const { executionContextId } = await isolatedWorld(session);
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await session.send('Runtime.evaluate', {
      expression, contextId: executionContextId, awaitPromise: true, returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  await evaluate(`${AXE}; undefined`);
  const found = await evaluate('axe.run(document).then(({ violations }) => violations)');
  await session.detach();
  return found
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(' ')).join(', ')}`);
}

async function isolatedWorld(session) {
  const { frameTree } = await session.send('Page.getFrameTree');
  return session.send('Page.createIsolatedWorld', { frameId: frameTree.frame.id, worldName: 'axe' });
}
