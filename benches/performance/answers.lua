-- Callbacks as the provider sends them, each with a different body, to one job after another.
local number, threads = 0, 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(arguments)
  paths, at = {}, number * 7919
  for line in io.lines(arguments[1]) do paths[#paths + 1] = line end
  headers = { ["Content-Type"] = "application/json" }
  padding = string.rep("x", 540)
end

function request()
  at = at + 1
  local body = string.format(
    '{"task_id":"task_%d_%d","status":"processing","progress":%d,"padding":"%s"}', number, at, at % 100, padding)
  return wrk.format("POST", paths[at % #paths + 1], headers, body)
end
