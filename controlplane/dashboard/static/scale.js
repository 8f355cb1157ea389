/* Scales: from values to places on a drawing, and back. */

export function linearScale(low, high, start, end) {
  return {
    low,
    high,
    place: (value) => start + ((value - low) / (high - low)) * (end - start),
    value: (place) => low + ((place - start) / (end - start)) * (high - low),
  };
}

export function logScale(low, high, start, end) {
  const bottom = Math.log10(low);
  const top = high > low ? Math.log10(high) : bottom + 1;
  const place = (value) => start + ((Math.log10(value) - bottom) / (top - bottom)) * (end - start);
  const powers = [];
  for (let power = Math.ceil(bottom); power <= top; power += 1) powers.push(10 ** power);
  return { low, high, place, ticks: powers.length > 1 ? powers : [low, high] };
}

/** Round values between the scale's ends, about `count` of them. */
export function ticks({ low, high }, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) found.push(Number((at * step).toPrecision(12)));
  return found;
}

/** At most two points per pixel: the lowest and the highest there, so that no peak is lost. */
export function thinned(points, pixels) {
  if (points.length <= pixels * 2) return points;
  const size = points.length / pixels;
  const kept = [];
  for (let pixel = 0; pixel < pixels; pixel += 1) {
    const bucket = points.slice(Math.floor(pixel * size), Math.floor((pixel + 1) * size));
    const low = bucket.reduce((a, b) => (b.y < a.y ? b : a));
    const high = bucket.reduce((a, b) => (b.y > a.y ? b : a));
    kept.push(...(low.x <= high.x ? [low, high] : [high, low]));
  }
  return kept;
}
