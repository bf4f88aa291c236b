// Measures a song outside the page's thread: the outline of its waveform, its loudness and its spectrogram.

const PEAKS_PER_SECOND = 100;
const COLUMNS = 1400;
const ROWS = 160;
const WINDOW = 2048;
const LOWEST_HZ = 40;
const RANGE_DB = 80;

onmessage = ({ data: { id, channels, rate } }) => {
  const peaks = outline(channels, rate);
  const loudness = integratedLoudness(channels, rate);
  const spectrum = spectrogram(channels, rate);
  postMessage({ id, peaks, loudness, spectrum }, [peaks.buffer, spectrum.levels.buffer]);
};

/** The lowest and the highest sample of each hundredth of a second, of all channels together. */
function outline(channels, rate) {
  const length = channels[0].length;
  const count = Math.max(1, Math.ceil((length / rate) * PEAKS_PER_SECOND));
  const peaks = new Float32Array(count * 2);
  for (let peak = 0; peak < count; peak += 1) {
    const stop = Math.min(length, Math.floor(((peak + 1) * rate) / PEAKS_PER_SECOND));
    let low = 0;
    let high = 0;
    for (let at = Math.floor((peak * rate) / PEAKS_PER_SECOND); at < stop; at += 1) {
      for (const samples of channels) {
        const sample = samples[at];
        if (sample < low) low = sample;
        if (sample > high) high = sample;
      }
    }
    peaks[2 * peak] = low;
    peaks[2 * peak + 1] = high;
  }
  return peaks;
}

/** Integrated loudness in LUFS by ITU-R BS.1770-4; null where all is silent. */
function integratedLoudness(channels, rate) {
  const hop = Math.round(rate * 0.1);
  const hops = Math.floor(channels[0].length / hop);
  const energy = new Float64Array(Math.max(hops, 1));
  for (const samples of channels) {
    const shelf = biquad(highShelf(rate));
    const pass = biquad(highPass(rate));
    for (let at = 0; at < hops * hop; at += 1) {
      const weighted = pass(shelf(samples[at]));
      energy[Math.floor(at / hop)] += (weighted * weighted) / hop;
    }
  }
  // Blocks of 400 ms, one every 100 ms. The second gate leaves out what is 10 LU below the rest.
  const blocks = [];
  for (let at = 0; at + 4 <= hops; at += 1) {
    blocks.push((energy[at] + energy[at + 1] + energy[at + 2] + energy[at + 3]) / 4);
  }
  const loud = blocks.filter((block) => inLufs(block) > -70);
  const louder = loud.filter((block) => inLufs(block) > inLufs(mean(loud)) - 10);
  return louder.length ? inLufs(mean(louder)) : null;
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const inLufs = (energy) => -0.691 + 10 * Math.log10(energy);

/** The first filter of BS.1770, for any sample rate: the effect of a head. */
function highShelf(rate) {
  const gain = 3.999843853973347;
  const q = 0.7071752369554196;
  const k = Math.tan((Math.PI * 1681.974450955533) / rate);
  const high = 10 ** (gain / 20);
  const band = high ** 0.4996667741545416;
  const a0 = 1 + k / q + k * k;
  return [
    (high + (band * k) / q + k * k) / a0,
    (2 * (k * k - high)) / a0,
    (high - (band * k) / q + k * k) / a0,
    (2 * (k * k - 1)) / a0,
    (1 - k / q + k * k) / a0,
  ];
}

/** The second filter of BS.1770: low frequencies sound less loud. */
function highPass(rate) {
  const q = 0.5003270373238773;
  const k = Math.tan((Math.PI * 38.13547087602444) / rate);
  const a0 = 1 + k / q + k * k;
  return [1, -2, 1, (2 * (k * k - 1)) / a0, (1 - k / q + k * k) / a0];
}

function biquad([b0, b1, b2, a1, a2]) {
  let x1 = 0,
    x2 = 0,
    y1 = 0,
    y2 = 0;
  return (x) => {
    const y = b0 * x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2;
    [x2, x1, y2, y1] = [x1, x, y1, y];
    return y;
  };
}

/**
 * Levels from 0 to 255 by column (time) and row (pitch, low ones first): 255 is the loudest, 0 is 80 dB below.
 * The rows are spaced like pitches, by octaves.
 */
function spectrogram(channels, rate) {
  const length = channels[0].length;
  const columns = Math.max(1, Math.min(COLUMNS, Math.floor(length / 256)));
  const decibels = new Float32Array(columns * ROWS);
  const re = new Float64Array(WINDOW);
  const im = new Float64Array(WINDOW);
  const shape = Float64Array.from(
    { length: WINDOW },
    (_, at) => 0.5 - 0.5 * Math.cos((2 * Math.PI * at) / WINDOW),
  );
  const edges = Array.from({ length: ROWS + 1 }, (_, row) => {
    const hz = LOWEST_HZ * (rate / 2 / LOWEST_HZ) ** (row / ROWS);
    return (hz * WINDOW) / rate;
  });
  let loudest = -Infinity;
  for (let column = 0; column < columns; column += 1) {
    const start = Math.round(((column + 0.5) * length) / columns - WINDOW / 2);
    for (let at = 0; at < WINDOW; at += 1) {
      let sum = 0;
      for (const samples of channels) sum += samples[start + at] ?? 0;
      re[at] = sum * shape[at];
      im[at] = 0;
    }
    fourier(re, im);
    for (let row = 0; row < ROWS; row += 1) {
      const from = Math.floor(edges[row]);
      const stop = Math.max(from + 1, Math.floor(edges[row + 1]));
      let power = 0;
      for (let bin = from; bin < stop; bin += 1) power = Math.max(power, re[bin] ** 2 + im[bin] ** 2);
      const level = 10 * Math.log10(power + 1e-12);
      decibels[column * ROWS + row] = level;
      if (level > loudest) loudest = level;
    }
  }
  const levels = Uint8ClampedArray.from(decibels, (level) => 255 * (1 - (loudest - level) / RANGE_DB));
  return { columns, rows: ROWS, levels };
}

/** The discrete Fourier transform in place; the length is a power of two. */
function fourier(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i += 1) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    const turn = (-2 * Math.PI) / size;
    const half = size / 2;
    for (let k = 0; k < half; k += 1) {
      const wr = Math.cos(turn * k);
      const wi = Math.sin(turn * k);
      for (let at = k; at < n; at += size) {
        const other = at + half;
        const xr = re[other] * wr - im[other] * wi;
        const xi = re[other] * wi + im[other] * wr;
        re[other] = re[at] - xr;
        im[other] = im[at] - xi;
        re[at] += xr;
        im[at] += xi;
      }
    }
  }
}
