
"use strict";
// What all pages can do beside being read: values of charts beside the pointer, a slider over the
// time steps, lines to hide. Without it every page says the same, at its last step.
//
//   svg[data-readings]      values at a pointer, a finger or the arrow keys (report/readings.py)
//   button[data-toggle]     hides and shows the elements whose ids it names, and their values
//   .stepper, #steps        a slider; #steps holds {"stops", "texts", "shares"} as JSON
//   [data-at="key"]         its text is texts[key] at the chosen step
//   [data-share="key"]      its --share, a width, is shares[key] at the chosen step
//   [data-step="4"]         marked where it is the chosen step, or the last before it
(() => {
  const MOST = 8; // lines that a tip tells of at once
  const make = (name) => Object.assign(document.createElement("div"), { className: name });
  const tip = make("tip");
  let owner = null; // the chart whose values it shows
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.append(tip);
  const charts = [];

  // --- values of charts ---------------------------------------------------------------------

  function stations(panel) {
    const found = new Map();
    for (const line of panel.lines) {
      line.x.forEach((x, i) => {
        const key = Math.round(2 * x);
        const at = found.get(key) || found.get(key - 1) || found.get(key + 1);
        const station = at || { x, title: `${panel.x} ${line.at[i]}`.trim(), rows: [], panel };
        if (!at) found.set(key, station);
        station.rows.push({ id: line.id, name: line.name, is: line.is[i], y: line.y[i] });
      });
    }
    const sorted = [...found.values()].sort((a, b) => a.x - b.x);
    for (const mark of panel.marks) {
      const [left, top, right, bottom] = mark.box;
      sorted.push({
        x: right, panel, box: mark.box, title: mark.name,
        rows: [{ name: mark.of || panel.x, is: mark.is, y: (top + bottom) / 2 }],
      });
    }
    const grid = panel.grid;
    if (grid) {
      grid.rows.forEach((row, r) => grid.columns.forEach((column, c) => sorted.push({
        x: (grid.xs[c] + grid.xs[c + 1]) / 2, panel, title: row,
        box: [grid.xs[c], grid.ys[r], grid.xs[c + 1], grid.ys[r + 1]],
        rows: [{ name: `${panel.x} ${column}`, is: grid.is[r][c], y: (grid.ys[r] + grid.ys[r + 1]) / 2 }],
      })));
    }
    return sorted;
  }

  class Chart {
    constructor(svg) {
      this.svg = svg;
      const [, , width, height] = svg.getAttribute("viewBox").split(/\s+/).map(Number);
      Object.assign(this, { width, height, at: -1 });
      this.panels = JSON.parse(svg.dataset.readings);
      this.stations = this.panels.flatMap(stations);
      this.layer = make("drawing");
      svg.replaceWith(this.layer);
      this.layer.append(svg);
      this.cursors = this.panels.map((panel) => {
        const cursor = make("cursor");
        cursor.hidden = true;
        this.layer.append(cursor);
        return cursor;
      });
      this.dots = make("dots");
      this.layer.append(this.dots);
      svg.tabIndex = 0;
      svg.addEventListener("pointermove", (event) => this.point(event));
      svg.addEventListener("pointerdown", (event) => this.point(event));
      svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.hide());
      svg.addEventListener("keydown", (event) => this.key(event));
      svg.addEventListener("blur", () => this.hide());
    }
    shown(station) {
      return station.rows.filter((row) => !row.id || !hiddenIds.has(row.id));
    }
    point(event) {
      const box = this.svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * this.width;
      const y = ((event.clientY - box.top) / box.height) * this.height;
      const away = (low, value, high) => Math.max(low - value, 0, value - high);
      let best = -1, least = Infinity;
      this.stations.forEach((station, i) => {
        const [left, top, right, bottom] = station.panel.box;
        const outside = 1e4 * (away(left - 12, x, right + 12) + away(top - 12, y, bottom + 12));
        let gap;
        if (station.box) {
          const [l, t, r, b] = station.box;
          gap = away(t, y, b) * 10 + away(l, x, r);
        } else {
          const rows = this.shown(station);
          if (!rows.length) return;
          gap = Math.hypot(x - station.x, 0.2 * Math.min(...rows.map((row) => Math.abs(row.y - y))));
        }
        if (gap + outside < least) [best, least] = [i, gap + outside];
      });
      if (best >= 0 && least < 1e4) this.show(best, y);
      else this.hide();
    }
    key(event) {
      const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
      const last = this.stations.length - 1;
      let to = this.at, way = 1;
      if (event.key === "Escape") return this.hide();
      if (event.key === "Home") to = 0;
      else if (event.key === "End") [to, way] = [last, -1];
      else if (!(event.key in moves)) return;
      else if (this.at < 0) to = 0;
      else [to, way] = [this.at + moves[event.key], Math.sign(moves[event.key])];
      event.preventDefault();
      to = Math.min(Math.max(to, 0), last);
      while (to >= 0 && to <= last && !this.shown(this.stations[to]).length) to += way;
      if (to >= 0 && to <= last) this.show(to);
    }
    show(number, y) {
      const station = this.stations[number];
      let rows = this.shown(station);
      if (!rows.length) return this.hide();
      this.at = number;
      if (y !== undefined) rows = [...rows].sort((a, b) => Math.abs(a.y - y) - Math.abs(b.y - y));
      const rest = rows.length - MOST;
      rows = rows.slice(0, MOST);
      const line = (name, is) => {
        const row = make("row");
        row.append(Object.assign(document.createElement("span"), { textContent: name }));
        row.append(Object.assign(document.createElement("b"), { textContent: is }));
        return row;
      };
      const title = make("head");
      const panel = station.panel;
      title.textContent = [panel.title, station.title].filter(Boolean).join(": ");
      tip.replaceChildren(title, ...rows.map((row) => line(row.name, row.is)));
      if (rest > 0) tip.append(line(`and ${rest} more`, ""));
      if (!station.box) tip.append(...panel.levels.map((level) => line(level.name, level.is)));
      this.dots.replaceChildren(...rows.map((row) => {
        const dot = make("dot");
        dot.style.left = `${(100 * station.x) / this.width}%`;
        dot.style.top = `${(100 * row.y) / this.height}%`;
        return dot;
      }));
      this.place(station.x, rows[0].y);
    }
    place(x, y) {
      tip.hidden = false;
      owner = this;
      const box = this.svg.getBoundingClientRect();
      const left = box.left + (x / this.width) * box.width;
      const top = box.top + (y / this.height) * box.height;
      const wide = tip.offsetWidth, high = tip.offsetHeight;
      const room = document.documentElement.clientWidth;
      const beside = left + 14 + wide <= room ? left + 14 : left - 14 - wide;
      tip.style.left = `${Math.min(Math.max(beside, 4), Math.max(4, room - wide - 4))}px`;
      tip.style.top = `${Math.max(4, top - high - 12 > 4 ? top - high - 12 : top + 14)}px`;
    }
    hide() {
      this.at = -1;
      if (owner === this) tip.hidden = true;
      this.dots.replaceChildren();
    }
    step(step) {
      this.panels.forEach((panel, i) => {
        if (!/^time steps?$/.test(panel.x)) return;
        const cursor = this.cursors[i], [left, top, right, bottom] = panel.box;
        let from, to;
        if (panel.grid) {
          const column = panel.grid.columns.findLastIndex((name) => Number(name) <= step);
          [from, to] = [panel.grid.xs[Math.max(column, 0)], panel.grid.xs[Math.max(column, 0) + 1]];
        } else {
          const scale = panel.log ? Math.log : (value) => value;
          const [low, high] = panel.limits.map(scale);
          from = to = left + ((scale(step) - low) / (high - low)) * (right - left);
        }
        cursor.classList.toggle("column", Boolean(panel.grid));
        cursor.hidden = from < left - 1 || to > right + 1;
        cursor.style.left = `${(100 * from) / this.width}%`;
        cursor.style.width = `${(100 * (to - from)) / this.width}%`;
        cursor.style.top = `${(100 * top) / this.height}%`;
        cursor.style.height = `${(100 * (bottom - top)) / this.height}%`;
      });
    }
  }

  const hiddenIds = new Set();
  for (const svg of document.querySelectorAll("svg[data-readings]")) charts.push(new Chart(svg));
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("svg[data-readings]")) charts.forEach((chart) => chart.hide());
  });
  addEventListener("scroll", () => charts.forEach((chart) => chart.hide()), { passive: true });

  // --- lines to hide ------------------------------------------------------------------------

  const buttons = [...document.querySelectorAll("button[data-toggle]")];
  const idsOf = (button) => button.dataset.toggle.split(/\s+/);
  const press = () => { // two buttons may name the same line: one is pressed while any of its own shows
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(idsOf(button).some((id) => !hiddenIds.has(id))));
    }
  };
  for (const button of buttons) {
    button.hidden = false;
    const set = (on) => {
      for (const id of idsOf(button)) {
        hiddenIds[on ? "delete" : "add"](id);
        document.getElementById(id)?.style.setProperty("display", on ? "" : "none");
      }
    };
    set(button.getAttribute("aria-pressed") !== "false");
    button.addEventListener("click", () => {
      set(button.getAttribute("aria-pressed") === "false");
      press();
    });
  }

  // --- a slider over the time steps -----------------------------------------------------------

  const stepper = document.querySelector(".stepper"), data = document.getElementById("steps");
  if (stepper && data) {
    const { stops, texts, shares } = JSON.parse(data.textContent);
    const range = stepper.querySelector("input");
    const marked = [...document.querySelectorAll("[data-step]")];
    const set = (place) => {
      const step = stops[place];
      for (const element of document.querySelectorAll("[data-at]")) {
        const known = texts[element.dataset.at];
        if (known) element.textContent = known[place];
      }
      for (const element of document.querySelectorAll("[data-share]")) {
        const known = shares[element.dataset.share];
        if (known) element.style.setProperty("--share", known[place]);
      }
      const past = marked.map((row) => Number(row.dataset.step)).filter((at) => at <= step);
      const nearest = Math.max(...past);
      for (const row of marked) row.classList.toggle("now", Number(row.dataset.step) === nearest);
      for (const chart of charts) chart.step(step);
      range.setAttribute("aria-valuetext", String(step));
    };
    range.max = stops.length - 1;
    range.value = stops.length - 1;
    range.addEventListener("input", () => set(Number(range.value)));
    stepper.hidden = stops.length < 2;
    document.body.classList.toggle("stepped", stops.length > 1);
    set(stops.length - 1);
  }
})();
