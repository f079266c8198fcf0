-- Every function of `init` once.
--   moonswarm-init examples/init/api.lua
local init = require("init")

print("supervisor:", init.pid())

-- Once a second, beside everything else, until it is cancelled.
local ticks = init.every(1, function(word) print(word) end, "tick")

-- A child: its process id, what it said, how it ended.
local child = init.exec("echo", "hello", "from a child")
print("child:", child:pid())
print("said:", child:stdout())
print("complained:", child:stderr())
print("ended with:", child:status())

-- A signal, by number or name, through the module or to the child itself.
local sleeper = init.exec("sleep", 60)
init.kill(sleeper:pid(), init.signal.SIGTERM)
print("ended by signal:", sleeper:status())
local stubborn = init.exec("sleep", 60)
stubborn:kill()
print("ended by signal:", stubborn:status())

init.sleep(2.5)
ticks:cancel()
print("done")
