// fleet.mjs - the fleet page at the gateway: one link, one browser; silent nodes first; legible in each width.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { AXE, axe, done, open, tablet } from './tablet.mjs';

export { open };

async function visit(world, options) {
  const t = await tablet(world, 'gateway', options);
  await t.context.addInitScript({ content: AXE });
  await t.page.goto(await world.ask('link'));
  await t.page.waitForSelector('.nodes');
  return t;
}

export async function aLinkOpensOneBrowserOnce(world) {
  const link = await world.ask('link');
  const t = await tablet(world, 'gateway');
  await t.page.goto(link);
  await t.page.waitForSelector('.nodes');
  assert.equal(new URL(t.page.url()).hash, '', 'the link stays in no history');
  const words = await t.page.$$eval('.node', (all) => all.map((n) => [n.querySelector('h2').textContent, n.querySelector('.word').textContent]));
  assert.deepEqual(words.map(([name]) => name), ['Birch', 'Alder']);
  assert.match(words[0][1], /^Silent since \d+/);
  assert.equal(words[1][1], 'Up to date');
  assert.match(await t.page.textContent('.node'), /37 changes.*the oldest for 2 h.*2 min behind.*40 GiB \(62\s%\)/);
  assert.ok(!(await t.page.textContent('body')).includes('Cedar'), 'a node of another tenant');
  assert.equal(await t.page.evaluate(() => document.cookie), '', 'a script can read the session');
  await t.page.reload();
  await t.page.waitForSelector('.nodes');
  const other = await tablet(world, 'gateway');
  other.expected.push('401');
  await other.page.goto(link);
  await other.page.waitForSelector('.closed [role=alert]');
  assert.match(await other.page.textContent('.closed'), /has been used/);
  assert.equal(await other.page.$('.node'), null);
  await t.page.click('text=Close this session');
  await t.page.waitForSelector('.closed');
  t.expected.push('401');
  await t.page.reload();
  await t.page.waitForSelector('.closed');
  await done(world, t, other);
}

export async function thePageIsLegible(world) {
  const bad = [];
  for (const [width, scheme] of [[360, 'light'], [800, 'dark'], [1920, 'light']]) {
    const t = await visit(world, { width, scheme });
    const look = async (name) => {
      await t.page.screenshot({ path: join(world.facts.artefacts, `${name}-${width}-${scheme}.png`), fullPage: true });
      bad.push(...await axe(t, `${name} ${width} ${scheme}`));
      const wide = await t.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wide > 0) bad.push(`${name} ${width}: ${wide} px wider than the screen`);
    };
    await look('fleet');
    if (width < 1920) {
      await t.page.click('text=Close this session');
      await t.page.waitForSelector('.closed');
      await look('fleet-closed');
    }
    await done(world, t);
  }
  assert.deepEqual(bad, []);
}

export async function aGatewayThatIsGoneIsSaid(world) {
  const t = await visit(world);
  t.expected.push('ERR_', 'Failed to load');
  await world.ask('gateway', { up: false });
  await t.page.waitForSelector('.notice-wait', { timeout: 40000 });
  assert.equal((await t.page.$$('.node')).length, 2, 'what was known goes on being shown, as old');
  await world.ask('gateway', { up: true });
  await t.page.waitForSelector('.notice-wait', { state: 'detached', timeout: 40000 });
  await done(world, t);
}
