"use strict";
// Shows the results in #data. Whatever they hold gets onto the page as text, never as markup.
(() => {
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  // ---- elements ----
  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "onclick" || name === "onchange") node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
  }
  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
  const show = (id, ...children) => $(id).replaceChildren(...children);
  const said = (text) => el("p", { class: "note" }, text);
  const shell = (words) => words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, "'\\''")}'`)).join(" ");
  const plural = (word) => (word.endsWith("y") ? word.slice(0, -1) + "ies" : word + "s");

  // ---- numbers as text ----
  function number(value, unit = "") {
    if (value === null || value === undefined) return "";
    const size = Math.abs(value);
    const digits = unit === "%" ? 1 : size >= 1000 ? 0 : size >= 10 ? 1 : size >= 1 || size === 0 ? 3 : 4;
    return value.toFixed(digits);
  }
  const signed = (value, unit) => (value > 0 ? "+" : "") + number(value, unit);
  const isNumber = (value) => typeof value === "number";

  const SHAPES = {
    circle: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0", square: "M-3.5-3.5h7v7h-7z", up: "M0-4.5L4.5 3.5h-9z",
    down: "M0 4.5L4.5-3.5h-9z", diamond: "M0-5L5 0L0 5L-5 0z", plus: "M-4 0h8M0-4v8",
    cross: "M-3.5-3.5l7 7M3.5-3.5l-7 7", star: "M0-5L3 4.5L-5-1.5h10L-3 4.5z",
  };

  // ---- the reports as one, by benchmark ----
  const NUMBERS = ["run", "row", "method", "protocol", "subset", "measure", "published", "measured",
    "site", "difference", "low", "high", "count", "of"];
  const COMPARED = ["first", "second", "subset", "measure", "items", "clusters", "first_value",
    "second_value", "low", "high", "p", "better", "first_wins", "second_wins"];
  const named = (columns, row) => Object.fromEntries(columns.map((name, i) => [name, row[i]]));
  const reports = JSON.parse($("data").textContent).reports;
  const several = reports.length > 1;
  const benchmarks = new Map();

  function benchmarkOf(own) {
    if (!benchmarks.has(own.name)) {
      benchmarks.set(own.name, {
        name: own.name, item: own.item, cluster: own.cluster, subsets: new Map(), measures: new Map(),
        runs: [], rows: [], each: new Map(), items: new Map(), compared: new Map(), reasons: [],
        texts: [], main: null, published: new Set(),
      });
    }
    return benchmarks.get(own.name);
  }

  function add(report, own) {
    const all = benchmarkOf(own);
    for (const [name, title] of Object.entries(own.subsets)) all.subsets.set(name, title);
    const key = (measure) => `${measure.metric} ${measure.threshold} ${measure.angle}`;
    own.measures.forEach((measure) => all.measures.set(key(measure), { ...measure, key: key(measure) }));
    own.items.measures.forEach((measure) => all.each.set(measure.title, measure));
    if (own.items.ranked !== null) all.main = all.main || own.items.measures[own.items.ranked].title;
    const place = new Map(Object.entries(own.items.subsets).map(([name, list]) => [name, new Set(list)]));
    const names = own.items.names;
    names.forEach((name, i) => {
      if (!all.items.has(name)) all.items.set(name, { name, cluster: own.items.clusters[i], subsets: new Set() });
      for (const [subset, list] of place) if (list.has(i)) all.items.get(name).subsets.add(subset);
    });
    const runs = own.runs.map((run, index) => {
      const values = new Map();
      own.items.values[index]?.forEach((column, m) => {
        values.set(own.items.measures[m].title, new Map(column.map((value, i) => [names[i], value])));
      });
      const id = several ? `${run.label} (${report.name})` : run.label;
      const looks = (each) => all.runs.some((other) => other.color === run.color && other.dash === run.dash && other.marker === each);
      const other = Object.keys(SHAPES).find((each) => !looks(each)); // two reports may have taken the same
      return { ...run, marker: looks(run.marker) ? other || run.marker : run.marker, id, report: report.name, values, pictures: new Map(), unpictured: null };
    });
    for (const [run, place, picture] of own.items.pictures) runs[run].pictures.set(names[place], picture);
    for (const [run, why] of own.items.unpictured) runs[run].unpictured = why;
    all.runs.push(...runs);
    for (const cells of own.numbers.rows) {
      const row = named(NUMBERS, cells);
      row.measure = key(own.measures[row.measure]);
      row.owner = row.run === null ? null : runs[row.run];
      row.report = row.owner || row.site !== null ? report.name : "";
      row.name = row.owner ? row.owner.id : row.row;
      const same = [row.name, row.method, row.protocol, row.subset, row.measure].join("\n");
      if (row.report === "" && all.published.has(same)) continue;
      all.published.add(same);
      all.rows.push(row);
    }
    for (const cells of own.comparisons.rows) {
      const line = named(COMPARED, cells);
      const title = own.items.measures[line.measure].title;
      all.compared.set([runs[line.first].id, runs[line.second].id, line.subset, title].join("\n"), line);
    }
    all.reasons.push(...own.items.reasons.map(([run, name, why]) => ({ run: runs[run], name, why })));
    const whose = several ? ` (${report.name})` : "";
    if (own.latex) all.texts.push([`Table of ${own.name}${whose} in LaTeX, with booktabs`, own.latex]);
    if (own.bibtex) all.texts.push([`BibTeX of ${own.name}${whose}`, own.bibtex]);
  }
  reports.forEach((report) => report.benchmarks.forEach((own) => add(report, own)));

  // ---- what is chosen ----
  const state = { hidden: new Set(), off: new Map(), sort: new Map(), item: null, expanded: new Map() };
  let now; // the benchmark that is shown
  const chosen = () => now.measures.get($("measure").value);
  const subset = () => $("subset").value;
  const byProtocol = (row) => {
    const own = row.owner?.protocol || row.protocol; // "" of a published row that is of all
    return !$("protocol").value || !own || own === $("protocol").value;
  };
  const runsShown = () => now.runs.filter((run) => byProtocol(run) && !run.badges.some((badge) => state.hidden.has(badge)));

  function options(select, list, wanted) {
    const before = $(select).value;
    show(select, ...list.map(([value, title]) => el("option", { value }, title)));
    const values = list.map(([value]) => value);
    $(select).value = values.includes(before) ? before : values.includes(wanted) ? wanted : values[0] ?? "";
  }

  // ---- tables that sort ----
  // columns: {title, value(row), cell(row) or none, number}; the first names the row.
  function table(id, caption, columns, rows, sorted, most = 200) {
    const own = state.sort.get(id) || sorted;
    const column = columns.find((each) => each.title === own[0]) || columns[0];
    const direction = own[1];
    const order = [...rows].sort((a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      const [noX, noY] = [x === null || x === undefined || x === "", y === null || y === undefined || y === ""];
      if (noX || noY) return noX - noY;
      return direction * (isNumber(x) && isNumber(y) ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
    });
    const sortBy = (title, way) => {
      state.sort.set(id, [title, way]);
      render();
      [...$(id).querySelectorAll("th button")].find((button) => button.textContent === title)?.focus();
    };
    const way = (each) => (each === column ? -direction : each.number && !each.lower ? -1 : 1);
    const head = columns.map((each) => el("th", {
      scope: "col", class: each.number ? "number" : null,
      "aria-sort": each === column ? (direction > 0 ? "ascending" : "descending") : null,
    }, el("button", { type: "button", onclick: () => sortBy(each.title, way(each)) }, each.title)));
    const line = (row) => el("tr", { class: row.opened ? "open" : null }, columns.map((each, i) => {
      const content = each.cell ? each.cell(row) : isNumber(each.value(row)) ? number(each.value(row)) : each.value(row);
      const classes = [each.number ? "number" : "", each.mark ? each.mark(row) : ""].join(" ").trim();
      return el(i ? "td" : "th", { scope: i ? null : "row", "data-title": each.title, class: classes || null }, content ?? "");
    }));
    const body = el("tbody", null, order.slice(0, most).map(line));
    const rest = order.length - most;
    const more = rest > 0 && el("button", { type: "button", class: "more", onclick: () => { body.append(...order.slice(most).map(line)); more.remove(); } }, `Show ${rest} more`);
    const sorter = el("label", { class: "sorter note" }, "Sort by ", el("select", {
      onchange: (event) => { const each = columns[event.target.value]; state.sort.set(id, [each.title, each.number && !each.lower ? -1 : 1]); render(); },
    }, columns.map((each, i) => el("option", { value: i, selected: each === column }, each.title))));
    show(id, sorter, el("div", { class: "scroll" }, el("table", { class: "stack" }, el("caption", null, caption), el("thead", null, el("tr", null, head)), body)), ...(more ? [more] : []));
  }
  const badgesOf = (run) => (run ? run.badges.map((badge) => el("span", { class: "badge" }, badge)) : []);
  const runButton = (run, text = run.label) => el("button", { type: "button", class: "link", "aria-haspopup": "dialog", onclick: () => details(run) }, text);
  const reportColumn = () => (several ? [{ title: "Report", value: (row) => (row.owner || row).report }] : []);
  const protocols = () => [...new Set(now.runs.map((run) => run.protocol))];

  // ---- drawings ----
  function ticks(low, high, count) {
    const rough = (high - low || 1) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
    const found = [];
    for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) found.push(Number(at.toPrecision(10)));
    return found;
  }

  const MOST = { "%": 100, "": 1 }; // by unit, of shares; others have none
  function plane(host, title, xs, ys, xlabel, ylabel, ratio = 0.62, most = Infinity) {
    const width = Math.max(280, Math.min(host.clientWidth || 640, 760));
    const height = Math.max(230, width * ratio);
    const box = { left: 64, right: width - 14, top: 14, bottom: height - 44 };
    const range = (values, limit) => {
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const pad = (high - low || Math.abs(high) || 1) * 0.05;
      return [low >= 0 && low < (high - low) * 0.6 ? 0 : low - pad, high > limit ? high + pad : Math.min(high + pad, limit)];
    };
    const [x0, x1] = range(xs, Infinity);
    const [y0, y1] = range(ys, most);
    const x = (value) => box.left + ((value - x0) / (x1 - x0)) * (box.right - box.left);
    const y = (value) => box.bottom - ((value - y0) / (y1 - y0)) * (box.bottom - box.top);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "application", tabindex: 0, "aria-roledescription": "chart", "aria-label": `${title}. Arrow keys go from value to value.`, style: `max-width:${width}px` });
    for (const at of ticks(x0, x1, width / 90)) {
      root.append(svg("line", { class: "grid", x1: x(at), x2: x(at), y1: box.top, y2: box.bottom }), svg("text", { x: x(at), y: box.bottom + 16, "text-anchor": "middle" }, String(at)));
    }
    for (const at of ticks(y0, y1, height / 50)) {
      root.append(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y(at), y2: y(at) }), svg("text", { x: box.left - 6, y: y(at) + 4, "text-anchor": "end" }, String(at)));
    }
    root.append(
      svg("path", { class: "axis", fill: "none", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` }),
      svg("text", { x: (box.left + box.right) / 2, y: height - 8, "text-anchor": "middle" }, xlabel),
      svg("text", { x: 0, y: 0, "text-anchor": "middle", transform: `translate(13 ${(box.top + box.bottom) / 2}) rotate(-90)` }, ylabel),
    );
    return { root, x, y, x0, x1, y0, y1, width };
  }

  function drawn(look, attributes) {
    const node = svg("path", attributes);
    node.style.setProperty("--c", look.color);
    if (attributes.class.includes("line") && look.dash) node.setAttribute("stroke-dasharray", look.dash);
    return node;
  }
  const marker = (look, at) => drawn(look, { class: "look solid", d: SHAPES[look.marker], transform: `translate(${at.x} ${at.y})` });

  // Points tell their label where the pointer is near, or where arrow keys lead.
  function explorable(root, points, width, pick) {
    const tip = $("tip");
    let at = -1;
    const order = points.map((_, i) => i).sort((a, b) => points[a].x - points[b].x || points[a].y - points[b].y);
    const ring = svg("circle", { class: "look", r: 8, visibility: "hidden" });
    ring.style.setProperty("--c", "#999933");
    root.append(ring);
    const hide = () => { tip.className = "unseen"; ring.setAttribute("visibility", "hidden"); };
    const tell = (index) => {
      at = index;
      const point = points[index];
      const box = root.getBoundingClientRect();
      const scale = box.width / width;
      fill(ring, { cx: point.x, cy: point.y, visibility: "visible" }, []);
      const here = points.filter((own) => own !== point && Math.hypot(own.x - point.x, own.y - point.y) < 1);
      const more = here.length > 2 ? [`and ${here.length - 2} more`] : [];
      tip.textContent = [point, ...here.slice(0, 2)].map((own) => own.label).concat(more).join("\n\n");
      tip.className = ""; // it is never without a box: a screen reader tells of changes
      const left = box.left + point.x * scale + 14;
      tip.style.left = `${Math.max(4, Math.min(left, innerWidth - tip.offsetWidth - 4))}px`;
      tip.style.top = `${Math.max(4, Math.min(box.top + point.y * scale + 14, innerHeight - tip.offsetHeight - 4))}px`;
    };
    const nearest = (event) => {
      const box = root.getBoundingClientRect();
      const scale = box.width / width;
      let [best, found] = [32, -1];
      points.forEach((point, i) => {
        const far = Math.hypot(point.x * scale - (event.clientX - box.left), point.y * scale - (event.clientY - box.top));
        if (far < best) [best, found] = [far, i];
      });
      return found;
    };
    root.addEventListener("pointermove", (event) => { const found = nearest(event); if (found < 0) hide(); else tell(found); });
    root.addEventListener("pointerleave", hide);
    root.addEventListener("blur", hide);
    root.addEventListener("click", (event) => { const found = nearest(event); if (found >= 0) { tell(found); pick?.(points[found]); } });
    root.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step && points.length) {
        event.preventDefault();
        const place = order.indexOf(at);
        tell(order[place < 0 ? 0 : (place + step + order.length) % order.length]);
      } else if (event.key === "Enter" && at >= 0) pick?.(points[at]);
      else if (event.key === "Escape") hide();
    });
  }

  // ---- sections ----
  function results() {
    const measure = chosen();
    const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = now.rows.filter((row) => row.measure === measure.key && row.subset === subset() && byProtocol(row)
      && !(row.owner?.badges || []).some((badge) => state.hidden.has(badge))
      && words.every((word) => [row.name, row.method, row.owner?.called, row.owner?.weights, row.report].join(" ").toLowerCase().includes(word)));
    const values = rows.map((row) => row.measured).filter(isNumber);
    const best = measure.lower ? Math.min(...values) : Math.max(...values);
    const one = (name) => ({ title: name[0].toUpperCase() + name.slice(1), number: true, lower: measure.lower, value: (row) => row[name], cell: (row) => number(row[name], measure.unit) });
    const used = (name) => rows.some((row) => row[name] !== null);
    const columns = [
      { title: "Run", value: (row) => (row.owner ? row.owner.label : row.row), cell: (row) => (row.owner ? runButton(row.owner) : row.row) },
      { title: "Method", value: (row) => (row.owner ? row.owner.called : row.method || "") },
      ...reportColumn(),
      ...(used("published") ? [one("published")] : []),
      { ...one("measured"), mark: (row) => (row.measured === best ? "best" : "") },
      ...(used("site") ? [one("site")] : []),
      ...(used("difference") ? [{ ...one("difference"), cell: (row) => (row.difference === null ? "" : signed(row.difference, measure.unit)), mark: (row) => (row.owner?.badges.length ? "weak" : "") }] : []),
      ...(used("low") ? [{ title: "95 % interval", number: true, value: (row) => row.low, cell: (row) => (row.low === null ? "" : `${number(row.low, measure.unit)} to ${number(row.high, measure.unit)}`) }] : []),
      ...(used("count") ? [{ title: "Count", number: true, value: (row) => row.count, cell: (row) => (row.count === null ? "" : `${row.count} of ${row.of}`) }] : []),
      { title: "Beware", value: (row) => (row.owner ? row.owner.badges.join(" ") : ""), cell: (row) => (row.owner?.badges.length ? el("span", null, badgesOf(row.owner)) : "") },
    ];
    const what = `${measure.title}${measure.unit && !measure.title.includes("[") ? ` [${measure.unit}]` : ""}, ${now.subsets.get(subset())}; ${measure.lower ? "less is better" : measure.cost ? "" : "more is better"}. ${rows.length} rows.`;
    if (rows.length) table("results", what, columns, rows, ["Measured", measure.lower ? 1 : -1]);
    else show("results", said("No row is of this."));
  }

  function lines() {
    const metric = chosen().metric;
    const found = new Map();
    for (const row of now.rows) {
      const measure = now.measures.get(row.measure);
      if (measure.metric !== metric || row.subset !== subset() || measure.threshold === null || !byProtocol(row)) continue;
      for (const source of ["measured", "published", "site"]) {
        if (row[source] === null || (source === "measured" && !runsShown().includes(row.owner))) continue;
        const known = now.runs.find((run) => run.method === row.method) || { color: "#7f7f7f" };
        const name = source === "published" ? `${row.owner ? row.owner.called : row.row}, published` : source === "site" ? `${row.name}, site` : row.name;
        const look = source === "measured" ? row.owner : { color: known.color, dash: "2 3", marker: "plus" };
        if (!found.has(name)) found.set(name, { name, source, look, values: new Map(), badges: row.owner?.badges || [] });
        found.get(name).values.set(measure.threshold, { value: row[source], measure, row });
      }
    }
    return [...found.values()].filter((line) => line.values.size > 2);
  }

  function curves() {
    const all = lines();
    if (!all.length) return show("curves", said("This measure has no thresholds to draw a curve over."));
    const top = (line) => Math.max(...[...line.values.values()].map((at) => at.value));
    all.sort((a, b) => (b.source === "measured") - (a.source === "measured") || top(b) - top(a));
    const key = `${now.name} ${$("protocol").value}`;
    if (!state.off.has(key)) {
      const measured = all.filter((line) => line.source === "measured");
      state.off.set(key, new Set(all.filter((line) => !measured.slice(0, 8).includes(line)).map((line) => line.name)));
    }
    const off = state.off.get(key);
    const host = $("curves");
    const drawnLines = all.filter((line) => !off.has(line.name));
    const unit = all[0].values.values().next().value.measure;
    const at = drawnLines.flatMap((line) => [...line.values.keys()]);
    const values = drawnLines.flatMap((line) => [...line.values.values()].map((each) => each.value));
    const points = [];
    const { root, x, y, width } = plane(host, `${unit.metric} over its threshold`, at.length ? at : [0, 1], [0, ...(values.length ? values : [1])],
      unit.angle === null ? `threshold${/\d ?(px|deg)\b/.test(unit.title) ? ` [${/\d ?(px|deg)\b/.exec(unit.title)[1]}]` : ""}` : "threshold of the position [m]", `${unit.metric.replace(/_/g, " ")}${unit.unit ? ` [${unit.unit}]` : ""}`, 0.62, MOST[unit.unit]);
    for (const line of drawnLines) {
      const sorted = [...line.values].sort((a, b) => a[0] - b[0]);
      const path = sorted.map(([t, { value }], i) => `${i ? "L" : "M"}${x(t)} ${y(value)}`).join("");
      root.append(drawn(line.look, { class: `look line ${line.source}`, d: path }));
      for (const [t, each] of sorted) {
        const point = { x: x(t), y: y(each.value), label: `${line.name}\n${each.measure.title}: ${number(each.value, unit.unit)}${each.row.low !== null && line.source === "measured" ? `\n95 %: ${number(each.row.low, unit.unit)} to ${number(each.row.high, unit.unit)}` : ""}${line.badges.length ? `\n${line.badges.join(", ")}` : ""}` };
        points.push(point);
        if (line.source === "measured") root.append(marker(line.look, point));
      }
    }
    explorable(root, points, width);
    const toggle = (names, on) => { names.forEach((name) => (on ? off.delete(name) : off.add(name))); curves(); };
    const of = (source) => all.filter((line) => line.source === source).map((line) => line.name);
    const buttons = ["measured", "published", "site"].filter((source) => of(source).length).flatMap((source) => [
      el("button", { type: "button", onclick: () => toggle(of(source), true) }, `All ${source}`),
      el("button", { type: "button", onclick: () => toggle(of(source), false) }, `No ${source}`),
    ]);
    const legend = all.map((line) => {
      const sample = svg("svg", { viewBox: "0 0 36 14", "aria-hidden": "true" }, drawn(line.look, { class: `look line ${line.source}`, d: "M1 7H35" }));
      if (line.source === "measured") sample.append(marker(line.look, { x: 18, y: 7 }));
      const box = el("input", { type: "checkbox", checked: !off.has(line.name), onchange: (event) => { toggle([line.name], event.target.checked); [...host.querySelectorAll("input")][all.indexOf(line)]?.focus(); } });
      return el("label", null, box, sample, line.name);
    });
    show("curves", root, el("div", { class: "controls" }, buttons), el("div", { class: "legend", role: "group", "aria-label": "Curves that are drawn" }, legend));
  }

  const eachMeasure = () => now.each.get($("each").value);
  const itemsOf = (name) => [...now.items.values()].filter((item) => !name || ![...now.items.values()].some((own) => own.subsets.has(name)) || item.subsets.has(name));
  const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const runById = (id) => now.runs.find((run) => run.id === id);

  function verdict(first, second, measure) {
    const at = (a, b) => now.compared.get([a.id, b.id, subset(), measure.title].join("\n"));
    const straight = at(first, second);
    const line = straight || at(second, first);
    const shown = now.each.get(chosen().title);
    if (!line && shown && shown !== measure && first !== second) return verdict(first, second, shown);
    if (first === second) return "This is one run twice.";
    if (!line) return several && first.report !== second.report ? "Runs of different reports: no interval of their difference is known here." : "These runs are of different protocols or data, or this measure is not compared in this subset.";
    const sign = straight ? 1 : -1;
    const [a, b] = straight ? [line.first_value, line.second_value] : [line.second_value, line.first_value];
    const wins = straight ? [line.first_wins, line.second_wins] : [line.second_wins, line.first_wins];
    const unit = measure.hits ? "%" : "";
    const start = `${measure.title}: ${number(a, unit)} and ${number(b, unit)}, difference ${signed(b - a, unit)}`;
    const count = `${first.label} is better in ${wins[0]} of ${line.items} ${plural(now.item)}, ${second.label} in ${wins[1]}.`;
    if (line.p === null) return `${start}. Too few ${plural(now.cluster)} (${line.clusters}) to tell whether that is chance. ${count}`;
    const ends = [sign * line.low, sign * line.high].sort((x, y) => x - y);
    const found = line.better === null ? "No difference shown" : `${(line.better === (straight ? 1 : 0) ? second : first).label} is better`;
    return `${found}. ${start} (95 %: ${signed(ends[0], unit)} to ${signed(ends[1], unit)}, p ${line.p < 0.001 ? "< 0.001" : `= ${line.p.toFixed(3)}`}). ${count}`;
  }

  function scatter() {
    const [first, second] = [runById($("first").value), runById($("second").value)];
    if (!first || !second || !now.each.size) { show("verdict"); return show("scatter", said("There are no two runs with results of each " + now.item + ".")); }
    const measure = eachMeasure();
    show("verdict", verdict(first, second, measure));
    const [a, b] = [first.values.get(measure.title), second.values.get(measure.title)];
    const both = itemsOf(subset()).filter((item) => isNumber(a?.get(item.name)) && isNumber(b?.get(item.name)));
    if (!both.length) return show("scatter", said("They share no " + now.item + " with a number."));
    const all = both.flatMap((item) => [a.get(item.name), b.get(item.name)]);
    const { root, x, y, x0, x1, y0, y1, width } = plane($("scatter"), `${measure.each} of each ${now.item}`, all, all, first.id, second.id, 0.75);
    const [from, to] = [Math.max(x0, y0), Math.min(x1, y1)];
    root.append(svg("line", { class: "diagonal", x1: x(from), y1: y(from), x2: x(to), y2: y(to) }));
    const points = both.map((item) => {
      const [u, v] = [a.get(item.name), b.get(item.name)];
      const better = u === v ? "circle" : (v > u) !== measure.lower ? "up" : "down";
      return { x: x(u), y: y(v), item: item.name, look: { color: better === "up" ? "#44AA99" : better === "down" ? "#CC6677" : "#999933", marker: better }, label: `${item.name}\n${first.label}: ${number(u)}\n${second.label}: ${number(v)}` };
    });
    points.forEach((point) => root.append(marker(point.look, point)));
    explorable(root, points, width, (point) => openItem(point.item));
    show("scatter", root, said(`Each mark is a ${now.item}: a triangle up where ${second.label} is better, down where ${first.label} is, a circle where they are equal. A click or Enter shows its numbers.${itemsOf(subset()).length > both.length ? " Those without a number in both runs are not drawn." : ""}`));
  }

  function openItem(name) {
    state.item = name;
    item();
    items();
    $("item").focus();
    $("item").scrollIntoView({ block: "nearest" });
  }

  function items() {
    const run = runById($("own").value);
    if (!run || !run.values.size) return show("items", said("This run has no results of each " + now.item + "."));
    const measure = eachMeasure();
    const [column, groups] = [run.values.get(measure.title) || new Map(), new Map()];
    const text = $("find").value.toLowerCase();
    for (const item of itemsOf(subset())) {
      if (!column.has(item.name) || !`${item.cluster} ${item.name}`.toLowerCase().includes(text)) continue;
      const own = groups.get(item.cluster) || { name: item.cluster, items: [] };
      own.items.push({ name: item.name, value: column.get(item.name) });
      groups.set(item.cluster, own);
    }
    const grouped = now.cluster !== now.item;
    const expanded = state.expanded.get(now.name) || state.expanded.set(now.name, new Set()).get(now.name);
    const worst = measure.lower ? -1 : 1;
    const bad = (value) => (isNumber(value) ? worst * value : -Infinity);
    const itemButton = (item) => el("button", { type: "button", class: "link", onclick: () => openItem(item.name) }, `${item.name}: ${isNumber(item.value) ? number(item.value) : "none"}${run.pictures.has(item.name) ? ", picture" : ""}`);
    const rows = [...groups.values()].map((group) => {
      const values = group.items.map((item) => item.value).filter(isNumber);
      group.items.sort((a, b) => bad(a.value) - bad(b.value));
      return { ...group, mean: values.length ? mean(values) : null, opened: grouped && expanded.has(group.name) };
    });
    const open = (row) => { if (!expanded.delete(row.name)) expanded.add(row.name); items(); [...$("items").querySelectorAll("[aria-expanded]")].find((button) => button.textContent === row.name)?.focus(); };
    const title = now.cluster[0].toUpperCase() + now.cluster.slice(1);
    table("items", `${measure.each} of ${run.label}, ${now.subsets.get(subset())}, the worst first.`, [
      { title, value: (row) => row.name, cell: (row) => (grouped ? el("button", { type: "button", class: "link", "aria-expanded": String(row.opened), onclick: () => open(row) }, row.name) : el("button", { type: "button", class: "link", onclick: () => openItem(row.items[0].name) }, row.name)) },
      { title: grouped ? `Mean of ${plural(now.item)}` : measure.each, number: true, lower: true, value: (row) => (row.mean === null && !grouped ? worst * -1e300 : row.mean), cell: (row) => (row.mean === null ? "none" : number(row.mean)) },
      ...(grouped ? [{ title: `Worst ${now.item}`, value: (row) => (isNumber(row.items[0].value) ? row.items[0].value : null), cell: (row) => el("div", null, (row.opened ? row.items : row.items.slice(0, 1)).map((item) => el("div", null, itemButton(item)))) }] : []),
    ], rows, [grouped ? `Mean of ${plural(now.item)}` : measure.each, worst]);
  }

  // The picture of the chosen run, or why there is none, then those of others.
  function pictures(name, own) {
    const drawn = now.runs.filter((run) => byProtocol(run) && run.pictures.has(name)).sort((a, b) => (b === own) - (a === own));
    const lacking = !own || drawn[0] === own ? "" : own.pictures.size ? `Only some of the worst and best ${plural(now.item)} of ${own.label} have a picture here${own.unpictured ? ` (${own.unpictured})` : ""}.`
      : `No picture of ${own.label}: ${own.unpictured || "none was made for this page"}.`;
    return el("div", null,
      drawn.map((run) => el("figure", null, el("img", { src: run.pictures.get(name), alt: `What ${run.id} found of ${name}`, loading: "lazy" }), el("figcaption", { class: "note" }, run.id))),
      el("p", { class: "note" }, lacking, lacking ? " " : "", "Larger, where images and features are: ", el("code", null, shell(["d2eval", "view", now.name, "--run", own?.label || "", `--${now.item}`, name]))));
  }

  function item() {
    const name = state.item;
    $("item").hidden = !now.items.has(name);
    if ($("item").hidden) return;
    const why = now.reasons.filter((each) => each.name === name);
    const measures = [...now.each.values()];
    const rows = now.runs.filter((run) => byProtocol(run) && [...run.values.values()].some((column) => column.has(name)));
    const valueOf = (measure, value) => (measure.hits && isNumber(value) ? (value ? "yes" : "no") : number(value));
    const failed = (run) => why.find((each) => each.run === run)?.why;
    show("item",
      el("h3", null, `${now.item[0].toUpperCase()}${now.item.slice(1)} ${name}`),
      pictures(name, runById($("own").value)),
      el("div", { class: "scroll" }, el("table", null,
        el("caption", null, "What each run has of it. An error that is missing is that of a failure."),
        el("thead", null, el("tr", null, el("th", { scope: "col" }, "Run"), measures.map((measure) => el("th", { scope: "col", class: "number" }, measure.each)), why.length ? el("th", { scope: "col" }, "Why it failed") : null)),
        el("tbody", null, rows.map((run) => el("tr", { class: run.id === $("own").value ? "open" : null }, el("th", { scope: "row" }, runButton(run, run.id)),
          measures.map((measure) => el("td", { class: "number" }, valueOf(measure, run.values.get(measure.title)?.get(name)))), why.length ? el("td", null, failed(run) || "") : null))))));
  }

  const COSTS = [["seconds", "seconds an image"], ["memory_mib", "peak memory [MiB]"], ["descriptor_mb", "descriptors [MB an image]"]];

  // What of the data a run is of, by its content, and in words.
  const dataOf = (run) => `${run.dataset} ${run.manifest.dataset?.fingerprint ?? ""}`;
  function dataTitles(runs) {
    const first = [...new Map(runs.map((run) => [dataOf(run), run]).reverse()).values()].reverse();
    const part = (run) => run.dataset.replace(/^partial \((.*)\)$/, "$1");
    return new Map(first.map((run) => {
      const same = first.some((other) => other !== run && other.dataset === run.dataset);
      const clusters = [...new Set([...now.items.values()].filter((item) => [...run.values.values()].some((column) => isNumber(column.get(item.name)))).map((item) => item.cluster))];
      const names = same || clusters.length < 4 ? `: ${clusters.slice(0, 3).join(", ")}${clusters.length > 3 ? ` and ${clusters.length - 3} more` : ""}` : "";
      return [dataOf(run), part(run) + (clusters.length ? names : "")];
    }));
  }

  // Runs share an axis where they are of the same data; for time and memory, of the same machine and
  // device, too. All others have a drawing of their own.
  function choices(select, keys, titles = new Map()) {
    const counts = new Map();
    keys.forEach((key) => counts.set(key, (counts.get(key) || 0) + 1));
    const list = [...counts].sort((a, b) => b[1] - a[1]).map(([key, count]) => [key, `${titles.get(key) ?? key} (${count})`]);
    options(select, list, list[0]?.[0]);
    return list.length;
  }

  function cost() {
    const kinds = COSTS.filter(([kind]) => runsShown().some((run) => isNumber(run.costs[kind])));
    options("costs", kinds.length ? kinds : COSTS);
    const key = $("costs").value;
    const measure = chosen();
    const known = runsShown().map((run) => ({ run, u: run.costs[key], v: now.rows.find((row) => row.owner === run && row.measure === measure.key && row.subset === subset())?.measured }))
      .filter((point) => isNumber(point.u) && isNumber(point.v));
    const titles = dataTitles(known.map(({ run }) => run));
    $("cost-data-label").hidden = choices("cost-data", known.map(({ run }) => dataOf(run)), titles) < 2;
    const all = known.filter(({ run }) => dataOf(run) === $("cost-data").value);
    const machines = choices("machine", all.map(({ run }) => run.machine));
    const anywhere = key === "descriptor_mb";
    $("machine-label").hidden = anywhere || machines < 2;
    const points = all.filter(({ run }) => anywhere || run.machine === $("machine").value);
    const lacking = runsShown().length - known.length;
    const lack = lacking ? ` ${lacking} of ${runsShown().length} runs don't say both numbers.` : "";
    if (!points.length) return show("cost", said("No run has both numbers."));
    const elsewhere = known.length - all.length;
    const data = ` On the same data: ${titles.get($("cost-data").value)}.${elsewhere ? ` ${elsewhere} ${elsewhere > 1 ? "runs" : "run"} of other data not drawn here: choose theirs.` : ""}`;
    const title = COSTS.find((each) => each[0] === key)[1];
    const { root, x, y, width } = plane($("cost"), `${measure.title} over ${title}`, [0, ...points.map((point) => point.u)], points.map((point) => point.v), title, measure.title, 0.62, MOST[measure.unit]);
    const marks = points.map(({ run, u, v }) => ({ x: x(u), y: y(v), run, label: `${run.id}\n${title}: ${number(u)}\n${measure.title}: ${number(v, measure.unit)}` }));
    const placed = [];
    for (const mark of marks) {
      root.append(marker(mark.run, mark));
      const right = mark.x < width * 0.6;
      const long = 7 * mark.run.id.length + 12;
      const [from, to] = right ? [mark.x, mark.x + long] : [mark.x - long, mark.x];
      const free = placed.every((other) => Math.abs(other.y - mark.y) > 13 || other.to < from || other.from > to);
      if (points.length <= 16 && free) root.append(svg("text", { x: mark.x + (right ? 9 : -9), y: mark.y + 4, "text-anchor": right ? "start" : "end" }, mark.run.id));
      if (points.length <= 16 && free) placed.push({ y: mark.y, from, to });
    }
    explorable(root, marks, width, (mark) => details(mark.run));
    const others = all.length - points.length;
    const where = anywhere ? "The same on every machine." : `On ${$("machine").value}.${$("machine").value.endsWith("not said") ? " Which machine that was these runs don't say: they may be of several." : ""}${others ? ` ${others} runs of other machines or devices are not drawn here: choose theirs.` : ""}`;
    return show("cost", root, said(`${where}${data}${lack}`));
  }

  function failures() {
    const shown = new Set(runsShown());
    const rows = now.reasons.filter((each) => shown.has(each.run)).map((each) => ({ ...each, owner: each.run }));
    if (!rows.length) return show("failures", said(`No run of these says of a ${now.item} why it failed.`));
    return table("failures", `${rows.length} ${rows.length > 1 ? plural(now.item) : now.item} without a result.`, [
      { title: "Run", value: (row) => row.run.label, cell: (row) => runButton(row.run) },
      ...reportColumn(),
      { title: now.item[0].toUpperCase() + now.item.slice(1), value: (row) => row.name, cell: (row) => (now.items.has(row.name) ? el("button", { type: "button", class: "link", onclick: () => openItem(row.name) }, row.name) : row.name) },
      { title: "Reason", value: (row) => row.why },
    ], rows, ["Run", 1]);
  }

  function details(run) {
    const close = el("button", { type: "button", onclick: () => $("details").close() }, "Close");
    const facts = { Method: run.called, Report: run.report, Data: run.dataset, Weights: run.weights, Protocol: `${run.protocol}, SHA-256 ${run.protocol_sha256 || "not known"}`, "Device and machine": run.machine, Finished: String(run.manifest.finished ?? "not known") };
    show("details", close, el("h2", { id: "details-title" }, run.label), el("p", null, badgesOf(run)),
      el("dl", null, Object.entries(facts).flatMap(([name, value]) => [el("dt", null, name), el("dd", null, value)])),
      el("h3", null, "Command"), el("pre", null, shell(run.command)),
      el("h3", null, "Manifest"), el("pre", { tabindex: 0, "aria-label": "Manifest" }, JSON.stringify(run.manifest, null, 1)));
    $("details").showModal();
    close.focus();
    $("details").scrollTop = 0;
  }

  function runs() {
    const hashes = new Map();
    now.runs.forEach((run) => hashes.set(run.protocol, (hashes.get(run.protocol) || new Set()).add(run.protocol_sha256)));
    table("runs", "Each run has its manifest behind its name.", [
      { title: "Run", value: (run) => run.label, cell: (run) => runButton(run) },
      ...(several ? [{ title: "Report", value: (run) => run.report }] : []),
      { title: "Protocol", value: (run) => run.protocol, cell: (run) => `${run.protocol}${hashes.get(run.protocol).size > 1 ? ` ${run.protocol_sha256.slice(0, 8)}` : ""}` },
      { title: "Data", value: (run) => run.dataset },
      { title: "Weights", value: (run) => run.weights },
      { title: "Device and machine", value: (run) => run.machine },
    ], now.runs.filter(byProtocol), ["Run", 1]);
    const differing = [...hashes].filter(([, own]) => own.size > 1).map(([name]) => name);
    $("runs").append(said(`${hashes.size > 1 ? `${hashes.size} protocols: ${[...hashes.keys()].join(", ")}. Numbers of different protocols don't compare. ` : ""}${differing.length ? `Runs of ${differing.join(", ")} were made by different numbers of the protocol: their hashes differ.` : ""}`));
  }

  function copy() {
    show("copy", ...now.texts.map(([title, text]) => {
      const area = el("textarea", { readonly: true, "aria-label": title, spellcheck: "false" });
      area.value = text;
      const done = el("span", { role: "status" });
      const button = el("button", { type: "button", onclick: async () => {
        area.select();
        try { await navigator.clipboard.writeText(text); } catch { document.execCommand("copy"); }
        done.textContent = " Copied.";
      } }, "Copy");
      return el("details", null, el("summary", null, title), el("p", null, button, done), area);
    }));
  }

  // ---- all of it ----
  function warnings() {
    const counts = new Map();
    now.runs.forEach((run) => run.badges.forEach((badge) => counts.set(badge, (counts.get(badge) || 0) + 1)));
    const words = [...counts].map(([badge, count]) => `${count === now.runs.length ? "all" : count} of ${now.runs.length} runs: ${badge}`);
    show("warnings", words.length ? `Not the benchmark's own numbers: ${words.join("; ")}.` : "");
    show("badges", el("legend", null, "Show"), ...[...counts.keys()].map((badge) => el("label", null, el("input", {
      type: "checkbox", checked: !state.hidden.has(badge),
      onchange: (event) => { if (event.target.checked) state.hidden.delete(badge); else state.hidden.add(badge); render(); },
    }), badge)));
    $("badges").hidden = !counts.size;
  }

  function choose(name) {
    now = benchmarks.get(name);
    state.sort.clear();
    state.item = null;
    state.hidden.clear();
    ["filter", "find"].forEach((id) => { $(id).value = ""; });
    show("benchmarks", ...[...benchmarks.keys()].map((each) => el("button", { type: "button", "aria-pressed": String(each === name), onclick: () => { choose(each); $("benchmarks").querySelector("[aria-pressed=true]").focus(); } }, each)));
    document.querySelectorAll(".item").forEach((node) => { node.textContent = now.item; });
    const list = [...now.measures.values()];
    const counts = (metric) => list.filter((each) => each.metric === metric).length;
    const main = list.find((each) => each.title === now.main) || [...list].sort((a, b) => counts(b.metric) - counts(a.metric))[0];
    options("measure", list.map((each) => [each.key, each.title]), main?.key);
    options("subset", [...now.subsets], [...now.subsets.keys()][0]);
    const kinds = protocols();
    options("protocol", kinds.length > 1 ? kinds.map((each) => [each, each]) : [["", "all"]], kinds[0]);
    $("protocol-label").hidden = kinds.length < 2;
    options("each", [...now.each.keys()].map((title) => [title, now.each.get(title).each]), now.each.has(now.main) ? now.main : undefined);
    warnings();
    chooseRuns();
    copy();
    render();
  }

  function chooseRuns() {
    const measure = chosen();
    const value = (run) => now.rows.find((row) => row.owner === run && row.measure === measure.key && row.subset === subset())?.measured ?? -Infinity;
    const list = now.runs.filter((run) => byProtocol(run) && run.values.size);
    const order = [...list].sort((a, b) => (measure.lower ? -1 : 1) * (value(b) - value(a)));
    const titles = list.map((run) => [run.id, run.id]);
    options("first", titles, order[1]?.id);
    options("second", titles, order[0]?.id);
    options("own", titles, order[0]?.id);
  }

  function render() {
    $("tip").className = "unseen";
    results(); curves(); scatter(); items(); item(); cost(); failures(); runs();
  }
  const on = (id, event, what) => $(id).addEventListener(event, what);
  ["measure", "subset"].forEach((id) => on(id, "change", render));
  on("protocol", "change", () => { chooseRuns(); render(); });
  on("filter", "input", results);
  ["first", "second"].forEach((id) => on(id, "change", scatter));
  on("each", "change", () => { scatter(); items(); });
  on("swap", "click", () => { [$("first").value, $("second").value] = [$("second").value, $("first").value]; scatter(); });
  on("own", "change", () => { items(); item(); });
  on("find", "input", items);
  ["costs", "cost-data", "machine"].forEach((id) => on(id, "change", cost));
  let [timer, width] = [null, innerWidth];
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; clearTimeout(timer); timer = setTimeout(render, 150); } });
  if (benchmarks.size) choose([...benchmarks.keys()][0]);
})();
