// Puts everything into its place, and redraws what the filter or the width of the window changes.

const data = JSON.parse(document.getElementById("data").textContent);
const [cells, groups, comparisons, agreement, regrets, chosen] =
  [data.cells, data.groups, data.comparisons, data.agreement, data.regrets, data.chosen_layers].map(recordsOf);
const {name: metric, title: metricTitle} = data.metric;
const directedTitle = metricTitle + (data.metric.higher_is_better ? "" : " (lower is better)");
const at = (id) => document.getElementById(id);
const STATES = {finished: "✓", running: "…", interrupted: "‖", failed: "✕", damaged: "✕", missing: "?"};
const selections = unique(cells.map((cell) => text(cell.selection))).sort(order);
const hue = (selection) => Math.max(0, selections.indexOf(text(selection)));
const selectionOf = new Map(cells.map((cell) => [cell.configuration, cell.selection]));
const isOverall = (group) => group.dataset === ALL_DATASETS && group.kind === "ranked";
const incomplete = new Set(groups.filter((group) => group.kind === "incomplete").map((group) => group.configuration));
const figures = [];

/** A figure in its place, drawn anew by `redraw([it])`. `controls` are elements that stand above it. */
function addFigure(id, title, drawing, controls = []) {
  const host = at(id);
  const sheet = make("div", {className: "sheet"});
  const note = make("figcaption");
  const svg = () => sheet.querySelector("svg");
  const file = (extension) => `${text(data.title).replace(/[^\p{L}\p{N}.+-]+/gu, "-").slice(0, 60)}-${id}.${extension}`;
  const saveSvg = () => download(file("svg"), new Blob([standalone(svg())], {type: "image/svg+xml"}));
  const savePng = async () => download(file("png"), await pixels(svg()));
  const buttons = make("div", {className: "buttons"},
    make("button", {type: "button", onclick: saveSvg}, "Save SVG"),
    make("button", {type: "button", onclick: savePng}, "Save PNG"));
  host.append(make("h3", {}, title), ...controls, sheet, note, buttons);
  const show = (drawn) => {
    sheet.replaceChildren(...(drawn.svg ? [drawn.svg] : []));
    note.textContent = drawn.note ?? drawn.why;
    buttons.hidden = !drawn.svg;
  };
  const figure = {show, drawing, width: () => Math.max(300, sheet.clientWidth), filtered: host.closest("#of-cells") !== null};
  figures.push(figure);
  return figure;
}

/** Draw figures anew. All widths are read before anything changes: each reading after a change lays the page out. */
function redraw(some) {
  const widths = some.map((figure) => figure.width());
  some.forEach((figure, place) => figure.show(figure.drawing(widths[place])));
}

function header() {
  document.title = text(data.title);
  at("title").textContent = text(data.title);
  const counted = groupBy(cells, (cell) => text(cell.state));
  const known = unique([...Object.keys(STATES), ...counted.keys()]).filter((state) => counted.has(state));
  const chips = known.map((state) => make("span", {className: `state ${STATES[state] ? state : ""}`},
    `${STATES[state] ?? ""} ${counted.get(state).length} ${state}`));
  at("states").append(make("strong", {}, plural(cells.length, "cell")), " ", ...chips);
  const [best] = groups.filter((group) => isOverall(group) && isNumber(group.mean))
    .sort((one, other) => better(one.mean, other.mean));
  if (best) at("best").textContent = `${data.metric.higher_is_better ? "Highest" : "Lowest"} mean ${metricTitle} over all datasets: ${number(best.mean)} by ${best.name} (${plural(best.n, "cell")}` +
    `${best.n < best.expected ? ` of ${best.expected}` : ""})${incomplete.size ? `; ${plural(incomplete.size, "incomplete configuration")} left out` : ""}.`;
  const same = ["dataset", ...LABELS].filter((column) => new Set(cells.map((cell) => text(cell[column]))).size === 1);
  const common = same.filter((column) => text(cells[0][column]) !== "").map((column) => `${column}=${text(cells[0][column])}`);
  if (common.length) at("common").textContent = `All cells have ${common.join(", ")}.`;
}

/** Cells that gave no result, those with the same error together. */
function problems() {
  const wrong = cells.filter((cell) => ["failed", "damaged", "missing", "interrupted"].includes(cell.state));
  if (!wrong.length) return;
  const alike = [...groupBy(wrong, (cell) => keyOf(cell, ["state", "error"])).values()];
  alike.sort(([one], [other]) => order(one.state, other.state));
  for (const some of alike) {
    const [{state, error}] = some;
    const names = some.map((cell) => make("li", {}, [text(cell.cell), text(cell.overrides)].filter(Boolean).join(": ") || "unnamed"));
    at("problems").append(make("details", {open: some.length <= 3},
      make("summary", {}, make("span", {className: `state ${state}`}, `${STATES[state]} ${some.length} ${state}`), " ",
        make("code", {}, text(error) || {missing: "never started", interrupted: "stopped before its end"}[state] || "no error recorded")),
      make("ul", {}, ...names)));
  }
  at("problems").hidden = false;
}

const columnsOf = (keys, heads = {}, formats = {}) =>
  keys.map((key) => ({key, head: heads[key] ?? key, words: formats[key] ?? number}));

function addComparisons() {
  const host = at("comparisons");
  host.append(make("h3", {}, "Differences to references"));
  if (!comparisons.length) return host.append(make("p", {className: "why"}, "There is no reference: nothing is compared."));
  const kinds = [...groupBy(comparisons, (row) => text(row.against))];
  const words = ([against, [first]]) => (against === "configuration" ? "another configuration" : text(first.reference));
  const select = make("select", {}, ...kinds.map((kind) => new Option(words(kind), kind[0])), new Option("all", ""));
  host.append(make("label", {}, "Compared with ", select), make("p", {}, `Differences in ${directedTitle} over the same datasets and ` +
    "seeds, each dataset the same weight. Where there are 3 datasets or more, the dataset is the unit of std, interval (bootstrap; Student's t of 3 to 9 units), " +
    "wins, ties, losses and p (Wilcoxon signed-rank test, Holm over the rows of one kind of reference): seeds of one dataset are not " +
    "independent of each other."));
  const sign = {difference: signed, low: signed, high: signed};
  const heads = {low: "95 % low", high: "95 % high", p_holm: "p (Holm)"};
  const keys = ["name", "reference", "mean", "difference", "low", "high", "wins", "ties", "losses", "p", "p_holm", "unit", "std", "datasets", "compared", "uncompared"];
  const table = new SortableTable(host, "comparisons", columnsOf(keys, heads, sign), {key: "difference", descending: data.metric.higher_is_better});
  const show = () => table.show(comparisons.filter((row) => select.value === "" || text(row.against) === select.value));
  select.onchange = show;
  show();
}

function addGroups() {
  const host = at("groups");
  host.append(make("h3", {}, "Configurations by dataset"));
  if (!groups.length) return host.append(make("p", {className: "why"}, "No configuration is known yet."));
  const complete = groups.filter((group) => !incomplete.has(group.configuration));
  const names = unique(complete.map((group) => text(group.dataset))).sort((one, other) =>
    (other === ALL_DATASETS) - (one === ALL_DATASETS) || order(one, other));
  const select = make("select", {}, ...names.map((name) => new Option(name)), new Option("each dataset and all", ""));
  host.append(make("label", {}, "Dataset ", select));
  const second = data.metric.beside ? ["beside"] : [];
  const keys = ["name", "dataset", "datasets", "n", "expected", "failed", "missing", "mean", "std", "low", "high", ...second, "parameters", "seconds", "pareto"];
  const apart = ["name", "dataset", "n", "expected", "failed", "missing", "mean", "std", "lacks"];
  const heads = {mean: `mean ${directedTitle}`, low: "95 % low", high: "95 % high", beside: data.metric.beside, pareto: "Pareto front"};
  const table = new SortableTable(host, "groups", columnsOf(keys, heads, {pareto: (value) => (value === true ? "●" : "")}),
    {key: "mean", descending: data.metric.higher_is_better});
  const show = () => table.show(complete.filter((group) => select.value === "" || text(group.dataset) === select.value));
  select.onchange = show;
  show();
  if (!incomplete.size) return;
  at("incomplete").hidden = false;
  at("incomplete").append(make("h3", {}, "Incomplete configurations, which are not ranked"));
  new SortableTable(at("incomplete"), "incomplete", columnsOf(apart, {mean: `mean ${directedTitle} of these`}))
    .show(groups.filter((group) => incomplete.has(group.configuration) && group.dataset === ALL_DATASETS));
}

/** A list of the values of a column, which redraws a figure; nothing if there is one value only. */
function choiceOf(words, values, all, redrawn) {
  const select = make("select", {onchange: redrawn}, ...values.map((value) => new Option(value)), new Option(all, ""));
  return {select, shown: values.length > 1 ? [make("label", {}, `${words} `, select)] : []};
}

/** Which layers each score chose, whether scores agree, and how near their choices come to what single layers are worth. */
function addScores() {
  at("scores").hidden = !chosen.length && !agreement.length && !regrets.length;
  at("layers").hidden = !chosen.length;
  at("agreement").hidden = !agreement.length;
  at("regrets").hidden = !regrets.length;
  if (chosen.length) addChosen();
  const heads = {other: "and", tau: "Kendall's τ", overlap: "layers in common", low: "95 % low", high: "95 % high"};
  if (agreement.length) {
    addFigure("agreement", "Agreement of scores", (width) => agreementFigure({agreement, chosen}, width));
    const table = make("details", {}, make("summary", {}, "As a table, with the layers in common: by chance two choices share N of L"));
    at("agreement").append(table);
    const keys = ["name", "other", "tau", "overlap", "by_chance", "datasets", "compared"];
    new SortableTable(table, "agreement", columnsOf(keys, {...heads, by_chance: "by chance"}), {key: "tau", descending: true}).show(agreement);
  }
  if (!regrets.length) return;
  at("regrets").append(make("h3", {}, "Against an oracle"), make("p", {}, `What the chosen layers are worth in ${metricTitle}, each trained ` +
    "alone, below as many of the best: the regret, and its ratio to that of layers drawn at random. τ is that of the scores with what the layers are worth."));
  const keys = ["name", "n", "regret", "low", "high", "share", "tau", "overlap", "unit", "datasets", "compared"];
  new SortableTable(at("regrets"), "regrets", columnsOf(keys, {...heads, share: "of chance"}), {key: "regret", descending: false}).show(regrets);
}

function addChosen() {
  const redrawn = () => redraw([figure]);
  const datasets = choiceOf("Dataset", unique(chosen.map((one) => text(one.dataset))), "each dataset apart", redrawn);
  const budgets = choiceOf("Budget", unique(chosen.map((one) => text(one.budget))).filter(Boolean), "all", redrawn);
  budgets.select.value = "";
  const figure = addFigure("layers", "Layers that each score chose",
    (width) => chosenFigure({chosen, dataset: datasets.select.value, budget: budgets.select.value}, width), [...datasets.shown, ...budgets.shown]);
}

/** The columns of the table of cells that most readers want. */
function usualColumns(all) {
  const varying = factorsOf(cells).filter((factor) => !LABELS.includes(factor));
  const labels = ["dataset", ...LABELS, "seed"].filter((column) => unique(cells.map((cell) => text(cell[column]))).length > 1);
  const judged = all.filter((column) => column.startsWith("base/")).map((column) => column.slice("base/".length));
  const others = basesOf(cells, metric).map((prefix) => prefix + metric);
  const usual = ["cell", "state", ...labels, ...varying, "layers", metric, ...others, ...judged,
    "parameters/trainable", "seconds/total", "error"];
  return unique(usual).filter((column) => all.includes(column));
}

const haystacks = new Map(cells.map((cell) => [cell, Object.values(cell).map(text).join("\n").toLowerCase()]));

/** Whether a cell has a word that was typed: "column=value" asks for that value, other words may occur anywhere. */
function matches(cell, word) {
  const [column, value] = word.split(/=(.*)/s);
  if (value === undefined || !(column in cell)) return haystacks.get(cell).includes(word.toLowerCase());
  return value === "" || text(cell[column]).toLowerCase() === value.toLowerCase();
}

/** The cells that the filter lets through. */
function filtered() {
  const words = at("words").value.split(/\s+/).filter(Boolean);
  const wanted = ["state", "dataset", "selection"].filter((column) => at(column).value !== "");
  return cells.filter((cell) => wanted.every((column) => text(cell[column]) === at(column).value)
    && words.every((word) => matches(cell, word)));
}

function addCells() {
  const all = data.cells.columns;
  const verbatim = (column) => ["cell", "seed", ...LABELS].includes(column) || OPTION.test(column);
  const heads = (keys) => columnsOf(keys, {}, Object.fromEntries(keys.filter(verbatim).map((key) => [key, text])));
  const everything = make("input", {type: "checkbox"});
  at("cells").append(make("h3", {}, "Table of cells"), make("label", {}, everything, ` all ${all.length} columns`));
  const table = new SortableTable(at("cells"), "cells", heads(usualColumns(all)));
  everything.onchange = () => table.setColumns(heads(everything.checked ? all : usualColumns(all)));
  return table;
}

/** Which configurations a figure shows: the best ones, at most `most`, until the reader ticks others. */
class Picker {
  constructor(most, onTick) {
    Object.assign(this, {most, onTick});
    this.ticked = null;
    this.title = make("summary");
    this.list = make("div", {className: "choices"});
    this.element = make("details", {}, this.title, this.list);
  }

  /** The chosen ones of those that the filtered cells have. */
  chosen(ranked) {
    const best = ranked.slice(0, this.most).map((each) => each.configuration);
    const chosen = this.ticked ?? new Set(best);
    const shown = ranked.filter((each) => chosen.has(each.configuration)).length;
    this.title.textContent = `${this.ticked ? "Chosen" : "Best"} ${shown} of ${plural(ranked.length, "configuration")}`;
    this.element.hidden = !ranked.length;
    this.list.replaceChildren(...ranked.map((each) => this.boxOf(each, chosen)));
    return chosen;
  }

  boxOf({configuration, name, mean: value}, chosen) {
    const box = make("input", {type: "checkbox", checked: chosen.has(configuration)});
    box.onchange = () => {
      this.ticked = new Set(chosen);
      this.ticked[box.checked ? "add" : "delete"](configuration);
      this.onTick();
    };
    return make("label", {}, box, ` ${name} (${number(value)})`);
  }
}

function follow(event) {
  const tip = event.target.closest?.("[data-tip]")?.dataset.tip;
  at("tip").hidden = !tip;
  if (!tip) return;
  at("tip").textContent = tip;
  const {offsetWidth, offsetHeight} = at("tip");
  at("tip").style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - offsetWidth - 8))}px`;
  at("tip").style.top = `${Math.max(4, event.clientY - offsetHeight - 12)}px`;
}

function fillSelects() {
  for (const column of ["state", "dataset", "selection"]) {
    const values = unique(cells.map((cell) => text(cell[column]))).filter(Boolean).sort(order);
    at(column).append(new Option("all", ""), ...values.map((value) => new Option(value)));
  }
}

let shown = cells;
const cost = (name, title) => (width) => paretoFigure({groups, metric, selectionOf, hue}, name, title, width);
const picker = new Picker(SHOWN_BARS, () => redraw([bars]));

/** A figure for the curves of each name that cells have recorded. */
function addCurves() {
  const means = new Map(groups.filter(isOverall).map((group) => [group.configuration, group.mean]));
  for (const [name, several] of Object.entries(data.curves)) {
    const ranked = several.lines.filter((own) => own.kind === "ranked").map((own) => ({...own, mean: means.get(own.configuration)}));
    const redrawn = () => redraw([figure]);
    const choice = new Picker(SHOWN_CURVES, redrawn);
    const allBands = make("input", {type: "checkbox", onchange: redrawn});
    const besides = several.lines.length > ranked.length ? [make("label", {}, allBands, " bands of the dashed ones too")] : [];
    at("curves").append(make("figure", {id: `curve-${name}`}));
    const figure = addFigure(`curve-${name}`, several.title,
      (width) => curvesFigure({several, chosen: choice.chosen(ranked), allBands: allBands.checked}, width), [choice.element, ...besides]);
  }
}

/** The figure of how long the texts of each dataset are, a drawing that came with the page. */
function addLengths() {
  if (!data.lengths) return;
  at("lengths").hidden = false;
  at("lengths").append(make("h3", {}, "Length of the texts"), make("img", {src: data.lengths, alt: "Length of each dataset's texts"}));
}

header();
problems();
addCurves();
addComparisons();
addGroups();
addScores();
addLengths();
fillSelects();
addFigure("pareto-parameters", `${metricTitle} against trainable parameters`, cost("parameters", "trainable parameters"));
addFigure("pareto-seconds", `${metricTitle} against time`, cost("seconds", "seconds a cell"));
at("pareto-beside").hidden = !data.metric.beside;
if (data.metric.beside) addFigure("pareto-beside", `${metricTitle} against ${data.metric.beside}`, cost("beside", data.metric.beside));
addFigure("budget", `${metricTitle} against the number of layers`, (width) => budgetFigure({cells: shown, metric, hue}, width));
const bars = addFigure("datasets", `${metricTitle} by dataset`,
  (width) => datasetsFigure({cells: shown, metric, chosen: picker.chosen(rankedConfigurations(shown, metric))}, width), [picker.element]);
addFigure("choices", "Precision, pruning and merging", (width) => choicesFigure({cells: shown, metric}, width));
const table = addCells();

function applyFilter() {
  shown = filtered();
  at("shown").textContent = `${shown.length} of ${plural(cells.length, "cell")}`;
  redraw(figures.filter((figure) => figure.filtered));
  table.show(shown);
}

at("filter").oninput = applyFilter;
at("filter").onreset = () => setTimeout(applyFilter);
at("filter").onsubmit = (event) => event.preventDefault();
for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, follow);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return; // a phone's address bar changes the height only
  width = innerWidth;
  redraw(figures);
});
redraw(figures.filter((figure) => !figure.filtered));
applyFilter();
