// The figures of layers: which of them each score chose, and whether scores agree.

const ROW = 22;

/** A score as a command line has it, without its group: "cka similarity=rbf". */
const scoreWords = (name) => text(name).replaceAll(/(^| )selection[.=]/g, "$1");

/** A square of a heat map: the stronger the darker; without a strength it is an outline. Its words need 26 pixels. */
function heatSquare({x, y, width, height = width, strength, paint = "var(--heat)", words, tip = null}) {
  const place = {x, y, width, height, stroke: "var(--surface)"};
  if (!isNumber(strength)) return draw("rect", {...place, x: x + 1, y: y + 1, width: width - 2, height: height - 2, fill: "none", stroke: "var(--grid)"});
  return draw("g", {tip}, draw("rect", {...place, fill: "var(--empty)"}), draw("rect", {...place, fill: paint, "fill-opacity": strength}),
    ...(words && width >= 26 ? [label(x + width / 2, y + height / 2 + 4, words,
      {"text-anchor": "middle", fill: strength > 0.65 ? "var(--on-heat)" : "var(--ink)", "font-size": 11})] : []));
}

/** What the colours of a heat map mean, from its lowest value in words to its highest. */
function heatLegend(x, y, low, high, strengths, paintOf = () => "var(--heat)") {
  const start = x + widthOf(low) + 6;
  return draw("g", {}, label(x, y + 11, low), ...strengths.map((strength, place) =>
    heatSquare({x: start + place * 16, y, width: 16, height: 14, strength: Math.abs(strength), paint: paintOf(strength)})),
  label(start + strengths.length * 16 + 6, y + 11, high));
}

const percent = (share) => (share > 0 ? String(Math.round(share * 100)) : "");

/** What is shown of each layer, where it is known; `strength` is 0 to 1, the highest for a layer that is to be chosen. */
const LAYER_PANELS = [
  {title: "chosen, % of cells", value: "chosen", strength: ({chosen}) => chosen, words: percent, ends: () => ["0 %", "100 %"]},
  {title: "mean rank by score", value: "rank", strength: ({rank, n_layers: depth}) => 1 - (rank - 1) / Math.max(1, depth - 1),
    words: (rank) => (Number.isInteger(rank) ? String(rank) : rank.toFixed(1)), ends: (depth) => [`rank ${depth}`, "rank 1"]},
  {title: "chosen, % of resamples", value: "resampled", strength: ({resampled}) => resampled, words: percent, ends: () => ["0 %", "100 %"]},
];

/** Each score's choices, a row for each score and budget: how often, by which mean rank, and how surely. */
function chosenFigure({chosen, dataset, budget}, width) {
  const shown = chosen.filter((one) => (dataset === "" ? one.dataset !== ALL_DATASETS : text(one.dataset) === dataset)
    && (budget === "" || text(one.budget) === budget));
  if (!shown.length) return {why: "No finished cell says which of its layers were chosen, or all of them chose all or none."};
  const keys = ["name", "budget", "model", "n_layers", "dataset"];
  const grouped = [...groupBy(shown, (one) => keyOf(one, keys)).values()]
    .sort(([one], [other]) => keys.map((key) => compare(one[key], other[key])).find(Boolean) ?? 0);
  const varying = ["budget", "model", "dataset"].filter((key) => unique(shown.map((one) => one[key])).length > 1);
  const rows = grouped.map((layers) => ({layers, name: [scoreWords(layers[0].name), ...varying.map((key) => text(layers[0][key]))].filter(Boolean).join(", ")}));
  const known = (keyed) => shown.some((one) => isNumber(one[keyed]));
  const panels = LAYER_PANELS.filter(({value}) => known(value));
  const numbers = ["stability", "regret", "tau"].filter(known);
  return {
    svg: chosenDrawing({rows, panels, numbers, depth: Math.max(...shown.map((one) => one.n_layers))}, width),
    note: "Of the finished cells that choose some of the layers." + (known("rank") ? " Rank 1 is the highest score." : "") +
      (known("stability") ? " Resamples are bootstrap samples of the probe; stability is the mean rank correlation of the scores by them with those by the whole probe." : "") +
      (known("regret") ? ` Regret is what the chosen layers are worth alone in ${metricTitle} below as many of the best; τ is Kendall's, of the scores with what the layers are worth.` : ""),
  };
}

/** The panels beside each other where their squares are wide enough, else below each other with the rows that each has. */
function chosenDrawing({rows, panels, numbers, depth}, width) {
  const names = new Map(rows.map((row) => [row, clip(row.name, Math.min(300, width * 0.35))]));
  const left = Math.max(...[...names.values()].map((name) => widthOf(name))) + 20;
  const [gap, column, head] = [28, 66, 26];
  const fitting = (count) => Math.floor((width - left - column * numbers.length - 8 - (count - 1) * gap) / count / depth);
  const abreast = fitting(panels.length) >= 11;
  const size = Math.max(11, Math.min(48, fitting(abreast ? panels.length : 1)));
  let [x, y] = [left, head];
  const drawn = panels.map((panel, place) => {
    const own = abreast ? rows : rows.filter(({layers}) => layers.some((one) => isNumber(one[panel.value])));
    const beginnings = own.map((row, line) => label(left - 8, y + line * ROW + 15, names.get(row), {"text-anchor": "end", tip: row.name}));
    const group = draw("g", {}, layersPanel(panel, {rows: own, size, depth}, x, y), ...(abreast && place ? [] : beginnings));
    [x, y] = abreast ? [x + depth * size + gap, y] : [x, y + own.length * ROW + head + 64];
    return group;
  });
  const end = left + (abreast ? panels.length : 1) * (depth * size + gap) - gap;
  const heads = {stability: "stability", regret: "regret", tau: "τ, oracle"};
  const beside = numbers.flatMap((key, place) => [
    label(end + (place + 1) * column, head - 9, heads[key], {"text-anchor": "end"}),
    ...rows.map(({layers: [first]}, row) => label(end + (place + 1) * column, head + row * ROW + 15,
      isNumber(first[key]) ? number(first[key]).replace("-", "−") : "–", {"text-anchor": "end"})),
  ]);
  const bottom = abreast ? y + rows.length * ROW + 64 : y - head;
  return canvas(Math.max(width, end + column * numbers.length + 8), bottom, "Layers that each score chose", ...drawn, ...beside);
}

function layersPanel({title, value, strength, words, ends}, {rows, size, depth}, left, top) {
  const squares = rows.flatMap(({layers, name}, row) => layers.map((one) => heatSquare({
    x: left + one.layer * size, y: top + row * ROW, width: size, height: ROW, tip: layerTip(one, name),
    ...(isNumber(one[value]) ? {strength: strength(one), words: words(one[value])} : {}),
  })));
  const step = [1, 2, 5, 10].find((each) => size * each >= widthOf(String(depth)) + 6);
  const bottom = top + rows.length * ROW;
  const layers = Array.from({length: Math.ceil(depth / step)}, (_, place) => label(left + (place * step + 0.5) * size, bottom + 15, String(place * step), {"text-anchor": "middle"}));
  return draw("g", {}, label(left, top - 9, title, {"font-weight": "bold"}), ...squares, ...layers,
    label(left + depth * size / 2, bottom + 31, "layer", {"text-anchor": "middle"}),
    heatLegend(left, bottom + 40, ...ends(depth), [0, 0.25, 0.5, 0.75, 1]));
}

function layerTip(one, name) {
  return [name, `layer ${one.layer}: chosen by ${number(one.chosen * 100)} % of ${plural(one.cells, "cell")}, ${plural(one.seeds, "seed")}`,
    ...(isNumber(one.rank) ? [`mean rank ${number(one.rank)}, mean score ${number(one.score)}`] : []),
    ...(isNumber(one.resampled) ? [`chosen in ${number(one.resampled * 100)} % of resamples`] : [])].join("\n");
}

/** Kendall's τ of every two scores, and of each with what the layers are worth alone. */
function agreementFigure({agreement, chosen}, width) {
  const names = unique(agreement.flatMap((row) => [row.name, row.other]));
  const found = new Map(agreement.flatMap((row) => [[keyOf(row, ["name", "other"]), row], [keyOf(row, ["other", "name"]), row]]));
  const judged = groupBy(chosen.filter((one) => isNumber(one.tau)), (one) => one.name);
  const oracle = names.some((name) => judged.has(name));
  const shown = names.map((name) => clip(scoreWords(name), Math.min(220, width * 0.3)));
  const left = Math.max(...shown.map((name) => widthOf(name))) + 20;
  const size = Math.max(14, Math.min(44, Math.floor((width - left - 16) / (names.length + (oracle ? 1.4 : 0)))));
  const [top, bottom, end] = [8, 8 + names.length * size, left + (names.length + 0.4) * size];
  const paintOf = (tau) => (tau < 0 ? "var(--series-3)" : "var(--heat)");
  const square = (tau, x, row, tip) => heatSquare({x, y: top + row * size, width: size, tip,
    ...(isNumber(tau) ? {strength: Math.abs(tau), paint: paintOf(tau), words: decimals(tau, 2)} : {})});
  const squares = names.flatMap((name, row) => names.map((other, place) => {
    const both = found.get(JSON.stringify([name, other]));
    if (!both) return draw("g");
    const tip = `${scoreWords(name)} and ${scoreWords(other)}\nτ ${number(both.tau)}\nlayers in common ${number(both.overlap)}, by chance ${number(both.by_chance)}\n${plural(both.datasets, "dataset")}, ${both.compared} with their seeds`;
    return square(both.tau, left + place * size, row, tip);
  }));
  const worth = oracle ? names.map((name, row) => {
    const tau = judged.has(name) ? mean(judged.get(name).map((one) => one.tau)) : null;
    return square(tau, end, row, `${scoreWords(name)} and what the layers are worth alone\nτ ${number(tau)}`);
  }) : [];
  const turned = (name, x) => label(0, 0, name, {"text-anchor": "end", transform: `translate(${x + size / 2 + 4} ${bottom + 8}) rotate(-60)`});
  const below = bottom + 16 + (left - 20) * 0.87;
  return {
    svg: canvas(Math.max(width, end + size + 8), below + 28, "Kendall's τ of every two scores", ...squares, ...worth,
      ...shown.map((name, row) => label(left - 8, top + (row + 0.5) * size + 4, name, {"text-anchor": "end"})),
      ...shown.map((name, place) => turned(name, left + place * size)), ...(oracle ? [turned("oracle", end)] : []),
      heatLegend(left, below, "opposite order, −1", "+1, the same order", [-1, -0.5, 0, 0.5, 1], paintOf)),
    note: "Kendall's τ of the layers' scores on the same datasets and seeds: means over datasets of the means over seeds." +
      (oracle ? " The column apart has that with what each layer is worth when it is trained alone." : ""),
  };
}
