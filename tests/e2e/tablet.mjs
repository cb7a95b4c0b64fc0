// tablet.mjs - a tablet in the browser and what every scenario does with it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

export const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WIDTHS = { 360: 740, 800: 1200, 1920: 1080 };
const WAIT_MS = 15000;

export async function open({ browser, facts, ask }) {
  const world = { browser, facts, ask, tablets: [], wrong: [] };
  world.onFailure = async (name) => {
    for (const [n, t] of world.tablets.entries()) await t.page.screenshot({ path: join(facts.artefacts, `failed-${name}-${n}.png`) }).catch(() => {});
  };
  return world;
}

// A tablet: a browser context of its own, in which every console error and every foreign request counts.
export async function tablet(world, node = 'Alder', { width = 800, scheme = 'light' } = {}) {
  const base = world.facts.nodes[node];
  const context = await world.browser.newContext({ viewport: { width, height: WIDTHS[width] || 1000 }, colorScheme: scheme });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  const t = { context, page, base, wrong: [], expected: [] };
  page.on('console', (m) => {
    if (m.type() === 'error' && !t.expected.some((e) => m.text().includes(e))) t.wrong.push(`console: ${m.text()} ${m.location().url}`);
  });
  page.on('pageerror', (e) => t.wrong.push(`page: ${e.message}`));
  page.on('request', (r) => { if (!r.url().startsWith(base) && !r.url().startsWith('data:')) t.wrong.push(`foreign: ${r.url()}`); });
  world.tablets.push(t);
  return t;
}

export async function done(world, ...tablets) {
  for (const t of tablets) {
    assert.deepEqual(t.wrong, []);
    await t.context.close();
    world.tablets.splice(world.tablets.indexOf(t), 1);
  }
}

export async function login(world, t, user = world.facts.user) {
  await t.page.goto(t.base + '/');
  await t.page.fill('#name', user);
  await t.page.fill('#password', world.facts.password);
  await t.page.click('form button[type=submit]');
  await t.page.waitForSelector('.wards a, .board');
  if (await t.page.$('.wards a')) await t.page.click('.wards a');
  await t.page.waitForSelector('.board .card');
}

export const bar = (t) => t.page.textContent('.syncbar .state');
export const barSays = (t, words) => t.page.waitForFunction((w) => document.querySelector('.syncbar').textContent.includes(w), words);
export const patients = (t) => t.page.$$eval('.board a.person', (list) => list.map((a) => a.getAttribute('href')));

export async function enter(t, href, values, alert = 'A', oxygen = 'air') {
  await t.page.goto(`${t.base}/${href}/vitals`);
  await t.page.waitForSelector('#rr');
  for (const [k, v] of Object.entries(values)) await t.page.fill('#' + k, v);
  if (alert) await t.page.check(`input[name=acvpu][value=${alert}]`);
  if (alert) await t.page.check(`input[name=o2][value=${oxygen}]`);
}
export async function axe(t, name) {
  const result = await t.page.evaluate(async (source) => {
    if (!window.axe) (0, eval)(source);
    return window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
  }, AXE).catch(() => null);
  return result ? result.violations.map((v) => `${name}: ${v.id}: ${v.nodes.map((n) => n.target.join(' ') + ' ' + (n.any[0]?.message || '')).slice(0, 3).join(' | ')}`) : [`${name}: axe did not run`];
}
