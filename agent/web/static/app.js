// Entry of the pages' own modules. The pages work without them; they add what is live, and comfort.
import { startLive } from "./live.js";
import { startTable } from "./table.js";
import { startKeys } from "./keys.js";
import { startCommands } from "./commands.js";
import { startLook } from "./look.js";

// on a narrow screen the open tab may lie beyond the edge
for (const here of document.querySelectorAll(".tabs [aria-current], .nav [aria-current]")) {
  const strip = here.parentElement;
  strip.scrollLeft += here.getBoundingClientRect().left - strip.getBoundingClientRect().left - (strip.clientWidth - here.clientWidth) / 2;
}

startLook();
startCommands();
startTable();
startKeys();
startLive();
