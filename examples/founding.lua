-- The founding form: plain Lua 5.1, which reads the global `input` and leaves the global `result`.

host_log("info", "scoring " .. input.user_id)

local started = os.time()
io.write("request ", input.request_id, " at ", os.date("%Y-%m-%d", started), "\n")

local score = 0
for i = 1, #input.user_id do
  score = (score * 31 + string.byte(input.user_id, i)) % 1000
end

if score > 900 then
  host_log("warn", "high score " .. score)
end

result = {
  output = {
    user_id = input.user_id,
    score = score,
    group = score < 500 and "control" or "test",
  },
}
