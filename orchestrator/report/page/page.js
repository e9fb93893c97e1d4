"use strict";
// The table of all targets: it draws the rows in sight, and keeps what it shows in the page's address.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const [find, list, all, one] = [by("find"), by("list"), by("all"), by("one")];
  const body = list.querySelector("tbody"), table = list.querySelector("table");
  const numbers = [...document.querySelectorAll("#numbers button")];
  const heads = [...list.querySelectorAll("th")];
  const ROW = 33, SPARE = 8;
  const count = data.rows;
  const at = (column, row) => (Array.isArray(data[column]) ? data[column][row] : data[column]);
  const mark = (row) => data.marks[at("mark", row)];
  const rows = Array.from({ length: count }, (_, row) => row);
  let fit = rows, drawn = "", asked = {}, texts = null, keys = {};

  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const duration = (seconds) => {
    if (seconds < 0) return "";
    const step = seconds < 120 ? 1 : seconds < 86400 ? 60 : 3600, parts = seconds / step;
    let whole = (parts % 1 === 0.5 ? 2 * Math.round(parts / 2) : Math.round(parts)) * step; // as Python rounds
    const shown = UNITS.filter(([size]) => whole >= size).slice(0, 2).map(([size, unit]) => {
      const number = Math.floor(whole / size);
      whole %= size;
      return number ? `${number.toLocaleString("en")} ${unit}` : "";
    });
    return shown.filter(Boolean).join(" ") || "0 s";
  };
  const repo = (row) => data.id[row].replace(data.prefix ? "" : /^[^:]*:/, "").split(/[@[#]/)[0];
  const url = (row) => data.urls[at("url", row)].replace("\u0001", () => repo(row)).replace("\u0002", () => at("key", row));
  const make = (name, kind, text) => {
    const element = document.createElement(name);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const link = (row, text) => {
    const made = make("a", "", text);
    made.href = url(row);
    made.rel = "noopener noreferrer";
    return made;
  };
  const shownMark = (row) => {
    const [, word, symbol, meaning] = mark(row);
    const sign = make("span", `i ${meaning}`, symbol);
    sign.setAttribute("aria-hidden", "true");
    return [sign, make("span", "word", ` ${word}`)];
  };
  const buildOf = (row) => (at("build", row) ? `#${at("build", row)}` : "page");

  const line = (row, number) => {
    const made = make("tr");
    made.setAttribute("aria-rowindex", number + 2);
    const cell = (kind, ...content) => made.appendChild(make("td", kind)).append(...content);
    cell("mark", ...shownMark(row));
    const name = make("bdi"), to = make("a", "quiet", data.id[row]);
    to.href = `#t=${encodeURIComponent(data.prefix + data.id[row])}`;
    name.append(to);
    const labels = data.labels[at("label", row)];
    cell("id", name, ...(labels ? [make("span", "label", labels)] : []));
    cell("text", make("bdi", "", data.texts[at("text", row)]));
    if (heads.length > 6) cell("wave number", at("wave", row));
    cell("queued number", duration(at("queued", row)));
    cell("ran number", duration(at("ran", row)));
    cell("build number", url(row) ? link(row, buildOf(row)) : at("build", row) && `#${at("build", row)}`);
    return made;
  };
  const draw = () => {
    all.style.height = `${(fit.length + 1) * ROW}px`;
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
    const last = Math.min(fit.length, first + Math.ceil(list.clientHeight / ROW) + 2 * SPARE);
    if (drawn === `${first} ${last}`) return;
    drawn = `${first} ${last}`;
    all.style.paddingTop = `${first * ROW}px`;
    body.replaceChildren(...fit.slice(first, last).map((row, number) => line(row, first + number)));
  };

  // Values to sort by: numbers in texts count as numbers.
  const natural = (text) => text.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(12, "0"));
  const value = {
    mark: (row) => at("mark", row),
    id: (row) => natural(data.id[row]),
    text: (row) => natural(data.texts[at("text", row)]),
    build: (row) => natural(at("build", row)),
  };
  const sorted = (column) => {
    if (!keys[column]) {
      const of = rows.map(value[column] || ((row) => at(column, row)));
      keys[column] = Array.from(rows).sort((a, b) => (of[a] < of[b] ? -1 : of[a] > of[b] ? 1 : a - b));
    }
    return keys[column];
  };
  const haystack = (row) =>
    [data.id[row], data.texts[at("text", row)], mark(row)[1], data.labels[at("label", row)], `#${at("build", row)}`].join(" ").toLowerCase();

  const filtered = () => {
    const words = (asked.q || "").toLowerCase().split(/\s+/).filter(Boolean);
    const marks = new Set((asked.o || "").split(",").filter(Boolean));
    const column = (asked.s || "").replace("-", "");
    let order = heads.some((head) => head.firstElementChild.dataset.sort === column) ? sorted(column) : rows;
    if (asked.s && asked.s[0] === "-") order = Array.from(order).reverse();
    if (!words.length && !marks.size && asked.c === undefined) return order;
    if (words.length && !texts) texts = rows.map(haystack);
    const right = data.marks.map((each) => !marks.size || marks.has(each[0]));
    return Array.from(order).filter(
      (row) =>
        right[at("mark", row)] &&
        (asked.c === undefined || at("group", row) === Number(asked.c)) &&
        words.every((word) => texts[row].includes(word)),
    );
  };
  const showOne = () => {
    const row = asked.t === undefined ? -1 : data.id.findIndex((id) => data.prefix + id === asked.t);
    one.hidden = asked.t === undefined;
    if (one.hidden) return;
    if (row < 0) return one.replaceChildren(make("p", "", `${asked.t} is no target here`));
    const title = make("h3"), name = make("bdi", "", data.id[row]), more = make("p", "soft");
    title.append(...shownMark(row), "  ", name);
    const parts = [["queued", at("queued", row)], ["ran", at("ran", row)]].filter((part) => part[1] >= 0);
    more.append(parts.map((part) => `${part[0]} ${duration(part[1])}`).join(", "));
    if (url(row)) more.append(parts.length ? "  ·  " : "", link(row, at("build", row) ? `build ${at("build", row)} ↗` : "its page ↗"));
    const typed = `'${asked.t.replaceAll("'", "'\\''")}'`;
    const command = make("pre", "command");
    command.append(make("code", "", `orchestrator why ${data.run} ${/^[\w@%+=:,./-]+$/.test(asked.t) ? asked.t : typed}${data.suffix}`));
    one.replaceChildren(title, make("p", "", data.texts[at("text", row)]), more, command);
  };
  const show = () => {
    fit = filtered();
    drawn = "";
    list.scrollTop = 0;
    table.setAttribute("aria-rowcount", fit.length + 1);
    draw();
    const whole = `${count.toLocaleString("en")} target${count === 1 ? "" : "s"}`;
    by("shown").textContent = fit.length === count ? whole : `${fit.length.toLocaleString("en")} of ${whole}`;
    by("clear").hidden = fit.length === count && asked.t === undefined;
    const marks = (asked.o || "").split(",");
    for (const each of numbers) each.setAttribute("aria-pressed", each.dataset.marks.split(",").every((word) => marks.includes(word)));
    for (const head of heads) {
      head.removeAttribute("aria-sort");
      const column = head.firstElementChild.dataset.sort;
      if (asked.s === column || asked.s === `-${column}`) head.setAttribute("aria-sort", asked.s === column ? "ascending" : "descending");
    }
    if (find.value !== (asked.q || "")) find.value = asked.q || "";
    showOne();
  };

  // What is shown stands behind the `#`: q words, o outcomes, c a cause, s a column (- descending), t one target.
  const read = () => {
    asked = Object.fromEntries([...new URLSearchParams(location.hash.slice(1))].filter(([name]) => "qocst".includes(name)));
    show();
  };
  const ask = (changes) => {
    asked = { ...asked, ...changes };
    for (const name of Object.keys(asked)) if (!asked[name]) delete asked[name];
    const hash = Object.entries(asked).map(([name, text]) => `${name}=${encodeURIComponent(text).replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%3A", ":").replaceAll("%40", "@")}`);
    history.replaceState(null, "", hash.length ? `#${hash.join("&")}` : location.pathname + location.search);
    show();
  };
  const clear = () => ask({ q: "", o: "", c: "", t: "" });

  for (const each of numbers)
    each.addEventListener("click", () => {
      const own = each.dataset.marks.split(","), had = (asked.o || "").split(",").filter(Boolean);
      const left = had.filter((word) => !own.includes(word));
      ask({ o: (each.getAttribute("aria-pressed") === "true" ? left : [...left, ...own]).join(",") });
    });
  for (const head of heads)
    head.firstElementChild.addEventListener("click", (event) => {
      const column = event.currentTarget.dataset.sort;
      ask({ s: asked.s === column ? `-${column}` : asked.s === `-${column}` ? "" : column });
    });
  find.addEventListener("input", () => ask({ q: find.value }));
  by("clear").addEventListener("click", clear);
  list.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  addEventListener("resize", draw);
  addEventListener("hashchange", () => {
    read();
    if (location.hash) by("targets").scrollIntoView();
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) {
      event.preventDefault();
      find.focus();
    } else if (event.key === "Escape") clear();
  });
  list.hidden = by("search").hidden = false;
  read();
  if (location.hash) by("targets").scrollIntoView();
})();
