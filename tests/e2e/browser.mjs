// browser.mjs - Debian's Chromium with the node's private CA in its own store: nothing is clicked through, because a
// certificate that was clicked through breaks service workers.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const CHROMIUM = process.env.EVERWARD_CHROMIUM || '/usr/bin/chromium';

export async function launch(cas) {
  const home = mkdtempSync(join(tmpdir(), 'ew-e2e-'));
  const store = join(home, '.pki', 'nssdb');
  mkdirSync(store, { recursive: true });
  execFileSync('certutil', ['-N', '-d', `sql:${store}`, '--empty-password']);
  cas.forEach((ca, n) => execFileSync('certutil', ['-A', '-d', `sql:${store}`, '-n', `node ${n}`, '-t', 'C,,', '-i', ca]));
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    env: { ...process.env, HOME: home, XDG_CONFIG_HOME: join(home, '.config'), XDG_CACHE_HOME: join(home, '.cache') },
    args: ['--no-sandbox', '--disable-background-networking', '--disable-dev-shm-usage', '--disable-gpu'],
  });
  return { browser, async close() {
    await browser.close();
    rmSync(home, { recursive: true, force: true });
  } };
}
