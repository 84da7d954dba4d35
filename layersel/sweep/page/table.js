// HTML elements, and tables that can be sorted and downloaded.

const ROWS = 1000; // shown at first: more take a browser longer than a reader waits

/** An HTML element; words become text, never HTML. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A table as CSV (RFC 4180). */
function csv(columns, rows) {
  const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return [columns, ...rows.map((row) => columns.map((column) => text(row[column])))]
    .map((values) => values.map(quoted).join(",") + "\r\n").join("");
}

/** A table that is sorted by a click on a column's head; missing values come last either way. */
class SortableTable {
  /**
   * @param host    the element that it is put into
   * @param name    what its download is called
   * @param columns [{key, head, words: value => string}]
   * @param sort    {key, descending}, or null for the order of the rows
   */
  constructor(host, name, columns, sort = null) {
    Object.assign(this, {host, name, columns, sort, rows: [], limit: ROWS, lines: new Map()});
    this.head = make("tr");
    this.body = make("tbody");
    const table = make("table", {}, make("thead", {}, this.head), this.body);
    this.scroll = make("div", {className: "scroll", tabIndex: 0, role: "region", ariaLabel: name}, table);
    this.more = make("button", {type: "button", onclick: () => this.showAll()});
    this.save = make("button", {type: "button", onclick: () => this.download()}, "Download CSV");
    host.append(this.scroll, make("div", {className: "buttons"}, this.more, this.save));
    this.setColumns(columns);
  }

  setColumns(columns) {
    this.columns = columns;
    this.lines.clear();
    this.head.replaceChildren(...columns.map((column) => this.headOf(column)));
    this.show(this.rows);
  }

  headOf({key, head}) {
    const button = make("button", {type: "button", onclick: () => this.sortBy(key)}, head);
    const cell = make("th", {scope: "col"}, button);
    cell.dataset.key = key;
    return cell;
  }

  sortBy(key) {
    this.sort = {key, descending: this.sort?.key === key ? !this.sort.descending : false};
    this.show(this.rows);
  }

  /** Show these rows, in the table's order. */
  show(rows) {
    this.rows = rows;
    this.body.replaceChildren(...this.sorted().slice(0, this.limit).map((row) => this.lineOf(row)));
    this.more.hidden = rows.length <= this.limit;
    this.more.textContent = `Show all ${plural(rows.length, "row")}`;
    for (const cell of this.head.children) {
      const direction = this.sort?.descending ? "descending" : "ascending";
      cell.className = rows.some((row) => isNumber(row[cell.dataset.key])) ? "number" : "";
      cell.setAttribute("aria-sort", cell.dataset.key === this.sort?.key ? direction : "none");
    }
  }

  showAll() {
    this.limit = Infinity;
    this.show(this.rows);
  }

  sorted() {
    if (this.sort === null) return this.rows;
    const {key, descending} = this.sort;
    const missing = (row) => text(row[key]) === "";
    const direction = descending ? -1 : 1;
    return this.rows.toSorted((one, other) => {
      if (missing(one) || missing(other)) return missing(one) - missing(other);
      return direction * compare(one[key], other[key]);
    });
  }

  lineOf(row) {
    if (!this.lines.has(row)) this.lines.set(row, make("tr", {}, ...this.columns.map((column) => this.cellOf(row, column))));
    return this.lines.get(row);
  }

  cellOf(row, {key, words}) {
    const shown = words(row[key], row);
    const cell = make("td", {textContent: shown});
    if (isNumber(row[key])) cell.className = "number";
    if (shown.length > 40) cell.title = shown;
    return cell;
  }

  download() {
    const keys = unique(this.rows.flatMap((row) => Object.keys(row)));
    download(`${this.name}.csv`, new Blob([csv(keys, this.sorted())], {type: "text/csv"}));
  }
}
