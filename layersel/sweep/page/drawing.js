// Small parts of SVG figures: scales, axes, marks, legends; and how a figure is shown and saved.

const SERIES = 8; // colours in report.css
const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "down"];
const LINE = 20;

/** An SVG element; a `tip` is shown when the pointer is over it. */
function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) element.setAttribute(name === "tip" ? "data-tip" : name, value);
  }
  element.append(...children);
  return element;
}

const label = (x, y, words, attributes = {}) => draw("text", {x, y, fill: "var(--ink)", ...attributes}, words);
const line = (x1, y1, x2, y2, attributes = {}) => draw("line", {x1, y1, x2, y2, stroke: "var(--ink)", ...attributes});
const colour = (index) => `var(--series-${index % SERIES})`;
const shapeOf = (index) => Math.floor(index / SERIES); // tells apart what has the same colour

const pen = document.createElement("canvas").getContext("2d");

/** Width of words in a figure, in pixels. */
function widthOf(words, size = 12) {
  pen.font = `${size}px system-ui, sans-serif`;
  return pen.measureText(words).width;
}

/** Words cut to a width. */
function clip(words, width) {
  if (widthOf(words) <= width) return words;
  let length = words.length;
  while (length > 1 && widthOf(`${words.slice(0, length)}…`) > width) length -= 1;
  return `${words.slice(0, length)}…`;
}

/** Round values over an interval, about `count` of them. */
function niceTicks(low, high, count = 5) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({length: last - first + 1}, (_, place) => Number(((first + place) * step).toPrecision(12)));
}

const decimals = (value, digits) =>
  value.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits}).replace("-", "−");

/** A scale from [low, high] to pixels, with ticks. */
function linear(low, high, from, to, count = 5) {
  if (low === high) [low, high] = [low - (Math.abs(low) / 2 || 0.5), high + (Math.abs(high) / 2 || 0.5)];
  const scale = (value) => from + ((value - low) / (high - low)) * (to - from);
  const ticks = niceTicks(low, high, count);
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : 1;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  scale.ticks = ticks.map((value) => ({at: scale(value), words: decimals(value, digits)}));
  return scale;
}

/** A linear scale over values with some room at both ends. */
function linearAround(values, from, to, count) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low) * 0.06;
  return linear(low - room, high + room, from, to, count);
}

const compact = (value) => new Intl.NumberFormat("en", {notation: "compact", maximumSignificantDigits: 2}).format(value);

/** A logarithmic scale over values ≥ 0; zero has a place of its own left of a break in the axis. */
function logarithmic(values, from, to) {
  const powers = values.filter((value) => value > 0).map(Math.log10);
  const zeros = powers.length < values.length;
  const start = zeros ? from + 44 : from;
  const middle = (Math.min(...powers) + Math.max(...powers)) / 2;
  const reach = Math.max(0.3, (Math.max(...powers) - Math.min(...powers)) * 0.56);
  const inner = linear(middle - reach, middle + reach, start, to);
  const scale = (value) => (value > 0 ? inner(Math.log10(value)) : from + 16);
  const marked = powers.length ? logTicks(middle - reach, middle + reach) : [];
  scale.ticks = [...(zeros ? [0] : []), ...marked].map((value) => ({at: scale(value), words: compact(value)}));
  scale.gap = zeros ? from + 36 : null;
  return scale;
}

/** Round values between two powers of ten, the fewer the wider the interval. */
function logTicks(low, high) {
  const factors = high - low > 3 ? [1] : high - low > 1 ? [1, 3] : [1, 2, 3, 5, 7];
  const powers = Array.from({length: Math.ceil(high) - Math.floor(low) + 1}, (_, place) => Math.floor(low) + place);
  const values = powers.flatMap((power) => factors.map((factor) => factor * 10 ** power));
  return values.filter((value) => Math.log10(value) >= low && Math.log10(value) <= high);
}

/** Where a box begins, in pixels, whose left axis has room for its title and the numbers of a scale. */
const leftOf = (scale) => Math.max(62, 34 + Math.max(0, ...scale.ticks.map(({words}) => widthOf(words))));

/** The left axis of a box {left, right, top, bottom} with lines across it. */
function leftAxis(box, scale, title) {
  const middle = (box.top + box.bottom) / 2;
  return draw("g", {},
    ...scale.ticks.flatMap(({at, words}) => [
      line(box.left, at, box.right, at, {stroke: "var(--grid)"}),
      label(box.left - 8, at + 4, words, {"text-anchor": "end"}),
    ]),
    label(0, 0, title, {"text-anchor": "middle", transform: `translate(14 ${middle}) rotate(-90)`}));
}

/** The bottom axis of a box; a scale with a `gap` is broken there. */
function bottomAxis(box, scale, title) {
  const marks = scale.ticks.flatMap(({at, words}) => [
    line(at, box.bottom, at, box.bottom + 5),
    label(at, box.bottom + 19, words, {"text-anchor": "middle"}),
  ]);
  const slash = (x) => line(x - 3, box.bottom + 5, x + 3, box.bottom - 5);
  const gap = scale.gap ? [
    line(scale.gap - 2, box.bottom, scale.gap + 4, box.bottom, {stroke: "var(--surface)", "stroke-width": 3}),
    slash(scale.gap - 2), slash(scale.gap + 4),
  ] : [];
  return draw("g", {}, line(box.left, box.bottom, box.right, box.bottom), ...marks, ...gap,
    label((box.left + box.right) / 2, box.bottom + 40, title, {"text-anchor": "middle"}));
}

/** A mark of a shape, r pixels from its centre to its edge. */
function mark(shape, x, y, attributes = {}, r = 5) {
  if (SHAPES[shape % SHAPES.length] === "circle") return draw("circle", {cx: x, cy: y, r, ...attributes});
  const path = {
    square: `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    triangle: `M${x} ${y - r * 1.2}l${r * 1.2} ${r * 2.1}h${-r * 2.4}z`,
    diamond: `M${x} ${y - r * 1.3}l${r * 1.3} ${r * 1.3}l${-r * 1.3} ${r * 1.3}l${-r * 1.3} ${-r * 1.3}z`,
    cross: `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`,
    down: `M${x} ${y + r * 1.2}l${r * 1.2} ${-r * 2.1}h${-r * 2.4}z`,
  }[SHAPES[shape % SHAPES.length]];
  return draw("path", {d: path, ...attributes});
}

/** An upright error bar of ± `size` around a value. */
function errorBar(x, value, size, scale, attributes) {
  const [top, bottom] = [scale(value + size), scale(value - size)];
  return draw("path", {d: `M${x} ${top}V${bottom}M${x - 3} ${top}h6M${x - 3} ${bottom}h6`, fill: "none", ...attributes});
}

/** Legend entries {words, key: (x, y) => element}, flowing from the left; `height` says how much they take. */
function legend(entries, left, right, top) {
  const group = draw("g");
  let [x, y] = [left, top];
  for (const {words, key, tip = words} of entries) {
    const shown = clip(words, right - left - 34);
    const width = 28 + widthOf(shown) + 16;
    if (x > left && x + width - 16 > right) [x, y] = [left, y + LINE];
    group.append(key(x + 11, y), label(x + 28, y + 4, shown, {tip}));
    x += width;
  }
  return {group, height: entries.length ? y - top + LINE : 0};
}

/** An SVG of a size, with its background. */
function canvas(width, height, name, ...children) {
  const size = {width, height, viewBox: `0 0 ${width} ${height}`};
  return draw("svg", {...size, role: "img", "aria-label": name, "font-size": 12, "font-family": "system-ui, sans-serif"},
    draw("rect", {width, height, fill: "var(--surface)"}), ...children);
}

const INLINED = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "font-size",
  "font-family", "font-weight", "text-anchor"];

/** A figure as a file of its own: in light colours, without any style sheet, its tips as titles. */
function standalone(svg) {
  const paper = document.body.appendChild(document.createElement("div"));
  paper.className = "paper";
  const copy = paper.appendChild(svg.cloneNode(true));
  for (const element of [copy, ...copy.querySelectorAll("*")]) {
    const style = getComputedStyle(element);
    for (const property of INLINED) element.setAttribute(property, style.getPropertyValue(property));
    if (element.dataset.tip) element.append(draw("title", {}, element.dataset.tip));
    element.removeAttribute("data-tip");
  }
  paper.remove();
  return new XMLSerializer().serializeToString(copy);
}

/** The figure as a PNG blob, three pixels for one of the page. */
async function pixels(svg) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(standalone(svg))}`;
  await image.decode();
  const sheet = document.createElement("canvas");
  [sheet.width, sheet.height] = [3 * svg.width.baseVal.value, 3 * svg.height.baseVal.value];
  sheet.getContext("2d").drawImage(image, 0, 0, sheet.width, sheet.height);
  return new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
}

/** Give the reader a file. */
function download(name, blob) {
  const link = make("a", {href: URL.createObjectURL(blob), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
