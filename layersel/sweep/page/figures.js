// The figures. Each is a function of the records and a width, and returns {svg, note} or, without data, {why}.

/** The prefixes of the columns that hold the metric of other outcomes than the adapted model's, such as "base/". */
function basesOf(cells, metric) {
  const datasets = new Set(cells.flatMap((cell) => text(cell.dataset).split("+")));
  const prefixes = Object.keys(cells[0] ?? {}).filter((name) => name.endsWith(`/${metric}`)).map((name) => name.slice(0, -metric.length));
  return prefixes.filter((prefix) => prefix.indexOf("/") === prefix.length - 1 && !datasets.has(prefix.slice(0, -1)));
}

/** Below 0 where the one value of the metric is better than the other. */
const better = (one, other) => data.metric.higher_is_better ? other - one : one - other;
const titleOf = (prefix) => data.titles[prefix.slice(0, -1)] ?? prefix.slice(0, -1);
const DASHES = ["6 4", "2 3", "8 2 2 2", "1 3"];
const STROKES = [null, "7 3", "2 3", "9 3 2 3"]; // of lines, beside their marks
const SHOWN_BARS = 12;
const SHOWN_CURVES = 4;
const PLAIN = {precision: "fp32", pruning: "none", merging: "none"};

const finishedWith = (cells, metric) => cells.filter((cell) => cell.state === "finished" && isNumber(cell[metric]));
const spread = (deviation) => (deviation === null ? "" : ` ± ${number(deviation)}`);

/** Staircase of the points that no other point beats in both directions: x low, y high. */
function frontOf(points) {
  const sorted = points.toSorted((one, other) => one.x - other.x || better(one.y, other.y));
  let best = null;
  return sorted.filter(({x, y}) => {
    const kept = best === null || better(y, best.y) < 0 || (y === best.y && x === best.x);
    if (kept) best = {x, y};
    return kept;
  });
}

/** Mean of the metric against a cost of each ranked configuration, with the front. */
function paretoFigure({groups, metric, selectionOf, hue}, cost, title, width) {
  const points = groups.filter((group) => isOverall(group) && isNumber(group.mean) && isNumber(group[cost]))
    .map((group) => ({...group, x: group[cost], y: group.mean, selection: selectionOf.get(group.configuration)}));
  if (!points.length) return {why: `No configuration has both ${title} and ${metricTitle} in all of its cells.`};
  const front = frontOf(points);
  const y = linearAround(points.map((point) => point.y), 300, 16);
  const box = {left: leftOf(y), right: width - 16, top: 16, bottom: 300};
  const costs = points.map((point) => point.x);
  const least = Math.min(...costs);
  const wide = least >= 0 && (least === 0 || Math.max(...costs) > 20 * least);
  const x = wide ? logarithmic(costs, box.left, box.right) : linearAround(costs, box.left + 8, box.right - 8);
  const stairs = front.map((point, place) => (place ? `H${x(point.x)}V${y(point.y)}` : `M${x(point.x)} ${y(point.y)}`));
  const tip = (point) => `${point.name}\n${metricTitle} ${number(point.y)}${spread(point.std)}\n${plural(point.n, "cell")}\n${title} ${number(point.x)}`;
  const marks = points.map((point) => {
    const best = front.includes(point);
    const paint = {fill: colour(hue(point.selection)), "fill-opacity": best ? 1 : 0.35, stroke: "var(--surface)"};
    return mark(shapeOf(hue(point.selection)), x(point.x), y(point.y), {...paint, tip: tip(point)}, best ? 7 : 5);
  });
  const places = groupBy(front.map((point, place) => ({...point, number: place + 1})), (point) => keyOf(point, ["x", "y"]));
  const numbers = [...places.values()].map((some) => label(x(some[0].x), y(some[0].y) - 11,
    some.map((point) => point.number).join(", "), {"text-anchor": "middle", "font-weight": "bold"}));
  const names = legend(front.map((point, place) => ({
    words: `${point.name}: ${number(point.y)}`, tip: tip(point),
    key: (atX, atY) => label(atX, atY + 4, String(place + 1), {"text-anchor": "middle", "font-weight": "bold"}),
  })), 16, width - 8, box.bottom + 66);
  const hues = hueLegend(unique(points.map((point) => point.selection)), hue, width, box.bottom + 66 + names.height);
  return {
    svg: canvas(width, box.bottom + 66 + names.height + hues.height, `${metricTitle} against ${title}`,
      leftAxis(box, y, `mean ${metricTitle}`), bottomAxis(box, x, title),
      draw("path", {d: `${stairs.join("")}H${box.right}`, fill: "none", stroke: "var(--soft)", "stroke-width": 1.5}),
      ...marks, ...numbers, names.group, hues.group),
    note: `${plural(points.length, "configuration")}, mean over the seeds and datasets that all of them have. ` +
      "The numbered ones are the Pareto front: no other has a better mean at the same cost or less.",
  };
}

function hueLegend(selections, hue, width, top) {
  return legend(selections.toSorted(compare).map((selection) => ({
    words: text(selection) || "other", key: (x, y) => mark(shapeOf(hue(selection)), x, y, {fill: colour(hue(selection))}),
  })), 16, width - 8, top);
}

/** The metric of complete configurations against the number of adapted layers, a line for each score and rank. */
function budgetFigure({cells, metric, hue}, width) {
  const all = finishedWith(cells, metric).filter((cell) => layersOf(cell) !== null);
  const known = all.filter((cell) => !incomplete.has(cell.configuration));
  const factors = factorsOf(known).filter((factor) => !["n", "selection.n", "selection.layers"].includes(factor));
  const columns = unique(["selection", ...factors]);
  const keyed = groupBy(known, (cell) => keyOf(cell, columns));
  const lines = [...keyed.values()].map((some) => ({first: some[0], points: groupBy(some, (cell) => layersOf(cell).length)}));
  const splits = commonSplits(lines.flatMap(({points}) => [...points.values()]));
  if (!all.length) return {why: `No finished cell has both ${metricTitle} and the layers it adapts.`};
  if (!known.length) return {why: "No configuration has a value in all of its cells."};
  if (!splits.size) return {why: "The configurations have no dataset and seed in common: choose one in the filter."};
  const within = (some) => some.filter((cell) => splits.has(splitOf(cell)));
  const shared = within(known);
  const datasets = unique(shared.map((cell) => text(cell.dataset)));
  lines.sort((one, other) => columns.map((column) => compare(one.first[column], other.first[column])).find(Boolean) ?? 0);
  for (const each of lines) {
    each.means = [...each.points].sort(([one], [other]) => one - other)
      .map(([n, some]) => ({n, sets: unique(some.map((cell) => cell.configuration)).length, ...meanOverDatasets(within(some), metric, datasets)}));
  }
  const apart = unique(all.map((cell) => cell.configuration).filter((each) => incomplete.has(each))).length;
  const note = `Mean over seeds and ${plural(datasets.length, "dataset")}` +
    (shared.length < known.length ? ", those that every point has" : "") +
    "; error bars: standard deviation of that mean under one seed." +
    (lines.some(({means}) => means.some(({sets}) => sets > 1)) ? " A mark of several sets of layers is their mean, and its bar tells their differences too." : "") +
    (apart ? ` Not shown: ${plural(apart, "incomplete configuration")}.` : "");
  return budgetDrawing({known: shared, lines, columns, datasets, metric, hue, note}, width);
}

function budgetDrawing({known, lines, columns, datasets, metric, hue, note}, width) {
  const means = lines.flatMap((each) => each.means);
  const baselines = baselinesOf(known, metric, datasets);
  const ends = means.flatMap((point) => [point.mean - (point.std ?? 0), point.mean + (point.std ?? 0)]);
  const y = linearAround([...ends, ...baselines.map((each) => each.mean)], 300, 16);
  const box = {left: leftOf(y), right: width - 16, top: 16, bottom: 300};
  const most = Math.max(1, ...means.map((point) => point.n));
  const x = linear(-0.4, most + 0.4, box.left, box.right);
  const step = Math.ceil(most / 12);
  x.ticks = Array.from({length: Math.floor(most / step) + 1}, (_, n) => ({at: x(n * step), words: String(n * step)}));
  const shapes = unique(lines.map((each) => keyOf(each.first, columns.slice(1))));
  const selections = unique(lines.map((each) => text(each.first.selection))).length;
  const sharing = (n) => lines.filter((each) => each.means.some((point) => point.n === n));
  const budgets = unique(means.map((point) => point.n)).sort((one, other) => one - other);
  const nearest = Math.min(most, ...budgets.slice(1).map((n, place) => n - budgets[place]));
  const crowd = Math.max(...budgets.map((n) => sharing(n).length));
  const gap = Math.min(10, (x(nearest) - x(0)) * 0.8 / crowd); // pixels between the marks of one N
  const looks = lines.map((each, place) => ({
    paint: colour(selections > 1 ? hue(each.first.selection) : place),
    shape: shapes.indexOf(keyOf(each.first, columns.slice(1))) + shapes.length * shapeOf(selections > 1 ? hue(each.first.selection) : place),
    at: (n) => x(n) + (sharing(n).indexOf(each) - (sharing(n).length - 1) / 2) * gap,
  }));
  const drawn = lines.map((each, place) => budgetLine(each, looks[place], describe(each.first, columns), y));
  const entries = lines.map((each, place) => ({
    words: describe(each.first, columns),
    key: (atX, atY) => draw("g", {}, line(atX - 10, atY, atX + 10, atY, strokeOf(looks[place])),
      mark(looks[place].shape, atX, atY, {fill: looks[place].paint, stroke: looks[place].paint}, 4)),
  }));
  const keys = legend([...entries, ...baselineEntries(baselines)], 16, width - 8, box.bottom + 66);
  return {
    svg: canvas(width, box.bottom + 66 + keys.height, `${metricTitle} against the number of adapted layers`,
      leftAxis(box, y, `mean ${metricTitle}`), bottomAxis(box, x, "adapted layers (N)"),
      ...baselines.map((each) => baseline(each, box.left, box.right, y)), ...drawn, keys.group),
    note,
  };
}

const strokeOf = ({paint, shape}) => ({stroke: paint, "stroke-width": 2, "stroke-dasharray": STROKES[shape % STROKES.length]});

function budgetLine({means}, look, name, y) {
  const {paint, shape, at} = look;
  const path = means.map((point) => `${at(point.n)} ${y(point.mean)}`).join("L");
  const marks = means.flatMap((point) => [
    ...(point.std === null ? [] : [errorBar(at(point.n), point.mean, point.std, y, {stroke: paint})]),
    mark(shape, at(point.n), y(point.mean), {
      fill: paint, stroke: paint,
      tip: `${name}\nN = ${point.n}: ${metricTitle} ${number(point.mean)}${spread(point.std)}\n${plural(point.cells, "cell")}` +
        (point.sets > 1 ? ` of ${point.sets} sets of layers` : ""),
    }),
  ]);
  return draw("g", {}, draw("path", {d: `M${path}`, fill: "none", ...strokeOf(look)}), ...marks);
}

/** What the same datasets give without an adapter; a further head is the adapted model's. */
function baselinesOf(cells, metric, datasets) {
  const all = basesOf(cells, metric).filter((prefix) => !prefix.endsWith("_head/")).map((prefix, place) => ({prefix, place, ...meanOverDatasets(cells, prefix + metric, datasets)}));
  return all.filter((each) => each.mean !== null);
}

function baseline({prefix, place, mean: value}, left, right, y) {
  const tip = `${titleOf(prefix)} ${number(value)}`;
  return line(left, y(value), right, y(value), {stroke: "var(--soft)", "stroke-width": 2, "stroke-dasharray": DASHES[place % DASHES.length], tip});
}

function baselineEntries(baselines) {
  return baselines.map(({prefix, place}) => ({words: titleOf(prefix), key: (x, y) =>
    line(x - 10, y, x + 10, y, {stroke: "var(--soft)", "stroke-width": 2, "stroke-dasharray": DASHES[place % DASHES.length]})}));
}

/** Mean curves: configurations in colours with their bands, what stands beside them dashed. */
function curvesFigure({several, chosen, allBands}, width) {
  const shown = several.lines.filter((own) => own.kind === "baseline" || chosen.has(own.configuration));
  if (!shown.length) return {why: "No configuration is chosen."};
  const [top, bottom] = [16, 360];
  const banded = (own) => own.n > 1 && (own.kind === "ranked" || allBands);
  const ends = shown.flatMap((own) => (banded(own) ? [...own.mean, ...own.low, ...own.high] : own.mean));
  const y = linear(Math.min(...ends), Math.max(...ends), bottom, top);
  const box = {left: leftOf(y), right: width - 16, top, bottom};
  const x = linear(Math.min(...shown.map((own) => own.x[0])), Math.max(...shown.map((own) => own.x.at(-1))), box.left, box.right);
  const configurations = shown.filter((own) => own.kind === "ranked").length;
  const looks = new Map(shown.map((own, place) => [own, curveLook(own.kind, place, configurations)]));
  const entries = shown.map((own) => ({words: own.name, key: (atX, atY) => draw("g", {},
    line(atX - 10, atY, atX + 10, atY, looks.get(own).line), mark(looks.get(own).shape, atX, atY, looks.get(own).mark, 4))}));
  const keys = legend(entries, 16, width - 8, box.bottom + 66);
  const units = unique(shown.filter(banded).map((own) => (own.unit === "dataset" ? "the means of the datasets" : "the cells")));
  return {
    svg: canvas(width, box.bottom + 66 + keys.height, several.title, leftAxis(box, y, several.y_title), bottomAxis(box, x, several.x_title),
      ...shown.filter(banded).map((own) => curveBand(own, looks.get(own), x, y)),
      ...shown.toReversed().map((own) => curveLine(own, looks.get(own), several, x, y)), keys.group),
    note: "Mean over datasets of the means over seeds" + (units.length ? `; bands: the middle half (quartiles) of ${units.join(" or ")}.` : "."),
  };
}

function curveLook(kind, place, configurations) {
  if (kind === "ranked") return {shape: place, mark: {fill: colour(place), stroke: colour(place)},
    line: {stroke: colour(place), "stroke-width": 2, "stroke-dasharray": STROKES[Math.floor(place / SERIES) % STROKES.length]}};
  const paint = {stroke: "var(--soft)", "stroke-width": 1.5};
  return {shape: place, mark: {...paint, fill: "var(--surface)"}, line: {...paint, "stroke-dasharray": DASHES[(place - configurations) % DASHES.length]}};
}

function curveBand({x: points, low, high}, look, x, y) {
  const there = points.map((point, place) => `${x(point)} ${y(high[place])}`);
  const back = points.map((point, place) => `${x(point)} ${y(low[place])}`).reverse();
  return draw("path", {d: `M${[...there, ...back].join("L")}Z`, fill: look.line.stroke, "fill-opacity": 0.13});
}

/** A mean curve, with about eight marks that tell their values, beside those of other curves. */
function curveLine(own, look, {x_title: xTitle, y_title: yTitle}, x, y) {
  const step = Math.max(1, Math.round(own.x.length / 8));
  const tip = (place) => `${own.name}\n${xTitle} ${number(own.x[place])}: ${yTitle} ${number(own.mean[place])}` +
    (own.n > 1 ? ` (${number(own.low[place])} to ${number(own.high[place])})` : "") + `\n${plural(own.n, "cell")}`;
  const marked = own.x.map((_, place) => place).filter((place) => place % step === look.shape * 5 % step);
  return draw("g", {}, draw("path", {d: `M${own.x.map((point, place) => `${x(point)} ${y(own.mean[place])}`).join("L")}`, fill: "none", ...look.line}),
    ...marked.map((place) => mark(look.shape, x(own.x[place]), y(own.mean[place]), {...look.mark, tip: tip(place)}, 4)));
}

/** The finished cells' configurations, the best mean over their common datasets and seeds first, and incomplete ones last. */
function rankedConfigurations(cells, metric) {
  const configurations = [...groupBy(finishedWith(cells, metric), (cell) => text(cell.configuration))];
  const complete = configurations.filter(([configuration]) => !incomplete.has(configuration));
  const splits = commonSplits(complete.map(([, some]) => some));
  const ranked = configurations.map(([configuration, some]) => {
    const over = splits.size && !incomplete.has(configuration) ? some.filter((cell) => splits.has(splitOf(cell))) : some;
    const name = text(some[0].name) + (incomplete.has(configuration) ? " (incomplete)" : "");
    return {configuration, name, cells: some, mean: meanOverDatasets(over, metric, unique(over.map((cell) => text(cell.dataset)))).mean};
  });
  return ranked.sort((one, other) => incomplete.has(one.configuration) - incomplete.has(other.configuration) ||
    better(one.mean, other.mean) || compare(one.name, other.name));
}

/** A group of bars for each dataset, a bar for each configuration, as in Figure 17 of the thesis. */
function datasetsFigure({cells, metric, chosen}, width) {
  const ranked = rankedConfigurations(cells, metric).filter((each) => chosen.has(each.configuration));
  if (!ranked.length) return {why: `No finished cell of these configurations has ${metricTitle}.`};
  const datasets = unique(ranked.flatMap((each) => each.cells.map((cell) => text(cell.dataset)))).sort(order);
  const measured = datasets.map((dataset) => ({
    dataset,
    bars: ranked.map((each) => ({name: each.name, ...meanOverDatasets(each.cells, metric, [dataset])})),
    baselines: baselinesOf(ranked.flatMap((each) => each.cells), metric, [dataset]),
  }));
  const ends = measured.flatMap(({bars, baselines}) => [...bars, ...baselines])
    .flatMap((each) => (each.mean === null ? [] : [each.mean + (each.std ?? 0), each.mean - (each.std ?? 0)]));
  const y = linear(Math.min(0, ...ends) * 1.05, Math.max(0.01, ...ends) * 1.05, 300, 16);
  const left = leftOf(y);
  const group = Math.max((width - 16 - left) / datasets.length, ranked.length * 9 + 24, 44);
  const box = {left, right: Math.max(width - 16, left + group * datasets.length), top: 16, bottom: 300};
  const bar = Math.min(48, (group - 20) / ranked.length);
  const drawn = measured.map((each, place) => datasetBars(each, box.left + place * group, group, bar, y));
  const entries = ranked.map((each, place) => ({
    words: each.name, key: (atX, atY) => draw("rect", {x: atX - 6, y: atY - 6, width: 12, height: 12, ...barPaint(place)}),
  }));
  const all = baselinesOf(ranked.flatMap((each) => each.cells), metric, datasets);
  const keys = legend([...entries, ...baselineEntries(all)], 16, box.right, box.bottom + 44);
  return {
    svg: canvas(box.right + 16, box.bottom + 44 + keys.height, `${metricTitle} by dataset`, leftAxis(box, y, metricTitle),
      bottomAxis(box, {ticks: []}, ""), ...drawn, line(box.left, y(0), box.right, y(0)), keys.group),
    note: "Mean over seeds; error bars: standard deviation. The best mean over the datasets comes first.",
  };
}

const barPaint = (place) => ({fill: colour(place), "fill-opacity": place < SERIES ? 1 : 0.45, stroke: colour(place)});

function datasetBars({dataset, bars, baselines}, left, group, bar, y) {
  const start = left + (group - bar * bars.length) / 2;
  const drawn = bars.flatMap((each, place) => {
    if (each.mean === null) return [];
    const [top, bottom] = [y(Math.max(0, each.mean)), y(Math.min(0, each.mean))];
    const tip = `${dataset}\n${each.name}\n${metricTitle} ${number(each.mean)}${spread(each.std)}\n${plural(each.cells, "cell")}`;
    const x = start + place * bar;
    const body = draw("rect", {x: x + 1, y: top, width: bar - 2, height: bottom - top, ...barPaint(place), tip});
    return each.std === null ? [body] : [body, errorBar(x + bar / 2, each.mean, each.std, y, {stroke: "var(--ink)", tip})];
  });
  const name = label(left + group / 2, 319, clip(dataset || "no dataset", group - 6), {"text-anchor": "middle", tip: dataset});
  const levels = baselines.map((each) => baseline(each, start - 6, start + bar * bars.length + 6, y));
  return draw("g", {}, ...drawn, ...levels, name);
}

/** What each precision, pruning or merging costs: differences between cells that agree in all else. */
function choicesFigure({cells, metric}, width) {
  const known = finishedWith(cells, metric);
  const panels = [...Object.keys(PLAIN).map((group) => choicesOf(known, group, metric)), mergedOf(known, metric)]
    .filter((panel) => panel.rows.length);
  if (!panels.length) return {why: "No two finished cells differ in nothing but their precision, pruning or merging."};
  const names = panels.flatMap((panel) => panel.rows.map((row) => clip(row.name, Math.min(240, width * 0.35))));
  const values = panels.flatMap((panel) => panel.rows.map((row) => widthOf(differenceWords(row))));
  const box = {left: Math.max(...names.map((name) => widthOf(name))) + 24, right: width - Math.max(...values) - 24};
  const x = linearAround([0, ...panels.flatMap((panel) => panel.rows.flatMap((row) => row.differences))], box.left, box.right, 4);
  let top = 8;
  const drawn = panels.map((panel) => {
    const group = choicesPanel(panel, x, box, top, width);
    top += 34 + panel.rows.length * 30;
    return group;
  });
  return {
    svg: canvas(width, top + 52, `Differences in ${metricTitle}`, line(x(0), 8, x(0), top, {stroke: "var(--soft)"}), ...drawn,
      bottomAxis({...box, bottom: top}, x, `difference in ${metricTitle}`)),
    note: "Each small mark is the difference between two cells that agree in everything else, dataset and seed included; " +
      "large: their mean, with standard deviation.",
  };
}

const differenceWords = (row) => `${signed(mean(row.differences))} (mean ${number(row.mean)})`;

/** Differences of each choice of a group to its plain one (or to the first that can be compared). */
function choicesOf(cells, group, metric) {
  const factors = factorsOf(cells);
  const own = factors.filter((factor) => factor === group || factor.startsWith(`${group}.`));
  const others = ["dataset", "seed", ...factors.filter((factor) => !own.includes(factor))];
  const name = (cell) => [text(cell[group]), ...own.filter((factor) => factor !== group && text(cell[factor]) !== "")
    .map((factor) => `${factor.slice(group.length + 1)}=${text(cell[factor])}`)].join(" ");
  const blocks = [...groupBy(cells, (cell) => keyOf(cell, others)).values()].map((some) => groupBy(some, name));
  const choices = unique(cells.map(name)).sort((one, other) => (other === PLAIN[group]) - (one === PLAIN[group]) || order(one, other));
  const value = (block, choice) => mean(block.get(choice).map((cell) => cell[metric]));
  const against = (plain) => choices.filter((choice) => choice !== plain).map((choice) => {
    const shared = blocks.filter((block) => block.has(choice) && block.has(plain));
    return {name: choice, differences: shared.map((block) => value(block, choice) - value(block, plain)),
      mean: mean(shared.map((block) => value(block, choice)))};
  }).filter((row) => row.differences.length);
  const plain = choices.find((choice) => against(choice).length);
  return {title: `${group}, against ${plain}`, rows: plain === undefined ? [] : against(plain)};
}

/** Merged adapters against each dataset's own one, both measured in the same cell. */
function mergedOf(cells, metric) {
  const merged = cells.filter((cell) => isNumber(cell[`own/${metric}`]));
  const row = (name, some, column) => ({name, mean: mean(some.map((cell) => cell[column])),
    differences: some.map((cell) => cell[column] - cell[`own/${metric}`])});
  const rows = [...groupBy(merged, (cell) => text(cell.merging))].map(([name, some]) => row(name, some, metric));
  const bare = merged.filter((cell) => isNumber(cell[`base/${metric}`]));
  if (bare.length) rows.push(row("no adapter", bare, `base/${metric}`));
  return {title: "merging, against the datasets' own adapters", rows};
}

function choicesPanel({title, rows}, x, box, top, width) {
  const drawn = rows.flatMap((row, place) => {
    const y = top + 42 + place * 30;
    const centre = mean(row.differences);
    const deviation = std(row.differences);
    const tip = `${row.name}: ${signed(centre)}${spread(deviation)}\n${plural(row.differences.length, "comparison")}`;
    const dots = row.differences.map((difference, index) => mark(0, x(difference), y + ((index * 7) % 15) - 7,
      {fill: "var(--series-0)", "fill-opacity": 0.35, tip: signed(difference)}, 3));
    const bar = deviation === null ? [] : [line(x(centre - deviation), y, x(centre + deviation), y, {"stroke-width": 2})];
    return [label(box.left - 12, y + 4, clip(row.name, box.left - 20), {"text-anchor": "end", tip: row.name}),
      ...dots, ...bar, mark(3, x(centre), y, {fill: "var(--series-3)", stroke: "var(--surface)", tip}, 6),
      label(box.right + 12, y + 4, differenceWords(row), {tip})];
  });
  return draw("g", {}, label(8, top + 18, clip(title, width - 16), {"font-weight": "bold"}), ...drawn);
}
