// signin.mjs - the hospital's account, at the provider's own page; and whether a device trusts the node.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { launch } from './browser.mjs';

const WAIT_MS = 20000;

export async function open({ browser, facts, ask }) {
  const world = { browser, facts, ask, page: null };
  world.onFailure = async (name) => { await world.page?.screenshot({ path: join(facts.artefacts, `failed-${name}.png`) }).catch(() => {}); };
  return world;
}

async function newPage(world, browser = world.browser, options = {}) {
  const context = await browser.newContext(options);
  world.page = await context.newPage();
  world.page.setDefaultTimeout(WAIT_MS);
  return world.page;
}

async function signIn(world, account) {
  const page = await newPage(world);
  await page.goto(world.facts.nodes.Alder + '/');
  await page.click('a.account');
  await page.fill('input[name=login]', account);
  await page.click('button');
  return page;
}

export async function oneSignsInAtTheHospitalsPage(world) {
  const page = await signIn(world, 'nadia');
  await page.waitForSelector('.me');
  assert.match(await page.textContent('.me'), /Nadia Berg/);
  assert.equal(new URL(page.url()).search, '', 'nothing of the login stays in the address');
  await page.reload();
  await page.waitForSelector('.me');
  await page.context().close();
}

export async function whoIsRefusedIsToldAndOfferedNoOtherWay(world) {
  const page = await signIn(world, 'stranger');
  await page.waitForFunction(() => document.querySelector('form .error')?.textContent.includes('refused'));
  await page.waitForSelector('a.account');
  assert.equal(await page.$('#password'), null);
  assert.equal(await page.$('.me'), null);
  await page.context().close();
}

export async function withoutTheProviderThePasswordIsOffered(world) {
  await world.ask('provider', { up: false });
  const page = await newPage(world);
  await page.goto(world.facts.nodes.Alder + '/');
  await page.waitForSelector('#password');
  await page.fill('#name', world.facts.user);
  await page.fill('#password', world.facts.password);
  await page.click('form button[type=submit]');
  await page.waitForSelector('.me');
  await page.context().close();
}

const verdict = async (page) => {
  await page.waitForFunction(() => ['yes', 'no', 'unable'].includes(document.getElementById('test').dataset.state));
  return page.$eval('#test', (e) => e.dataset.state);
};

export async function aDeviceWithTheCaTrustsTheNode(world) {
  const page = await newPage(world);
  await page.goto(world.facts.nodes.Alder + '/trust');
  assert.equal(await verdict(page), 'yes');
  assert.equal(await page.evaluate(async () => (await navigator.serviceWorker.getRegistrations()).length), 0, 'the test leaves nothing behind');
  await page.context().close();
}

export async function aDeviceWithoutTheCaIsToldSo(world) {
  const { browser, close } = await launch([]);
  try {
    const strict = await newPage(world, browser);
    await assert.rejects(strict.goto(world.facts.nodes.Alder + '/trust'), /ERR_CERT/);
    // As somebody who clicks the warning away: the page comes, a worker does not.
    const page = await newPage(world, browser, { ignoreHTTPSErrors: true });
    await page.goto(world.facts.nodes.Alder + '/trust');
    assert.equal(await verdict(page), 'no');
  } finally {
    await close();
  }
}
