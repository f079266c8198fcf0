local cjson, rule = require "cjson", require "rule"

core.register_service("rule", "http", function(applet)
    local answer = cjson.encode(rule(cjson.decode(applet:receive())))
    applet:set_status(200)
    applet:add_header("content-type", "application/json")
    applet:add_header("content-length", tostring(#answer))
    applet:start_response()
    applet:send(answer)
end)
