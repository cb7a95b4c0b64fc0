// driver.mjs - runs scenarios one after the other, as e2e_fixture.py asks for them on stdin, in a browser that stays open.
// A scenario may ask the test for what a browser can't do: cut the line, stop the node, write SQL at the centre.
import { createInterface } from 'node:readline';
import { launch } from './browser.mjs';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const hear = async () => {
  const { value, done } = await lines.next();
  return done ? null : JSON.parse(value);
};

async function ask(what, args = {}) {
  say({ ask: what, args });
  const answer = await hear();
  if (answer.error) throw new Error(answer.error);
  return answer.value;
}

const facts = await hear();
const scenarios = await import(`./${facts.scenarios}`);
const { browser, close } = await launch(facts.cas);
const world = await scenarios.open({ browser, facts, ask });
say({ ready: true });
for (let line = await hear(); line; line = await hear()) {
  try {
    await scenarios[line.run](world);
    say({ done: true });
  } catch (e) {
    await world.onFailure?.(line.run);
    say({ failed: String(e.stack || e).slice(0, 6000) });
  }
}
await close();
