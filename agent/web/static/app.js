// Entry of the pages' own modules. The pages work without them; they add what is live, and comfort.
import { startLive } from "./live.js";
import { startTable } from "./table.js";
import { startKeys } from "./keys.js";
import { startCommands } from "./commands.js";
import { startLook } from "./look.js";

startLook();
startCommands();
startTable();
startKeys();
startLive();
