// news2.js - National Early Warning Score 2 (Royal College of Physicians, 2017), chart 1. Pure.

const band = (v, steps) => steps.find(([upTo]) => v <= upTo)[1];
const whole = Math.round;

export const PARTS = ['rr', 'spo2', 'o2', 'sbp', 'hr', 'acvpu', 'temp'];

const score = {
  rr: (v) => band(whole(v), [[8, 3], [11, 1], [20, 0], [24, 2], [Infinity, 3]]),
  // Between two whole percent the more cautious one counts.
  spo2: (v, i) => {
    const x = Math.floor(v);
    if (!i.scale2) return band(x, [[91, 3], [93, 2], [95, 1], [Infinity, 0]]);
    if (x <= 92 || !(i.o2 > 0)) return band(x, [[83, 3], [85, 2], [87, 1], [Infinity, 0]]);
    return band(x, [[94, 1], [96, 2], [Infinity, 3]]);
  },
  o2: (v) => (v > 0 ? 2 : 0),
  sbp: (v) => band(whole(v), [[90, 3], [100, 2], [110, 1], [219, 0], [Infinity, 3]]),
  hr: (v) => band(whole(v), [[40, 3], [50, 1], [90, 0], [110, 1], [130, 2], [Infinity, 3]]),
  acvpu: (v) => (v === 'A' ? 0 : 3),
  temp: (v) => band(whole(v * 10), [[350, 3], [360, 1], [380, 0], [390, 1], [Infinity, 2]]),
};

// inputs: rr, spo2, o2 (litres a minute, 0: air), sbp, hr, acvpu, temp; scale2. What is missing is named and scores nothing:
// then the total is "at least".
export function news2(inputs) {
  const parts = {}, missing = [];
  let total = 0, extreme = false;
  for (const p of PARTS) {
    const v = inputs[p];
    if (v === undefined || v === null || Number.isNaN(v)) {
      missing.push(p);
      continue;
    }
    parts[p] = score[p](v, inputs);
    total += parts[p];
    extreme = extreme || parts[p] === 3;
  }
  const level = total >= 7 ? 'high' : total >= 5 ? 'medium' : extreme ? 'single' : total >= 1 ? 'low' : 'none';
  return { total, parts, missing, level, any: missing.length < PARTS.length };
}
