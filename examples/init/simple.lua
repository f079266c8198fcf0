-- Two processes side by side; ends when both have.
--   moonswarm-init examples/init/simple.lua
local init = require("init")

local first = init.exec("sh", "-c", "echo first begins; sleep 2; echo first ends")
local second = init.exec("sh", "-c", "echo second begins; sleep 1; echo second ends")

print("first ended with", first:status())
print("second ended with", second:status())
