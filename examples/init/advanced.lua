-- A main process, and an update every few seconds for which it is stopped and after which it is started again.
--   moonswarm-init examples/init/advanced.lua [seconds between updates]
local init = require("init")

local seconds = tonumber(arg[1]) or 10
local main

local function start()
	main = init.exec{ name = "main", "sh", "-c", "while :; do echo works; sleep 1; done" }
end

start()
init.every(seconds, function()
	main:stop()
	local update = init.exec{ name = "update", "sh", "-c", "echo updates; sleep 1" }:wait()
	print("update", if update.ok then "done" else "failed")
	start()
end)

init.run() -- until SIGTERM, which the main process gets too
