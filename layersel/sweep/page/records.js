"use strict";
// The records, and the arithmetic on them. A missing value is null.

const ALL_DATASETS = "all datasets";
const LABELS = ["model", "selection", "n", "adapter", "rank", "precision", "pruning", "merging"];
const OPTION = /^[a-z_]\w*(\.\w+)+$/;
const order = new Intl.Collator("en", {numeric: true}).compare;

/** Objects from a table that is stored as names and rows. */
function recordsOf({columns, rows}) {
  return rows.map((row) => Object.fromEntries(columns.map((column, place) => [column, row[place]])));
}

const isNumber = (value) => typeof value === "number";

/** A value in words, as it was given. */
function text(value) {
  if (value === null || value === undefined) return "";
  return Array.isArray(value) ? `[${value.map(text).join(",")}]` : String(value);
}

/** A number for a reader: three decimals, or the digits that tell it from zero. */
function number(value) {
  if (!isNumber(value)) return text(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) || size >= 1000) return Math.round(value).toLocaleString("en");
  if (size >= 100) return value.toFixed(1);
  return size >= 0.001 ? value.toFixed(3) : value.toPrecision(2);
}

const signed = (value) => (isNumber(value) && value > 0 ? "+" : "") + number(value).replace("-", "−");
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** Numbers by size, then words in the order of a dictionary, then what is missing. */
function compare(one, other) {
  const rank = (value) => (isNumber(value) ? 0 : text(value) === "" ? 2 : 1);
  return rank(one) - rank(other) || (isNumber(one) ? one - other : order(text(one), text(other)));
}

const unique = (values) => [...new Set(values)];
const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => sum(values) / values.length;

const TIE = 1e-12; // differences up to this size count as none

/** Standard deviation with n − 1; null where there is none. */
function std(values) {
  if (values.length < 2) return null;
  if (Math.max(...values) - Math.min(...values) <= TIE) return 0;
  const centre = mean(values);
  return Math.sqrt(sum(values.map((value) => (value - centre) ** 2)) / (values.length - 1));
}

/** Map from key to the items that have it, in the order of their first one. */
function groupBy(items, key) {
  const groups = new Map();
  for (const item of items) {
    const name = key(item);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(item);
  }
  return groups;
}

/** The columns in which cells differ beside dataset and seed: the labels that vary, and the options that no label decides. */
function factorsOf(cells) {
  const varies = (column) => unique(cells.map((cell) => text(cell[column]))).length > 1;
  const labels = LABELS.filter(varies);
  const deciding = [...labels, "dataset", "seed"];
  const options = Object.keys(cells[0] ?? {}).filter((column) => OPTION.test(column) && varies(column));
  return [...labels, ...options.filter((option) => !deciding.some((label) => decides(label, option, cells)))];
}

function decides(label, option, cells) {
  const known = new Map();
  return cells.every((cell) => {
    const [key, value] = [text(cell[label]), text(cell[option])];
    if (!known.has(key)) known.set(key, value);
    return known.get(key) === value;
  });
}

const keyOf = (cell, columns) => JSON.stringify(columns.map((column) => cell[column]));

/** The values of some columns in a few words: "cka, rank 4". */
function describe(cell, columns) {
  const bare = ["model", "selection", "adapter"];
  const given = columns.filter((column) => text(cell[column]) !== "");
  return given.map((column) => (bare.includes(column) ? "" : `${column} `) + text(cell[column])).join(", ");
}

/** Number of layers that a cell adapts; null where none are recorded. */
function layersOf(cell) {
  if (cell.layers === null || cell.layers === undefined) return null;
  return text(cell.layers).split(",").filter((layer) => layer !== "").map(Number);
}

/**
 * Mean over datasets of the means over seeds, and its deviation where each dataset has one seed: √Σs² / number of datasets.
 *
 * Only the given datasets count; there is no deviation unless each of them has two values.
 */
function meanOverDatasets(cells, column, datasets) {
  const wanted = cells.filter((cell) => isNumber(cell[column]) && datasets.includes(text(cell.dataset)));
  const samples = [...groupBy(wanted, (cell) => text(cell.dataset)).values()].map((some) => some.map((cell) => cell[column]));
  const deviations = samples.map(std);
  const deviates = samples.length > 0 && samples.length === datasets.length && !deviations.includes(null);
  return {
    mean: samples.length ? mean(samples.map(mean)) : null,
    std: deviates ? Math.sqrt(sum(deviations.map((own) => own ** 2))) / samples.length : null,
    cells: wanted.length,
  };
}

const splitOf = (cell) => keyOf(cell, ["dataset", "seed"]);

/** The datasets under a seed that each of these lists of cells has. */
function commonSplits(lists) {
  const sets = lists.map((cells) => new Set(cells.map(splitOf)));
  return new Set([...(sets[0] ?? [])].filter((split) => sets.every((set) => set.has(split))));
}
