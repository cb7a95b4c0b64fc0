import { launch } from './browser.mjs';
import { readFileSync, mkdirSync } from 'node:fs';
const dev = JSON.parse(readFileSync('/tmp/screens/dev.json'));
const base = `https://127.0.0.1:${dev.port}`;
const out = '/tmp/screens/shots'; mkdirSync(out, { recursive: true });
const { browser, close } = await launch([dev.ca]);
const wantW = (process.argv[3] || '360,800,1920').split(',').map(Number), schemes = (process.argv[4] || 'light,dark').split(',');
const only = (process.argv[2] || 'all').split(',');
for (const scheme of schemes) for (const width of wantW) {
  const ctx = await browser.newContext({ viewport: { width, height: width === 360 ? 740 : width === 800 ? 1200 : 1080 }, colorScheme: scheme });
  const page = await ctx.newPage();
  page.on('console', (m) => { if (m.type() === 'error') console.log(scheme, width, 'console', m.text(), m.location().url); });
  page.on('pageerror', (e) => console.log('pageerror', e.message));
  const shot = async (name, full = true) => { if (only[0] === 'all' || only.includes(name)) await page.screenshot({ path: `${out}/${name}-${width}-${scheme}.png`, fullPage: full }); };
  await page.goto(base + '/'); await page.waitForSelector('#name');
  await shot('login');
  await page.fill('#name', dev.user); await page.fill('#password', dev.password); await page.click('button[type=submit]');
  await page.waitForSelector('.wards a, .board');
  await shot('wards');
  if (await page.$('.wards a')) await page.click('.wards a');
  await page.waitForSelector('.board .card');
  await shot('board');
  const extra = async (hash, sel, name, act) => { await page.goto(base + '/' + hash); await page.waitForSelector(sel); if (act) await act(); await shot(name); };
  const href = await page.getAttribute('.board .card:nth-child(2) a.person', 'href');
  await extra(href, '.banner', 'chart');
  await extra(href + '/vitals', '#rr', 'vitals', async () => {
    for (const [k, v] of Object.entries({ rr: '24', spo2: '93', sbp: '105', dbp: '62', hr: '118', temp: '38.4' })) await page.fill('#' + k, v);
  });
  if (typeof globalThis.more === 'function') await globalThis.more({ page, extra, href, base });
  for (const [name, hash, sel] of (process.env.MORE ? JSON.parse(process.env.MORE) : [])) await extra(hash.replace('PATIENT', href), sel, name);
  await ctx.close();
}
await close();
