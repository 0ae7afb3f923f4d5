
"use strict";
(function () {
  var button = document.getElementById("copy");
  if (!button || !navigator.clipboard || !/[?&](code|error)=/.test(location.search)) return;
  button.hidden = false;
  button.addEventListener("click", function () {
    navigator.clipboard.writeText(location.href).then(function () { button.textContent = button.dataset.done; });
  });
})();
