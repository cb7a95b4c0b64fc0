// ward.mjs - what a nurse does, and what it must look like.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { AXE, axe, bar, barSays, done, enter, login, open, patients, tablet } from './tablet.mjs';

export { open };

const ILL = { rr: '25', spo2: '91', sbp: '99', dbp: '60', hr: '118', temp: '38.6' }; // 3+3+2+2+1 = 11

export async function nobodySeesAPatientBeforeTheLogin(world) {
  const t = await tablet(world);
  await t.page.goto(t.base + '/');
  await t.page.waitForSelector('#name');
  assert.equal(await t.page.$('.board'), null);
  t.expected.push('401');
  await t.page.fill('#name', world.facts.user);
  await t.page.fill('#password', 'not the password');
  await t.page.click('form button[type=submit]');
  await t.page.waitForFunction(() => document.querySelector('form .error').textContent.length > 0);
  assert.match(await t.page.textContent('form .error'), /not right/);
  await done(world, t);
}

export async function theBoardIsThereWithinASecond(world) {
  const t = await tablet(world, 'Alder', { width: 1920 });
  await login(world, t);
  assert.ok((await patients(t)).length >= 15);
  const started = Date.now();
  await t.page.reload();
  await t.page.waitForSelector('.board .card');
  const ms = Date.now() - started;
  console.error(`e2e: the board with ${(await patients(t)).length} patients after ${ms} ms`);
  assert.ok(ms < 3000, `${ms} ms`); // the figure is for a release build; this one is instrumented
  assert.match(await bar(t), /All saved here · at the centre/);
  await done(world, t);
}

export async function aRoundOfVitalSignsAppearsOnTheOtherTablet(world) {
  const [a, b] = [await tablet(world), await tablet(world)];
  await login(world, a);
  await login(world, b);
  const href = (await patients(a))[0];
  await enter(a, href, ILL);
  assert.equal((await a.page.textContent('.actions .score b')).trim(), '11');
  const started = Date.now();
  await a.page.click('form.entry button[type=submit]');
  const card = b.page.locator(`.card:has(a[href="${href}"]) .score b`);
  await b.page.waitForFunction((h) => document.querySelector(`.card:has(a[href="${h}"]) .score b`).textContent.trim() === '11', href);
  console.error(`e2e: on the other tablet ${Date.now() - started} ms after the press`);
  assert.equal((await card.textContent()).trim(), '11');
  await a.page.waitForSelector('.notice-good');
  await done(world, a, b);
}

export async function theOutageIsToldAndNothingIsLost(world) {
  const t = await tablet(world);
  await login(world, t);
  const href = (await patients(t))[1];
  const before = await world.ask('count', { table: 'observation' });
  await world.ask('link', { node: 'Alder', to: 'down' });
  await barSays(t, 'Working offline since');
  await enter(t, href, { hr: '71' }, null);
  await t.page.click('form.entry button[type=submit]');
  await t.page.waitForSelector('.notice-good');
  await barSays(t, '1 change waits (nothing is lost)');
  await t.page.waitForFunction(() => document.querySelector('table.vitals')?.textContent.includes('saved here'));
  await world.ask('link', { node: 'Alder', to: 'up' });
  await barSays(t, 'All saved here · at the centre');
  await t.page.waitForFunction(() => !document.querySelector('table.vitals')?.textContent.includes('saved here'));
  await world.ask('wait_current', { node: 'Alder' });
  assert.equal(await world.ask('count', { table: 'observation' }), before + 1);
  await done(world, t);
}

export async function whatLooksLikeASlipIsAskedAbout(world) {
  const t = await tablet(world);
  await login(world, t);
  const href = (await patients(t))[2];
  await enter(t, href, { hr: '710', temp: '33.1' }, null);
  await t.page.click('form.entry button[type=submit]');
  assert.match(await t.page.textContent('form.entry'), /Pulse lies between 0 and 350/);
  await t.page.fill('#hr', '71');
  await t.page.click('form.entry button[type=submit]');
  assert.match(await t.page.textContent('.doubts'), /Temperature 33.1 °C is unusual/);
  await t.page.check('#sure');
  await t.page.click('form.entry button[type=submit]');
  await t.page.waitForSelector('.notice-good');
  await done(world, t);
}

export async function whatWasWrittenOnPaperIsEnteredAsSuch(world) {
  const t = await tablet(world);
  await login(world, t);
  const href = (await patients(t))[5];
  await enter(t, href, { hr: '77' }, null);
  assert.equal(await t.page.$('input[name=paper]'), null);
  const before = new Date(Date.now() - 3600000);
  const local = new Date(before.getTime() - before.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
  await t.page.fill('#at', local);
  await t.page.check('input[name=paper]');
  await t.page.waitForFunction(() => document.querySelectorAll('#by option').length > 2);
  await t.page.selectOption('#by', { index: 2 });
  await t.page.click('form.entry button[type=submit]');
  await t.page.waitForFunction(() => document.querySelector('table.vitals')?.textContent.includes('from paper'));
  await world.ask('wait_current', { node: 'Alder' });
  const [row] = await world.ask('newest', {});
  assert.equal(row[0], 'back-entry');
  assert.ok(row[1] && row[1] !== row[2]);
  await done(world, t);
}

export async function aNoteAnAllergyAndADoseFromPaperAreEnteredAsSuch(world) {
  const t = await tablet(world);
  const bad = [];
  await t.context.addInitScript({ content: AXE });
  await login(world, t);
  const href = (await patients(t))[6];
  const before = new Date(Date.now() - 3600000);
  const local = new Date(before.getTime() - before.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
  const look = async (name) => {
    for (const [width, colorScheme] of [[360, 'light'], [800, 'dark'], [1920, 'light'], [360, 'dark']]) {
      await t.page.setViewportSize({ width, height: 900 });
      await t.page.emulateMedia({ colorScheme });
      await t.page.screenshot({ path: join(world.facts.artefacts, `from-paper-${name}-${width}-${colorScheme}.png`), fullPage: true });
      bad.push(...await axe(t, `from paper, ${name} ${width} ${colorScheme}`));
      if (await t.page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth)) bad.push(`${name} ${width}: wider than the screen`);
    }
  };
  const onPaper = async (name) => {
    await t.page.check('input[name=paper]');
    await t.page.click('form.entry button[type=submit]'); // when it was is never guessed
    await t.page.waitForSelector('#paper-at[aria-invalid]');
    await t.page.fill('#paper-at', local);
    await t.page.waitForFunction(() => document.querySelectorAll('#paper-by option').length > 2);
    await t.page.selectOption('#paper-by', { index: 2 });
    await look(name);
    await t.page.click('form.entry button[type=submit]');
    await t.page.waitForSelector('.notice-good');
    await t.page.click('.notice button');
  };
  const kept = async (table) => {
    await world.ask('wait_current', { node: 'Alder' });
    const [row] = await world.ask('newest', { table });
    assert.equal(row[0], 'back-entry');
    assert.ok(row[1] && row[1] !== row[2]);
    assert.equal(Math.floor(Date.parse(row[3]) / 60000), Math.floor(before.getTime() / 60000));
  };
  await t.page.goto(`${t.base}/${href}/note`);
  await t.page.fill('#body', 'Written by torchlight.');
  await onPaper('note');
  await t.page.waitForFunction(() => document.querySelector('.stack').textContent.includes('from paper'));
  await kept('note');
  await t.page.goto(`${t.base}/${href}/allergy`);
  await t.page.check('input[name=kind][value=allergy]');
  await t.page.fill('#display', 'Latex');
  await t.page.check('input[name=criticality][value=high]');
  await onPaper('allergy');
  await kept('allergy');
  await t.page.goto(t.base + '/');
  await t.page.waitForSelector('.board .card');
  const { give } = await dueDose(t);
  await t.page.goto(`${t.base}/${give}`);
  await t.page.waitForSelector('.checks');
  await t.page.check('input[name=status][value=completed]');
  for (const [id, fill] of [['#override', (s) => t.page.fill(s, 'given during the outage')], ['#witness', (s) => t.page.selectOption(s, { index: 1 })]]) if (await t.page.$(id)) await fill(id);
  await onPaper('dose');
  await kept('medication_administration');
  assert.deepEqual(bad, []);
  await done(world, t);
}

export async function theTabletsOwnWifiGoesAndComes(world) {
  const t = await tablet(world);
  await login(world, t);
  await t.page.evaluate(() => navigator.serviceWorker.ready);
  const href = (await patients(t))[3];
  const before = await world.ask('count', { table: 'observation' });
  await t.page.goto(`${t.base}/${href}/vitals`);
  await t.page.waitForSelector('#rr');
  t.expected.push('Failed to load resource', 'ERR_INTERNET_DISCONNECTED', 'ERR_FAILED');
  await t.context.setOffline(true);
  await t.page.fill('#hr', '66');
  await t.page.click('form.entry button[type=submit]');
  await t.page.waitForSelector('.notice-wait');
  await barSays(t, '1 entry is kept on this tablet, not saved yet');
  await barSays(t, 'can’t reach the ward’s node');
  assert.match(await t.page.textContent('.strip.wait'), /on this tablet only/);
  await t.page.reload(); // the shell comes from the service worker
  await barSays(t, '1 entry is kept on this tablet, not saved yet');
  const cached = await t.page.evaluate(async () => {
    const out = [];
    for (const n of await caches.keys()) for (const r of await (await caches.open(n)).keys()) out.push(new URL(r.url).pathname);
    return out;
  });
  assert.ok(cached.length > 5);
  assert.deepEqual(cached.filter((p) => p !== '/' && !p.startsWith('/app/')), []);
  await t.context.setOffline(false);
  await t.page.waitForFunction(() => !document.querySelector('.syncbar').textContent.includes('kept on this tablet'));
  await world.ask('wait_current', { node: 'Alder' });
  assert.equal(await world.ask('count', { table: 'observation' }), before + 1);
  await done(world, t);
}

// The first dose that is due and was not given, on some patient's chart.
async function dueDose(t) {
  for (const href of await patients(t)) {
    await t.page.goto(`${t.base}/${href}`);
    await t.page.waitForSelector('.banner');
    await t.page.waitForTimeout(200);
    const give = await t.page.$$eval('.due a[href*="/give/"]', (list) => list.filter((a) => a.textContent === 'Give' && a.getAttribute('href').split('/').length === 6 && !a.closest('li').textContent.includes('High-alert')).map((a) => a.getAttribute('href')));
    if (give.length) return { href, give: give[0] };
    await t.page.goto(t.base + '/');
    await t.page.waitForSelector('.board .card');
  }
  throw new Error('no dose is due');
}

async function fillGive(t, why) {
  await t.page.check('input[name=status][value=completed]');
  for (const k of ['patient', 'medicine', 'route']) await t.page.check(`input[name=right-${k}]`);
  if (await t.page.$('#witness')) await t.page.selectOption('#witness', { index: 1 });
  if (await t.page.$('#override')) await t.page.fill('#override', why);
}

export async function aDoseIsNotGivenTwiceByAccident(world) {
  const [a, b] = [await tablet(world), await tablet(world)];
  await login(world, a);
  const { href, give } = await dueDose(a);
  await login(world, b);
  await a.page.goto(`${a.base}/${give}`);
  await a.page.waitForSelector('.checks');
  await a.page.click('form.entry button[type=submit]'); // nothing is chosen beforehand
  assert.match(await a.page.textContent('form.entry'), /Choose whether the dose was given/);
  await a.page.check('input[name=status][value=completed]');
  assert.match(await a.page.textContent('form.entry'), /Check each of these first/);
  await b.page.goto(`${b.base}/${give}`);
  await b.page.waitForSelector('.checks');
  await fillGive(b, 'agreed with the doctor');
  await fillGive(a, 'agreed with the doctor');
  await a.page.click('form.entry button[type=submit]');
  await a.page.waitForSelector('.notice-good');
  await b.page.waitForFunction(() => document.querySelector('.checks').textContent.includes('already given'));
  assert.equal(await b.page.inputValue('#override'), ''); // what was written before does not answer this
  await b.page.click('form.entry button[type=submit]');
  assert.match(await b.page.textContent('form.entry'), /Say why/);
  await b.page.fill('#override', 'the first was spat out');
  await b.page.click('form.entry button[type=submit]');
  await b.page.waitForSelector('.notice-good');
  await b.page.waitForFunction(() => document.querySelector('.stack').textContent.includes('Given 2 times')); // a fact, and shown
  assert.equal(href, give.split('/').slice(0, 3).join('/'));
  await done(world, a, b);
}

export async function oneEntersAllergyNoteTaskAndBed(world) {
  const t = await tablet(world);
  await login(world, t);
  const href = (await patients(t))[4];
  const go = async (what) => {
    await t.page.goto(`${t.base}/${href}/${what}`);
    await t.page.waitForSelector('form.entry .actions');
  };
  const saved = async () => {
    await t.page.click('form.entry button[type=submit]');
    await t.page.waitForSelector('.notice-good');
    await t.page.click('.notice button');
  };
  await go('allergy');
  await t.page.check('input[name=kind][value=allergy]');
  await t.page.fill('#display', 'Bee venom');
  await t.page.check('input[name=criticality][value=high]');
  await saved();
  await t.page.waitForFunction(() => document.querySelector('.banner').textContent.includes('Bee venom'));
  await go('allergy');
  await t.page.check('input[name=kind][value=none-known]');
  await t.page.click('form.entry button[type=submit]');
  assert.match(await t.page.textContent('form.entry'), /would contradict/);
  await go('note');
  await t.page.fill('#body', 'Slept well.\nAte half of breakfast.');
  await saved();
  await t.page.waitForFunction(() => document.querySelector('.stack').textContent.includes('Slept well.'));
  await go('task');
  await t.page.fill('#what', 'Look after the drip');
  await saved();
  await t.page.waitForFunction(() => document.querySelector('.stack').textContent.includes('Look after the drip'));
  await world.ask('wait_current', { node: 'Alder' }); // its version moves with the acknowledgement: that is no change,
  t.expected.push('412 (Precondition Failed)'); // and the app finds out by itself, if the click came before the news
  await t.page.locator('li', { hasText: 'Look after the drip' }).getByRole('button').click();
  await t.page.waitForFunction(() => !document.querySelector('.stack').textContent.includes('Look after the drip'));
  await go('move');
  const bed = await t.page.locator('#bed option', { hasText: 'free' }).first();
  const name = (await bed.textContent()).replace(' (free)', '');
  await t.page.selectOption('#bed', await bed.getAttribute('value'));
  await saved();
  await t.page.waitForFunction((n) => document.querySelector('.bedname').textContent === n, name);
  await done(world, t);
}

export async function aConflictIsDecidedOnOneNodeAndGoneOnBoth(world) {
  const [a, b] = [await tablet(world, 'Alder'), await tablet(world, 'Birch')];
  await login(world, a);
  await login(world, b);
  const id = await world.ask('conflict', { column: 'phone', one: '+47 111', two: '+47 222' });
  await barSays(a, 'need a decision').catch(() => barSays(a, '1 needs a decision'));
  for (const t of [a, b]) {
    await t.page.goto(`${t.base}/#/decisions`);
    await t.page.waitForSelector('.conflict');
    assert.equal(await t.page.$('.conflict input:checked'), null); // nothing is chosen beforehand
  }
  await world.look?.(a);
  const text = await a.page.textContent('.conflict');
  assert.ok(text.includes('+47 111') && text.includes('+47 222') && text.includes('Nadia Berg'));
  await a.page.check('.conflict input[value=incoming]');
  await a.page.getByRole('button', { name: 'Decide' }).click();
  await a.page.getByRole('button', { name: 'Undo' }).click();
  await world.ask('link', { node: 'Alder', to: 'down' }); // it works offline
  await a.page.check('.conflict input[value=incoming]');
  await a.page.getByRole('button', { name: 'Decide' }).click();
  await a.page.waitForFunction(() => document.querySelector('main').textContent.includes('on its way to the centre'));
  await world.ask('link', { node: 'Alder', to: 'up' });
  for (const t of [a, b]) await t.page.waitForFunction(() => document.querySelector('main').textContent.includes('Nothing needs a decision'));
  assert.equal(await world.ask('phone', { id }), '+47 222');
  await done(world, a, b);
}

export async function aPairedTabletLocksAndOpensWithAPin(world) {
  const t = await tablet(world);
  t.expected.push('401', '423');
  await t.page.goto(t.base + '/#/pair');
  await t.page.fill('#code', 'AAAA-BBBB');
  await t.page.click('form button[type=submit]');
  await t.page.waitForFunction(() => /wrong, was used/.test(document.querySelector('form .error').textContent));
  await t.page.fill('#code', await world.ask('pairing', { node: 'Alder' }));
  await t.page.click('form button[type=submit]');
  await t.page.waitForSelector('text=This tablet is paired as');
  await t.page.goto(t.base + '/');
  await login(world, t);
  await t.page.click('a[href="#/pin"]');
  await t.page.fill('#newpin', '4718');
  await t.page.fill('#pw', world.facts.password);
  await t.page.click('form.entry button[type=submit]');
  await t.page.getByRole('button', { name: 'Lock', exact: true }).click();
  await t.page.waitForSelector('#pin');
  assert.equal(await t.page.$('.board'), null);
  await t.page.reload(); // and stays locked
  await t.page.waitForSelector('#pin');
  await t.page.fill('#pin', '9999');
  await t.page.click('form button[type=submit]');
  await t.page.waitForFunction(() => /PIN is not right/.test(document.querySelector('form .error').textContent));
  await t.page.fill('#pin', '4718');
  await t.page.click('form button[type=submit]');
  await t.page.waitForSelector('.board .card');
  await done(world, t);
}

export async function aChartOutsideTheWardOpensWithAReason(world) {
  const elsewhere = await world.ask('ward_nurse', { node: 'Alder', username: 'pia.wold' });
  await world.ask('link', { node: 'Alder', to: 'down' }); // it must work without the centre
  const t = await tablet(world);
  t.expected.push('403');
  await login(world, t, 'pia.wold');
  assert.ok(!(await patients(t)).some((href) => href.includes(elsewhere)));
  await t.page.goto(`${t.base}/#/patient/${elsewhere}`);
  await t.page.click('a[href^="#/glass/"]');
  await t.page.waitForSelector('input[name=reason]');
  await t.page.click('form.entry button[type=submit]');
  assert.equal(await t.page.$('.glassbar'), null); // not without a reason
  await t.page.check('input[name=reason] >> nth=0');
  await t.page.fill('#why', 'called to an arrest on the other ward');
  await t.page.click('form.entry button[type=submit]');
  await t.page.waitForSelector('.banner');
  await t.page.waitForSelector('.glassbar');
  await t.page.screenshot({ path: join(world.facts.artefacts, 'glass-open-800-light.png') });
  await t.page.click('.glassbar button');
  await t.page.waitForSelector('.glassbar', { state: 'detached' });
  await t.page.waitForSelector('.board .card');
  await t.page.goto(`${t.base}/#/patient/${elsewhere}`);
  await t.page.waitForSelector('a[href^="#/glass/"]');
  await world.ask('link', { node: 'Alder', to: 'up' });
  await done(world, t);
}

export async function theWardIsPrintedWithWhatItNeeds(world) {
  const t = await tablet(world);
  await t.context.addInitScript({ content: AXE });
  await login(world, t);
  const n = (await patients(t)).length;
  await t.page.click('a[href$="/paper"]');
  await t.page.waitForFunction((k) => document.querySelectorAll('.sheet').length === k + 1, n);
  const text = await t.page.textContent('.paper');
  for (const word of ['Code status', 'Allergies', 'Medicines, sign when given (3 days)', 'As of']) assert.ok(text.includes(word), word);
  const bad = await axe(t, 'paper');
  await t.page.emulateMedia({ media: 'print' });
  await t.page.pdf({ path: join(world.facts.artefacts, 'downtime-pack.pdf'), format: 'A4' });
  await t.page.emulateMedia({ media: null });
  assert.deepEqual(bad, []);
  await done(world, t);
}

export async function aTaskFromPaperAndTheListOfWhoseIsEntered(world) {
  const [t, other] = [await tablet(world, 'Alder', { width: 360 }), await tablet(world, 'Birch')];
  await t.context.addInitScript({ content: AXE });
  await login(world, t);
  const ward = new URL(t.page.url()).hash;
  const href = (await patients(t))[2];
  await t.page.goto(`${t.base}/${href}/task`);
  await t.page.fill('#what', 'Turned at three');
  await t.page.check('input[name=paper]');
  await t.page.fill('#paper-at', new Date(Date.now() - 3600000 - new Date().getTimezoneOffset() * 60000).toISOString().slice(0, 16));
  assert.ok(await t.page.isChecked('input[name=done]'));
  await t.page.click('form.entry button[type=submit]');
  await t.page.waitForSelector('.notice-good');
  await t.page.click('.notice button');
  await world.ask('wait_current', { node: 'Alder' });
  assert.equal((await world.ask('newest', { table: 'task' }))[0][0], 'back-entry');
  await t.page.goto(`${t.base}/${ward}/entered`);
  await t.page.waitForSelector('.entered li');
  const mine = `.entered li:has(a[href="${href}"])`;
  await t.page.click(`${mine} input`);
  await t.page.waitForFunction((m) => document.querySelector(m).textContent.includes('Nadia Berg'), mine);
  await t.page.screenshot({ path: join(world.facts.artefacts, 'entered-360.png'), fullPage: true });
  const bad = await axe(t, 'entered');
  if (await t.page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth)) bad.push('wider than the screen');
  assert.deepEqual(bad, []);
  await login(world, other);
  await other.page.goto(`${other.base}/${ward}/entered`);
  await other.page.waitForFunction((m) => document.querySelector(m + ' input')?.checked, mine, { timeout: 40000 });
  await other.page.click(`${mine} input`); // taken back on the other node
  await other.page.waitForFunction((m) => document.querySelector(m).textContent.includes('not yet'), mine);
  await t.page.waitForFunction((m) => !document.querySelector(m + ' input').checked, mine, { timeout: 40000 });
  await done(world, t, other);
}

// One browser knows both: their sessions and their entries stay apart, and only one of them says "training".
export async function aTrainingNodeSaysWhatItIs(world) {
  const t = await tablet(world, 'Practice', { width: 360 });
  const practice = { ...world, facts: { ...world.facts, user: 'nurse', password: world.facts.practice } };
  await t.context.addInitScript({ content: AXE });
  const bad = [];
  const look = async (name) => {
    await t.page.waitForSelector('.training');
    assert.match(await t.page.textContent('.training'), /^TRAINING . not real patients$/);
    assert.ok(await t.page.isVisible('.training') && await t.page.isVisible('.watermark'), name);
    await t.page.screenshot({ path: join(world.facts.artefacts, `training-${name}.png`) });
    bad.push(...await axe(t, `training ${name}`));
    const wide = await t.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wide > 0) bad.push(`training ${name}: ${wide} px wider than the screen`);
  };
  await t.page.goto(t.base + '/');
  await t.page.waitForSelector('#name');
  await look('login');
  await login(practice, t);
  await barSays(t, 'nothing leaves it');
  await look('board');
  const ward = new URL(t.page.url()).hash;
  const href = (await patients(t))[0];
  for (const [name, hash, selector] of [['chart', href, 'h1'], ['vitals', `${href}/vitals`, '#rr'], ['node', '#/node', 'h1'], ['paper', `${ward}/paper`, '.sheet']]) {
    await t.page.goto(`${t.base}/${hash}`);
    await t.page.waitForSelector(selector);
    await look(name);
  }
  await t.page.emulateMedia({ media: 'print' });
  assert.ok(await t.page.isVisible('.training') && await t.page.isVisible('.watermark'));
  await t.page.pdf({ path: join(world.facts.artefacts, 'training-pack.pdf'), format: 'A4' });
  await t.page.emulateMedia({ media: null });
  const real = { ...t, page: await t.context.newPage(), base: world.facts.nodes.Alder };
  await real.page.goto(real.base + '/');
  await real.page.waitForSelector('#name'); // the other node's session does not count here
  assert.equal(await real.page.$('.training'), null);
  await login(world, real);
  await t.page.goto(`${t.base}/${ward}`);
  await t.page.waitForSelector('.board .card'); // nor was it taken away
  assert.deepEqual(bad, []);
  await done(world, t);
}

export async function everyScreenIsLegible(world) {
  const bad = [];
  for (const [width, scheme] of [[360, 'light'], [800, 'dark'], [1920, 'light']]) {
    const t = await tablet(world, 'Alder', { width, scheme });
    await t.context.addInitScript({ content: AXE });
    const look = async (name) => {
      await t.page.screenshot({ path: join(world.facts.artefacts, `${name}-${width}-${scheme}.png`), fullPage: true });
      bad.push(...await axe(t, `${name} ${width} ${scheme}`));
      const wide = await t.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wide > 0) bad.push(`${name} ${width}: ${wide} px wider than the screen`);
      const small = await t.page.$$eval('button, .button, nav a, .board a, .chip[href], .options label, .tick, input:not([type=checkbox]):not([type=radio])', (all) =>
        all.filter((e) => e.offsetParent && (e.getBoundingClientRect().height < 47.5)).map((e) => e.outerHTML.slice(0, 80)));
      if (small.length) bad.push(`${name} ${width}: smaller than 48 px: ${small[0]}`);
    };
    await t.page.goto(t.base + '/');
    await t.page.waitForSelector('#name');
    await look('login');
    await login(world, t);
    await look('board');
    const href = (await patients(t))[0];
    const ward = new URL(t.page.url()).hash;
    await t.page.goto(`${t.base}/${href}`);
    await t.page.waitForSelector('.due a[href*="/give/"]');
    const give = await t.page.getAttribute('.due a[href*="/give/"]', 'href');
    for (const [name, hash, selector] of [['wards', '#/wards', '.wards a'], ['chart', href, '.due'], ['vitals', `${href}/vitals`, '#rr'], ['give', give, '.checks'],
      ['allergy', `${href}/allergy`, '.entry'], ['note', `${href}/note`, '.entry'], ['task', `${href}/task`, '.entry'], ['move', `${href}/move`, '#bed'], ['decisions', '#/decisions', 'h1'], ['unsent', '#/unsent', 'h1'], ['node', '#/node', '.events li'], ['glass', href.replace('patient', 'glass'), '#why'], ['pair', '#/pair', '#code']]) {
      if (width === 1920 && ['allergy', 'note', 'task', 'move', 'unsent', 'glass', 'pair'].includes(name)) continue; // as at 800
      await t.page.goto(`${t.base}/${hash}`);
      await t.page.waitForSelector(selector);
      if (name === 'give') await t.page.check('input[name=status][value=completed]');
      if (name === 'allergy') await t.page.check('input[name=kind][value=allergy]');
      if (name === 'vitals') for (const [k, v] of Object.entries(ILL)) await t.page.fill('#' + k, v);
      if (name === 'node') {
        await t.page.waitForSelector('.plot svg');
        await t.page.fill('#devname', `Bay ${width}`);
        await t.page.click('.pairform button[type=submit]');
        await t.page.waitForSelector('.offer .qr path');
      }
      await look(name);
    }
    await done(world, t);
  }
  assert.deepEqual(bad, []);
}
