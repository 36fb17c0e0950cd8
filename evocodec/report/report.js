// Hover over charts, and tabs for metrics. Without it every chart and table is simply shown.
(function () {
  "use strict";
  var REACH = 30; // pixels from a point that still mean it
  var tip = document.createElement("div");
  tip.id = "tip";
  document.body.appendChild(tip);

  function nearest(dots, x, y) {
    var best = null;
    var least = REACH * REACH;
    dots.forEach(function (dot) {
      var box = dot.getBoundingClientRect();
      var dx = box.left + box.width / 2 - x;
      var dy = box.top + box.height / 2 - y;
      if (dx * dx + dy * dy < least) {
        least = dx * dx + dy * dy;
        best = dot;
      }
    });
    return best;
  }

  function place(x, y) {
    var left = Math.min(x + 14, innerWidth - tip.offsetWidth - 4);
    var below = y + 18;
    var fits = below + tip.offsetHeight < innerHeight;
    tip.style.left = Math.max(4, left) + "px";
    tip.style.top = (fits ? below : y - 12 - tip.offsetHeight) + "px";
  }

  document.querySelectorAll("svg.chart").forEach(function (svg) {
    var dots = Array.from(svg.querySelectorAll("circle"));
    var groups = Array.from(svg.querySelectorAll("g"));
    svg.addEventListener("pointermove", function (event) {
      var dot = nearest(dots, event.clientX, event.clientY);
      groups.forEach(function (group) {
        group.classList.toggle("dim", dot !== null && group !== dot.parentNode);
      });
      tip.classList.toggle("on", dot !== null);
      if (dot !== null) {
        tip.textContent = dot.getAttribute("data-tip");
        place(event.clientX, event.clientY);
      }
    });
    svg.addEventListener("pointerleave", function () {
      tip.classList.remove("on");
      groups.forEach(function (group) {
        group.classList.remove("dim");
      });
    });
  });

  document.querySelectorAll("[data-tabs]").forEach(function (box) {
    var panels = Array.from(box.querySelectorAll("section.metric"));
    if (panels.length < 2) return;
    var bar = document.createElement("div");
    bar.className = "tabs";
    bar.setAttribute("role", "tablist");
    bar.setAttribute("aria-label", "metric");

    function pick(chosen, focus) {
      panels.forEach(function (panel, index) {
        var button = bar.children[index];
        var on = index === chosen;
        panel.hidden = !on;
        button.setAttribute("aria-selected", String(on));
        button.tabIndex = on ? 0 : -1;
        if (on && focus) button.focus();
      });
    }

    panels.forEach(function (panel, index) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = panel.getAttribute("data-name");
      button.setAttribute("role", "tab");
      button.setAttribute("aria-controls", panel.id);
      panel.setAttribute("role", "tabpanel");
      button.addEventListener("click", function () {
        pick(index, false);
      });
      button.addEventListener("keydown", function (event) {
        var step = { ArrowRight: 1, ArrowLeft: -1 }[event.key] || 0;
        if (step) pick((index + step + panels.length) % panels.length, true);
      });
      bar.appendChild(button);
    });
    box.insertBefore(bar, panels[0]);
    pick(0, false);
  });
})();
